"""`mlflow.run_context_provider`: what a run was started from, without a change in the notebook."""

from mlflow.tracking.context.abstract_context import RunContextProvider


class LifecycleRunContext(RunContextProvider):
    """Tags every new run with where its code came from."""

    def in_context(self) -> bool:
        """Tell whether there is anything to say."""
        return False

    def tags(self) -> dict[str, str]:
        """Give the run's tags."""
        return {}
