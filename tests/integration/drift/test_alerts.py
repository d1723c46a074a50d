"""Alerts begin, go on and end with the checks that say so, and each channel's real receiver gets them, once."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from drift.alerts import tell_all
from drift.channels.sender import Channel, channels
from drift.picture import picture_of
from mlflow_ext.config import Settings
from mlflow_ext.domain.alerts import AlertState
from mlflow_ext.domain.drift import ColumnDrift, DriftReport, DriftVerdict, Window
from mlflow_ext.policy import AlertPolicy
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from tests.integration.drift.receivers import MailServer, Webhook

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
POLICY = AlertPolicy(cooldown_s=0)
SETTINGS = Settings(alert_group_wait_s=0, mlflow_link_url="http://mlflow.example:5000")


class World:
    """Checks of models, computed one after the other, and what is told about them."""

    def __init__(self, engine: Engine, client: httpx.Client) -> None:
        self.engine = engine
        self.client = client
        self.alerts = Alerts(engine)
        self.settings = SETTINGS
        self.policy = POLICY
        self.hours = 0

    def check(self, verdict: DriftVerdict, model: str = "m", *, hour: int | None = None, share: float = 0.5) -> int:
        """Let a check of the next hour say something, as the worker does; MLflow has it at once."""
        self.hours += 1
        since = BEGIN + (self.hours if hour is None else hour) * HOUR
        checks = Checks(self.engine, owner="test")
        asked = checks.request(model, window_s=3600, version=3, since=since, until=since + HOUR)
        check = checks.claim()
        assert check is not None
        columns = (ColumnDrift("length", "data", "ks", 0.4, 0.05, True),)
        report = DriftReport(model, 3, asked.window, verdict, f"{verdict} it is", 500, 900, columns, share)
        drifted = verdict is DriftVerdict.DRIFT
        checks.computed(check, report, None, f"{model} version 3 drifted: length" if drifted else None)
        delivery = checks.claim_delivery()
        assert delivery is not None
        checks.delivered(delivery[0], f"run{asked.id}")
        return asked.id

    def tell(self) -> int:
        """Tell what is to be told."""
        return tell_all(self.alerts, channels(self.settings, self.client), self.settings, lambda _: self.policy)

    def sql(self, statement: str) -> list[Any]:
        """Run a statement."""
        with self.engine.begin() as connection:
            result = connection.execute(text(statement))
            return list(result.all()) if result.returns_rows else []


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    """A world without checks."""
    with httpx.Client() as client:
        yield World(engine, client)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A local webhook."""
    one = Webhook()
    yield one
    one.close()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A local mail server."""
    one = MailServer()
    yield one
    one.close()


def test_an_alert_fires_once_goes_on_and_is_resolved(world: World, webhook: Webhook) -> None:
    """Three checks that see it are one alert and one message; an inconclusive one changes nothing; then it is over."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url})
    for _ in range(3):
        newest = world.check(DriftVerdict.DRIFT)
        world.tell()
    world.check(DriftVerdict.INCONCLUSIVE)
    world.tell()
    [alert] = world.alerts.find("m")
    assert (alert.state, alert.seen, alert.check_id, alert.run_id) == (AlertState.FIRING, 3, newest, f"run{newest}")
    assert [one["status"] for one in webhook.taken] == ["firing"]
    world.check(DriftVerdict.OK)
    world.tell()
    world.tell()
    assert [one["status"] for one in webhook.taken] == ["firing", "resolved"]
    assert world.alerts.find("m")[0].state is AlertState.RESOLVED
    world.check(DriftVerdict.DRIFT)
    assert [one.state for one in world.alerts.find("m")] == ["firing", "resolved"]


def test_the_past_is_not_news(world: World) -> None:
    """A check of an older window, by hand, neither raises nor resolves."""
    world.check(DriftVerdict.OK, hour=50)
    world.check(DriftVerdict.DRIFT, hour=10)
    assert world.alerts.find("m") == []
    world.check(DriftVerdict.DRIFT, hour=51)
    world.check(DriftVerdict.OK, hour=11)
    assert world.alerts.find("m")[0].state is AlertState.FIRING


