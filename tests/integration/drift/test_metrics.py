"""What Prometheus reads from the drift scheduler, and that the rules ask for nothing else."""

import re
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, insert

from drift.metrics import serve
from mlflow_ext.domain.drift import Monitor
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.schedules import Schedules
from mlflow_ext.store.tables import alert
from tests.conftest import free_port

RULES = Path(__file__).parents[3] / "deploy/prometheus/rules.yaml"


def test_the_metrics_are_those_that_the_rules_ask_for(engine: Engine) -> None:
    """A firing alert and a paused schedule are seen by a real HTTP request; every name in the rules is one of ours."""
    with engine.begin() as connection:
        connection.execute(insert(alert).values(model="m", severity="critical", message="m drifted"))
    schedules = Schedules(engine)
    schedules.sync([Monitor("m", "0 * * * *", "UTC", 60.0)])
    schedules.pause("m", "ada")
    port, stop = serve(engine, "127.0.0.1", 0)
    try:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        stop()
    found = {family.name: family for family in text_string_to_metric_families(page)}
    [firing] = found["mlflow_ext_alert_firing"].samples
    assert (firing.labels, firing.value) == ({"model": "m", "kind": "drift", "severity": "critical"}, 1.0)
    assert found["mlflow_ext_drift_schedule_paused"].samples[0].value == 1.0
    assert found["mlflow_ext_drift_up"].samples[0].value == 1.0
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    asked = {name for rule in rules for name in re.findall(r"mlflow_ext_\w+", rule["expr"])}
    assert asked <= set(found)
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_without_postgresql_the_metrics_say_so() -> None:
    """Rather than an error page that Prometheus takes for a scheduler that is away."""
    engine = make_engine(f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/none")
    port, stop = serve(engine, "127.0.0.1", 0)
    try:
        assert "mlflow_ext_drift_up 0.0" in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    finally:
        stop()
        engine.dispose()
