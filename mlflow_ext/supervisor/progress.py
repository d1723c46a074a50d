"""What people see of `mlflow-ext up`: a line for each change, and a table of addresses once everything is ready."""

from contextlib import suppress

from rich.console import Console
from rich.table import Table

from mlflow_ext.running import Stack
from mlflow_ext.supervisor.supervisor import Change, Phase

_STYLES = {Phase.READY: "green", Phase.PAUSING: "bold red", Phase.STARTING: "cyan"}
_WORDS = {Phase.PAUSING: "failed", Phase.STOPPED: ""}


WHO_MAY_ASK = {
    "token": "holders of a token (auth: token; `mlflow-ext token create --right score` makes one)",
    "none": "anyone who reaches it (auth: none; MLFLOW_EXT_AUTH=token asks for tokens)",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without a reader; by default this would end the process."""
        self.quiet = True


class Progress:
    """Prints; a terminal that went away is no reason to leave processes behind."""

    def __init__(self, *, verbose: bool = False) -> None:
        """Print to standard output.

        Args:
            verbose: Print every line of the parts' output as well.
        """
        self.verbose = verbose
        self._console = _Console(highlight=False, soft_wrap=True)

    def change(self, change: Change) -> None:
        """Print one change of one part."""
        word = _WORDS.get(change.phase, change.phase.value)
        text = f"{change.part:<10} [{_STYLES.get(change.phase, 'dim')}]{word}[/]"
        if change.phase is Phase.READY:
            text += f" in {change.detail}"
        elif change.detail:
            text += f" {change.detail}"
        self._print(text)

    def say(self, text: str) -> None:
        """Print a sentence."""
        self._print(text, markup=False)

    def line(self, part: str, line: str) -> None:
        """Print a line of a part's output."""
        if self.verbose:
            self._print(f"{part:<10} | {line}", markup=False)

    def ready(self, stack: Stack, data_dir: str, seconds: float, *, auth: str) -> None:
        """Print where everything is, and who may ask the promotion service (`auth`)."""
        table = Table(title=f"ready in {seconds:.1f} s; Ctrl-C stops everything", title_justify="left")
        table.add_column("part")
        table.add_column("address", overflow="fold")
        table.add_row("MLflow (runs, models, UI)", stack.mlflow_url)
        table.add_row("promotion service (scoring)", stack.serving_url)
        table.add_row("scoring API, described", f"{stack.serving_url}/docs")
        table.add_row("who may ask it", WHO_MAY_ASK[auth])
        table.add_row("PostgreSQL", "embedded" if stack.embedded else "your own (MLFLOW_EXT_DATABASE_URL)")
        table.add_row("data and logs", data_dir)
        self._print(table)
        self._print(f"In notebooks: export MLFLOW_TRACKING_URI={stack.mlflow_url}", markup=False)

    def _print(self, what: object, *, markup: bool = True) -> None:
        with suppress(OSError, ValueError):
            self._console.print(what, markup=markup)
