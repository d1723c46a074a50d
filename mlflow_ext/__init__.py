"""Lifecycle platform plugin for MLflow.

The functions for notebooks are `promote`, `status` and `rollback`. They are loaded on first use, so that
`import mlflow_ext` (which MLflow's plugin loading does in every process) costs nothing.
"""

from typing import TYPE_CHECKING

from mlflow_ext import version

if TYPE_CHECKING:
    from mlflow_ext.notebook import promote, rollback, status

__version__ = version.VERSION

__all__ = ["__version__", "promote", "rollback", "status"]


def __getattr__(name: str) -> object:
    """Load the notebook functions on first use (PEP 562)."""
    if name in {"promote", "rollback", "status"}:
        from mlflow_ext import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'mlflow_ext' has no attribute {name!r}")
