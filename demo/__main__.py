"""The scenes of `make demo`, in order. Each does what a user would do, then shows what the platform made of it."""

import json
import signal
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from demo import screen
from demo.client import ScoringClient
from demo.readback import Readback
from demo.stack import MODEL, ROOT, DemoError, Stack, start
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.store.engine import make_engine

MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September"]


class Demo:
    """The story and what it has measured so far."""

    def __init__(self, stack: Stack, console: Console, rows_per_month: int) -> None:
        """Take the running platform, where to print, and how many flights to score for each month."""
        self.stack = stack
        self.console = console
        self.rows_per_month = rows_per_month
        self.read = Readback(stack, make_engine(stack.database_url, name="demo"))
        self.client: ScoringClient | None = None
        self.figures: dict[str, str] = {}
        self.missed: list[str] = []

    def first_model(self) -> None:
        """A weak model is trained from git and put into Production by hand."""
        with self.console.status("mlflow run …#projects/flights -e train -P variant=weak"):
            self.stack.project("train", variant="weak", rows=20_000)
        version = self.read.newest_version()
        screen.done(self.console, f"mlflow run from git registered {MODEL} version {version}, a weak model")
        self.client = ScoringClient(f"{self.stack.serving_url}/invocations", flights_of(2), self.stack.token)
        moved = self.read.move(version, "Production")
        self.read.wait("a first answer", lambda: (self.client and self.client.is_answered()) or None, 60)
        self.figures["first model: transition to first answer"] = f"{time.monotonic() - moved:.2f} s"
        self.client.start()
        self._served(version)

    def better_model(self) -> None:
        """A better model goes to Staging as the UI does it, and the gates let it through."""
        with self.console.status("mlflow run …#projects/flights -e train"):
            self.stack.project("train", rows=20_000)
        version = self.read.newest_version()
        screen.done(self.console, f"mlflow run from git registered version {version}, a better model")
        promotion = self._through_staging(version, expected=PromotionState.PROMOTED)
        if promotion.state is PromotionState.PROMOTED:
            self._served(version)

    def bad_model(self) -> None:
        """A model trained on shuffled labels goes to Staging, and the gates refuse it."""
        with self.console.status("mlflow run …#projects/flights -e train -P label_noise=1"):
            self.stack.project("train", rows=20_000, label_noise=1)
        version = self.read.newest_version()
        screen.done(self.console, f"mlflow run from git registered version {version}, trained on shuffled labels")
        promotion = self._through_staging(version, expected=PromotionState.REJECTED)
        self.console.print(f"     reason: {promotion.reason}")

    def months(self) -> None:
        """Spring and summer are scored in their order; each month becomes a window of the drift job."""
        from flights.stream import stream

        names: list[str] = []
        late: list[float] = []
        aucs: list[float | None] = []
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            for month in range(3, 10):
                assert self.client is not None
                self.client.bodies = flights_of(month)
                began = time.time()
                for scored in stream(
                    self.stack.serving_url,
                    MODEL,
                    first_month=month,
                    last_month=month,
                    rows_per_month=self.rows_per_month,
                    token=self.stack.token,
                ):
                    names.append(f"{MONTHS[month - 1]} 2013")
                    late.append(scored.late_share)
                    aucs.append(scored.roc_auc)
                    if scored.failed:
                        self.missed.append(f"{scored.failed} requests lost while scoring {names[-1]}")
                self.read.request_check(began, time.time())
                live.update(screen.windows(names, self.read.checks(), late, aucs))
            while (checks := self.read.ended_checks()) is None:
                live.update(screen.windows(names, self.read.checks(), late, aucs))
                time.sleep(0.3)
        self.console.print(screen.windows(names, checks, late, aucs))
        if not screen.any_drift(checks):
            self.missed.append("no window drifted")

    def retrained(self) -> None:
        """The alert has started the retraining project; its version goes through the same gates."""
        with self.console.status("the retraining that the first alert started …"):
            retraining = self.read.wait("retraining", self.read.ended_retraining, 180)
        if retraining.version is None:
            self.missed.append(f"the retraining failed: {retraining.error}")
            self.console.print(f"   [red]{retraining.error}[/]")
            return
        screen.done(
            self.console,
            f"{retraining.cause}, so retraining {retraining.id} was started: "
            f"mlflow run registered version {retraining.version} and moved it to Staging",
        )
        self._judged(retraining.version, PromotionState.PROMOTED)

    def finish(self) -> None:
        """Stop the client and show the whole."""
        assert self.client is not None
        tally = self.client.stop()
        stack = self.stack
        checks = self.read.checks()
        self.figures["start to ready"] = f"{stack.ready_s:.1f} s"
        links = {
            "lifecycle": f"{stack.mlflow_url}/mlflow-ext/",
            "registry": f"{stack.mlflow_url}/#/models/{MODEL}",
            "promotions": self.read.experiment_url(f"mlflow-ext/promotions/{MODEL}"),
            "drift reports": self.read.experiment_url(f"mlflow-ext/drift/{MODEL}"),
            "last report": self.read.run_url(checks[-1].run_id if checks else None),
            "scoring API": f"{stack.serving_url}/docs",
        }
        screen.summary(self.console, tally, self.read.stages(), self.figures, links)
        if tally.lost:
            self.missed.append(f"{tally.lost} requests were lost")

    def _through_staging(self, version: int, expected: PromotionState) -> Promotion:
        self.read.move(version, "Staging")
        screen.done(self.console, f"version {version} moved to Staging by the call that MLflow's UI makes")
        return self._judged(version, expected)

    def _judged(self, version: int, expected: PromotionState) -> Promotion:
        with self.console.status(f"gates of version {version} …"):
            promotion = self.read.wait("promotion", lambda: self.read.ended_promotion(version), 180)
        took = ""
        if promotion.created_at and promotion.updated_at:
            took = f" after {(promotion.updated_at - promotion.created_at).total_seconds():.1f} s"
        screen.done(self.console, f"promotion {promotion.id} is {screen.coloured(promotion.state.value)}{took}")
        self.console.print(screen.gates(promotion))
        if promotion.state is not expected:
            found = f"{promotion.state}: {promotion.reason or 'no reason given'}"
            self.missed.append(f"version {version} should be {expected}, but is {found}")
        return promotion

    def _served(self, version: int) -> None:
        client = self.client
        assert client is not None
        self.read.wait(f"an answer by version {version}", lambda: client.tally.by_version.get(str(version)))
        lost = f"{client.tally.answered:,} answers and {client.tally.lost} requests lost so far"
        screen.done(self.console, f"the promotion service answers with version {version}; {lost}")