def test_the_webhook_gets_alertmanagers_format(world: World, webhook: Webhook) -> None:
    """Version 4, with reason, labels, and the links to run and picture; the same key in every attempt."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url})
    check = world.check(DriftVerdict.DRIFT)
    world.alerts.attach(check, b"\x89PNG")
    world.tell()
    [taken] = webhook.taken
    assert (taken["version"], taken["status"], taken["groupLabels"]) == ("4", "firing", {"kind": "drift"})
    [alert] = taken["alerts"]
    labels = {"alertname": "ModelDrift", "kind": "drift", "model": "m", "version": "3", "severity": "warning"}
    assert alert["labels"] == taken["commonLabels"] == labels
    assert alert["annotations"]["summary"] == "m version 3 drifted: length"
    assert alert["annotations"]["run_url"] == alert["generatorURL"] == f"http://mlflow.example:5000/#/runs/run{check}"
    assert alert["annotations"]["image_url"].endswith(f"/get-artifact?path=drift.png&run_uuid=run{check}")
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert len(alert["fingerprint"]) == 16
    world.check(DriftVerdict.OK)
    world.tell()
    over = webhook.taken[1]["alerts"][0]
    assert over["endsAt"] > over["startsAt"] == alert["startsAt"]
    assert over["fingerprint"] == alert["fingerprint"]


def test_slack_gets_its_message(world: World, webhook: Webhook) -> None:
    """With links, and with nothing in it that the model's name could turn into markup."""
    world.settings = SETTINGS.model_copy(update={"alert_slack_url": SecretStr(webhook.url)})
    world.check(DriftVerdict.DRIFT, "<!channel>")
    world.tell()
    [taken] = webhook.taken
    assert "Firing: 1 alert (warning)" in taken["text"]
    said = "\n".join(block["text"]["text"] for block in taken["blocks"])
    assert "run in MLflow" in said
    assert "&lt;!channel&gt;" in said
    assert "<!channel>" not in said + taken["text"]


def test_an_e_mail_holds_reason_link_and_picture(world: World, mail: MailServer) -> None:
    """In text and HTML; the picture is inside; the first refusal costs nothing but time."""
    world.settings = SETTINGS.model_copy(
        update={"alert_smtp_url": SecretStr(mail.url), "alert_email_to": "a@example.org, b@example.org"}
    )
    mail.refuse = 1
    check = world.check(DriftVerdict.DRIFT)
    report = Checks(world.engine).get(check).report
    assert report is not None
    picture = picture_of(report)
    assert picture is not None
    world.alerts.attach(check, picture)
    world.tell()
    assert mail.taken == []
    world.sql("UPDATE mlflow_ext.alert_delivery SET next_attempt_at = clock_timestamp()")
    world.tell()
    [taken] = mail.taken
    assert taken["Subject"] == "[firing, warning] m version 3 drifted: length"
    assert taken["To"] == "a@example.org, b@example.org"
    assert "mlflow-ext-alert-" in taken["Message-ID"]
    parts = {part.get_content_type(): part for part in taken.walk()}
    assert f"http://mlflow.example:5000/#/runs/run{check}" in parts["text/plain"].get_content()
    assert f'src="cid:picture-{world.alerts.find("m")[0].id}"' in parts["text/html"].get_content()
    assert parts["image/png"].get_content() == picture
    assert picture.startswith(b"\x89PNG")


def test_a_receiver_that_fails_first_gets_it_in_the_end(world: World, webhook: Webhook) -> None:
    """Tried at once, then from PostgreSQL, under one key; taken once, also when it is over meanwhile: in order."""
    webhook.refuse = 4
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url})
    world.check(DriftVerdict.DRIFT)
    world.tell()
    assert world.tell() == 0, "the message waits before it is tried again"
    [kept] = world.sql("SELECT last_error FROM mlflow_ext.alert_delivery WHERE channel = 'webhook'")
    assert "503" in kept.last_error
    world.check(DriftVerdict.OK)
    world.tell()
    assert webhook.taken == [], "that it is over waits for that it began"
    world.sql("UPDATE mlflow_ext.alert_delivery SET next_attempt_at = clock_timestamp()")
    world.tell()
    assert [one["status"] for one in webhook.taken] == ["firing", "resolved"]
    assert len(webhook.keys) == 6
    assert len(set(webhook.keys)) == 2


def test_a_dead_channel_holds_up_no_other(world: World, webhook: Webhook) -> None:
    """The webhook answers, the mail server is not there."""
    world.settings = SETTINGS.model_copy(
        update={
            "alert_webhook": webhook.url,
            "alert_smtp_url": SecretStr("smtp://127.0.0.1:9"),
            "alert_email_to": "a@example.org",
        }
    )
    world.check(DriftVerdict.DRIFT)
    world.tell()
    assert len(webhook.taken) == 1
    assert world.alerts.waiting() == {"email": 1}
    world.settings = SETTINGS
    world.sql("UPDATE mlflow_ext.alert_delivery SET next_attempt_at = clock_timestamp()")
    world.tell()
    assert world.alerts.waiting() == {}, "a channel that was taken away is waited for by nobody"


