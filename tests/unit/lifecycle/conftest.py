"""The world that the lifecycle's tests start from."""

import pytest

from tests.unit.lifecycle.world import World, with_versions


@pytest.fixture
def world() -> World:
    """Version 1 in Production, versions 2 (better) and 3 (worse) registered."""
    return with_versions(World())