def flights_of(month: int) -> list[bytes]:
    """Give request bodies of one flight each, of flights of one month."""
    from flights import data
    from flights.stream import as_split

    flights = data.load()
    chosen = data.sample(flights[flights["date"].dt.month == month], 200, seed=month)
    rows = [chosen.iloc[position : position + 1][data.FEATURES] for position in range(len(chosen))]
    return [json.dumps({"dataframe_split": as_split(row)}).encode() for row in rows]


@click.command()
@click.option("--exit", "exit_at_end", is_flag=True, help="End after the last screen instead of waiting for Ctrl-C.")
@click.option(
    "--rows-per-month", default=6_000, show_default=True, type=click.IntRange(min=300), help="Flights scored."
)
@click.option("--mlflow-port", default=5000, show_default=True, help="Another is taken when this one is in use.")
@click.option("--serving-port", default=8000, show_default=True, help="Another is taken when this one is in use.")
@click.option("--dir", "directory", default=".mlflow-ext/demo", show_default=True, type=click.Path(path_type=Path))
def main(exit_at_end: bool, rows_per_month: int, mlflow_port: int, serving_port: int, directory: Path) -> None:
    """Take a model through its life on the flights that left New York in 2013."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    sys.path.insert(0, str(ROOT / "projects" / MODEL))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    stack: Stack | None = None
    missed: list[str] = []
    try:
        screen.heading(console, 1, "The platform starts: PostgreSQL, MLflow, promotion service, drift scheduler")
        with console.status("mlflow-ext up"):
            stack = start(directory.absolute(), mlflow_port, serving_port)
        screen.done(console, f"ready after {stack.ready_s:.1f} s: {stack.mlflow_url} and {stack.serving_url}")
        demo = Demo(stack, console, rows_per_month)
        scenes = [
            ("A weak model is in Production; an application scores from now on", demo.first_model),
            ("A better model goes to Staging and passes the gates", demo.better_model),
            ("A bad model goes to Staging and is refused", demo.bad_model),
            ("Spring and summer come: each month is scored, answered for, and checked for drift", demo.months),
            ("The alert starts the retraining project, and its version is promoted", demo.retrained),
        ]
        for number, (title, scene) in enumerate(scenes, start=2):
            screen.heading(console, number, title)
            scene()
        demo.figures["the whole story"] = f"{time.monotonic() - began:.0f} s"
        demo.finish()
        missed = demo.missed
        if not exit_at_end:
            console.print("\nThe platform keeps running; [bold]Ctrl-C[/] ends it.")
            signal.pause()
    except KeyboardInterrupt:
        console.print()
    except DemoError as exc:
        missed = [str(exc)]
    finally:
        if stack is not None:
            with console.status("stopping"):
                stack.stop()
    for what in missed:
        console.print(f"[red]✗ {what}[/]")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
