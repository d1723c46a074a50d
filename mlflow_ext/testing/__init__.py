"""The in-memory twins of the ports, shipped for tests of ours and of users. One file a port; one line here for each.

Each passes the same contract suite as its real adapter (tests/contract).
"""

from mlflow_ext.testing.approvals import MemoryApprovals
from mlflow_ext.testing.clock import MemoryClock
from mlflow_ext.testing.evaluator import MemoryResults, ScriptedEvaluator
from mlflow_ext.testing.events import MemoryEventLog
from mlflow_ext.testing.gate_context import MemoryContext, MemoryRequests, MemoryVersion
from mlflow_ext.testing.notifications import MemoryNotifications
from mlflow_ext.testing.pins import MemoryPins
from mlflow_ext.testing.pointers import MemoryPointers
from mlflow_ext.testing.promotions import MemoryPromotions
from mlflow_ext.testing.registry import MemoryRegistry

__all__ = [
    "MemoryApprovals",
    "MemoryClock",
    "MemoryContext",
    "MemoryEventLog",
    "MemoryNotifications",
    "MemoryPins",
    "MemoryPointers",
    "MemoryPromotions",
    "MemoryRegistry",
    "MemoryRequests",
    "MemoryResults",
    "MemoryVersion",
    "ScriptedEvaluator",
]
