"""The flights are read once for all tests of the projects."""

from collections.abc import Iterator

import pandas as pd
import pytest
from flights import data
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session")
def year() -> pd.DataFrame:
    """All flights of the year that arrived; do not change it."""
    return data.load()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """OpenMP threads wait for each other spinning: on a busy machine fits take minutes instead of a second."""
    with threadpool_limits(1):
        yield
