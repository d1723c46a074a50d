"""What asks for a retraining: checks, metrics, rows, the clock, a person. Real tables, rows as schedulers write."""

from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, func, insert, select, text, update

from drift.triggers import Triggers
from mlflow_ext.cli import cli
from mlflow_ext.domain.retraining import Trigger
from mlflow_ext.errors import ConflictError, InvalidPolicyError
from mlflow_ext.retraining_policy import RetrainingPolicy
from mlflow_ext.store.retraining_triggers import RetrainingTriggers
from mlflow_ext.store.retrainings import Retrainings
from mlflow_ext.store.tables import drift_check, retraining, segment

HOUR = timedelta(hours=1)


def looking(engine: Engine, **policy: Any) -> Triggers:
    """Make a scheduler's eyes, with one policy for every model."""
    read = RetrainingPolicy.model_validate({"project": "here", "cooldown_s": 0, **policy})
    return Triggers(RetrainingTriggers(engine), lambda _: read)


def check(engine: Engine, verdict: str = "ok", **performance: float) -> None:
    """Enter a check with its answer."""
    now = func.clock_timestamp()
    with engine.begin() as connection:
        connection.execute(
            insert(drift_check).values(
                model="m",
                schedule="drift:m",
                slot=now,
                since=now - HOUR,
                until=now,
                verdict=verdict,
                report={"performance": performance},
            )
        )


def predictions(engine: Engine, rows: int, hours_ago: float) -> None:
    """Enter a segment."""
    begin = func.clock_timestamp() - hours_ago * HOUR
    times = {"hour": begin, "first_at": begin, "last_at": begin + HOUR / 60}
    with engine.begin() as connection:
        place = f"file:///{rows}-{hours_ago}"
        connection.execute(insert(segment).values(model="m", version=1, uri=place, rows=rows, size_bytes=1, **times))


def said(engine: Engine) -> list[tuple[str, str, str]]:
    """Give the decisions, oldest first: trigger, cause, what came of it."""
    found = RetrainingTriggers(engine).decisions("m")
    return [(one.trigger.value, one.cause, str(one).split(" until")[0]) for one in reversed(found)]


def end_open(engine: Engine, state: str = "done") -> None:
    """Let what runs end."""
    with engine.begin() as connection:
        values = {"state": state, "finished_at": func.clock_timestamp()}
        connection.execute(update(retraining).where(retraining.c.finished_at.is_(None)).values(values))


def test_a_check_that_says_drift(engine: Engine) -> None:
    """Opens one retraining with the check's window, however often it is looked at; other verdicts ask for nothing."""
    for verdict in ("ok", "inconclusive", "drift"):
        check(engine, verdict)
    for _ in range(3):
        looking(engine).look(["m"])
    assert said(engine) == [("drift", "check 3 says drift", "opened retraining 1")]
    [one] = Retrainings(engine).find("m")
    with engine.connect() as connection:
        window = connection.execute(select(drift_check.c.since, drift_check.c.until).where(drift_check.c.id == 3)).one()
    assert (one.since, one.until, one.trigger) == (*window, Trigger.DRIFT)


def test_triggers_that_are_off(engine: Engine) -> None:
    """Without `triggers.drift` or without a project nothing is opened; nor later, when the policy changes."""
    check(engine, "drift")
    looking(engine, triggers={"drift": False}).look(["m"])
    looking(engine).look(["m"])
    check(engine, "drift")
    looking(engine, project=None).look(["m"])
    looking(engine).look(["m"])
    assert said(engine) == []


@pytest.mark.parametrize(
    ("bound", "performance", "asks"),
    [
        ({"below": 0.7}, {"roc_auc": 0.69}, True),
        ({"below": 0.7}, {"roc_auc": 0.7}, False),
        ({"above": 0.7}, {"roc_auc": 0.71}, True),
        ({"below": 0.7}, {"accuracy": 0.1}, False),
        ({"below": 0.7, "minimum_rows": 501}, {"roc_auc": 0.1}, False),
    ],
)
def test_a_metric_beyond_its_bound(
    engine: Engine, bound: dict[str, Any], performance: dict[str, float], asks: bool
) -> None:
    """A realised metric beyond its bound, over enough labelled rows, asks; the cause has the number and the bound."""
    check(engine, "ok", labelled_rows=500, **performance)
    looking(engine, triggers={"metrics": {"roc_auc": bound}}).look(["m"])
    found = said(engine)
    assert len(found) == int(asks)
    if asks:
        assert found[0][0] == "metric"
        assert "roc_auc 0." in found[0][1]
        assert "0.7" in found[0][1]


