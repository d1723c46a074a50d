"""The in-memory twins of the ports, shipped for tests of ours and of users. One file a port; one line here for each.

Each passes the same contract suite as its real adapter (tests/contract).
"""

from mlflow_ext.testing.promotions import MemoryPromotions

__all__ = ["MemoryPromotions"]