def test_alerts_that_come_together_are_one_message(world: World, webhook: Webhook) -> None:
    """Grouped by what policy says; each state once in it."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url, "alert_group_wait_s": 3600})
    for model in ("a", "b", "c"):
        world.check(DriftVerdict.DRIFT, model)
    assert world.tell() == 0
    world.sql("UPDATE mlflow_ext.alert_delivery SET next_attempt_at = clock_timestamp()")
    world.tell()
    assert [one["labels"]["model"] for one in webhook.taken[0]["alerts"]] == ["a", "b", "c"]
    assert "model" not in webhook.taken[0]["commonLabels"]
    world.settings = world.settings.model_copy(update={"alert_group_by": "model", "alert_group_wait_s": 0})
    for model in ("a", "b"):
        world.check(DriftVerdict.OK, model)
    world.tell()
    assert [len(one["alerts"]) for one in webhook.taken] == [3, 1, 1]
    assert webhook.taken[1]["groupLabels"] == {"model": "a"}


def test_what_flaps_is_told_once_in_a_cool_down(world: World, webhook: Webhook) -> None:
    """Episodes that begin and end within it are not told at all; one that outlasts it is."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url})
    world.policy = AlertPolicy(cooldown_s=3600)
    for _ in range(4):
        world.check(DriftVerdict.DRIFT)
        world.tell()
        world.check(DriftVerdict.OK)
        world.tell()
    assert [one["status"] for one in webhook.taken] == ["firing", "resolved"]
    world.check(DriftVerdict.DRIFT)
    world.tell()
    assert len(webhook.taken) == 2
    world.sql("UPDATE mlflow_ext.alert SET notified_at = notified_at - interval '2 hours'")
    world.tell()
    assert [one["status"] for one in webhook.taken] == ["firing", "resolved", "firing"]


def test_one_that_goes_on_is_told_again_and_one_that_gets_worse_at_once(world: World, webhook: Webhook) -> None:
    """After `repeat_s`; or when it becomes critical."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url})
    world.policy = AlertPolicy(repeat_s=3600, critical_share=0.8)
    world.check(DriftVerdict.DRIFT)
    world.tell()
    world.check(DriftVerdict.DRIFT)
    world.tell()
    assert len(webhook.taken) == 1
    world.check(DriftVerdict.DRIFT, share=0.9)
    world.tell()
    assert [one["alerts"][0]["labels"]["severity"] for one in webhook.taken] == ["warning", "critical"]
    world.sql("UPDATE mlflow_ext.alert SET notified_at = notified_at - interval '2 hours'")
    world.tell()
    assert len(webhook.taken) == 3


def test_a_new_alert_waits_for_its_run_but_not_for_ever(world: World, webhook: Webhook) -> None:
    """With MLflow down it leaves without the link, after a minute."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url})
    world.check(DriftVerdict.DRIFT)
    world.sql("UPDATE mlflow_ext.drift_check SET run_id = NULL")
    assert world.tell() == 0
    world.sql("UPDATE mlflow_ext.alert SET created_at = created_at - interval '2 minutes'")
    world.tell()
    [alert] = webhook.taken[0]["alerts"]
    assert "run_url" not in alert["annotations"]
    assert alert["generatorURL"].endswith("/#/models/m/versions/3")


def test_without_a_receiver_the_log_line_is_the_delivery(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One line, with ids."""
    world.check(DriftVerdict.DRIFT)
    for _ in range(2):
        world.tell()
    lines = [line.getMessage() for line in caplog.records if line.name == "drift.channels.log"]
    assert len(lines) == 1
    assert "state=firing model=m version=3" in lines[0]


def test_four_schedulers_tell_each_alert_once(world: World, webhook: Webhook) -> None:
    """Whoever holds the row tells it; the others pass it by."""
    world.settings = SETTINGS.model_copy(update={"alert_webhook": webhook.url, "alert_group_by": "none"})
    for number in range(20):
        world.check(DriftVerdict.DRIFT, f"m{number}")
    found: dict[str, Channel] = channels(world.settings, world.client)
    policy: Callable[[str], AlertPolicy] = lambda _: POLICY  # noqa: E731  (its type is the point)
    threads = [
        threading.Thread(target=tell_all, args=(Alerts(world.engine), found, world.settings, policy)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.tell()
    told = [alert["labels"]["model"] for one in webhook.taken for alert in one["alerts"]]
    assert sorted(told) == sorted(f"m{number}" for number in range(20))


def test_a_column_of_any_name_can_be_drawn() -> None:
    """Also one that looks like mathematics; and nothing is drawn of nothing."""
    window = Window(BEGIN, BEGIN + HOUR)
    columns = tuple(ColumnDrift(name, "data", "ks", 0.3, 0.05, True) for name in ("$x$", "a_{b", "ü", "x" * 200))
    report = DriftReport("m$", 1, window, DriftVerdict.DRIFT, "", columns=columns * 8)
    assert (picture_of(report) or b"").startswith(b"\x89PNG")
    assert picture_of(DriftReport("m", 1, window, DriftVerdict.OK, "")) is None
