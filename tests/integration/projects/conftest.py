"""The flights are read once for all tests of the projects."""

import pandas as pd
import pytest
from flights import data


@pytest.fixture(scope="session")
def year() -> pd.DataFrame:
    """All flights of the year that arrived; do not change it."""
    return data.load()