def test_new_rows(engine: Engine) -> None:
    """Enough rows since the last retraining's window ask; those that it has seen do not count again."""
    eyes = looking(engine, triggers={"new_rows": 1_000})
    predictions(engine, 600, hours_ago=5)
    eyes.look(["m"])
    assert said(engine) == []
    predictions(engine, 600, hours_ago=4)
    for _ in range(3):
        eyes.look(["m"])
    assert said(engine) == [("rows", "1200 new rows (new_rows 1000)", "opened retraining 1")]
    end_open(engine)
    eyes.look(["m"])
    assert len(said(engine)) == 1


def test_new_rows_wait_for_the_brakes(engine: Engine) -> None:
    """Rows that came while another was open open one once that has ended."""
    eyes = looking(engine, triggers={"new_rows": 100})
    eyes.by_hand("m", "first", None, None)
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.retraining SET until = until - interval '1 day'"))
    predictions(engine, 100, hours_ago=1)
    eyes.look(["m"])
    eyes.look(["m"])
    end_open(engine)
    eyes.look(["m"])
    assert [one[2] for one in said(engine)] == [
        "opened retraining 1",
        "none: retraining 1 is open",
        "opened retraining 2",
    ]


def test_the_clock(engine: Engine) -> None:
    """A schedule begins with the first slot after it was set; each slot asks once, those nobody saw ask together."""
    eyes = looking(engine, triggers={"cron": "0 3 * * *", "timezone": "Europe/Rome"}, window_s=3600)
    eyes.look(["m"])
    assert said(engine) == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.retraining_decision SET key = 'slot of a week ago'"))
    for _ in range(3):
        eyes.look(["m"])
    assert said(engine) == [("cron", "cron 0 3 * * *", "opened retraining 1")]
    [one] = Retrainings(engine).find("m")
    assert one.since is not None
    assert one.until is not None
    assert one.until - one.since == HOUR


def test_by_hand(engine: Engine) -> None:
    """A person's word opens one at once, whatever the brakes, unless one is open or nothing can be run."""
    eyes = looking(engine, cooldown_s=9_999, weekly_budget=1)
    assert eyes.by_hand("m", "new sensor", None, None).retraining_id == 1
    with pytest.raises(ConflictError, match="retraining 1 is open"):
        eyes.by_hand("m", "again", None, None)
    end_open(engine)
    assert eyes.by_hand("m", "again", None, None).retraining_id == 2
    with pytest.raises(InvalidPolicyError, match="names no project"):
        looking(engine, project=None).by_hand("m", "why not", None, None)


def test_the_commands(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Start, hold, be told why nothing starts, resume, and see all of it."""
    (tmp_path / "mlflow-ext.yaml").write_text("models: {m: {retraining: {project: here}}}\n")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, fails: bool = False) -> str:
        environment = {"MLFLOW_EXT_DATABASE_URL": database_url, "COLUMNS": "200"}
        done = CliRunner().invoke(cli, ["retraining", *arguments], env=environment)
        assert (done.exit_code != 0) == fails, done.output
        return str(done.exception) if fails else done.output

    assert "nothing has asked" in run("list")
    assert "opened retraining 1" in run("run", "m", "--reason", "new sensor")
    assert "retraining 1 is open" in run("run", "m", "--reason", "again", fails=True)
    assert "is held" in run("pause", "m", "--reason", "the year's end")
    end_open(engine)
    assert "the year's end" in run("run", "m", "--reason", "again", fails=True)
    shown = run("list", "m")
    for words in ("held", "the year's end", "new sensor", "retraining 1 done", "nothing: retraining 1 is open"):
        assert words in shown, shown
    assert '"holds": [' in run("list", "--json")
    assert "goes on" in run("resume", "m")
    assert "names no project" in run("run", "other", "--reason", "x", fails=True)
