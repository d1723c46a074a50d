"""A database with a story: models in Production and Staging, promotions with gates, drift checks. Written by SQL."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, insert, text

from mlflow_ext.domain.drift import ColumnDrift, DriftReport, DriftVerdict, Window
from mlflow_ext.domain.gates import GateReport, GateResult, Verdict
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.tables import drift_check, promotion

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def add_model(engine: Engine, model: str, *stages: str) -> None:
    """Register a model with one version for each stage."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO registered_models (name) VALUES (:name)"), {"name": model})
        for number, stage in enumerate(stages, 1):
            connection.execute(
                text("INSERT INTO model_versions (name, version, current_stage) VALUES (:name, :version, :stage)"),
                {"name": model, "version": number, "stage": stage},
            )
    production = next((number for number, stage in enumerate(stages, 1) if stage == "Production"), None)
    if production is not None:
        SqlPointers(engine).move(model, production, seen_generation=0, reason="test")


def gate(name: str, verdict: Verdict, measured: float, champion: float | None = None, reason: str = "") -> GateResult:
    """One gate's answer."""
    return GateResult("metric", name, verdict, reason or f"{name}: {measured}", measured, None, champion, 1200)


def add_promotion(engine: Engine, model: str, version: int, state: str, *gates: GateResult, reason: str = "") -> None:
    """Write a promotion."""
    with engine.begin() as connection:
        connection.execute(
            insert(promotion).values(
                model=model,
                version=version,
                state=state,
                source="registry",
                cause=f"test:{version}:{state}",
                reason=reason,
                report=GateReport(gates).as_dict() if gates else None,
                run_id="0123456789abcdef0123456789abcdef" if gates else None,
            )
        )


def add_checks(engine: Engine, model: str, version: int, verdicts: str) -> None:
    """Write one finished check a day: `o`k, `d`rift, `i`nconclusive."""
    words = {"o": DriftVerdict.OK, "d": DriftVerdict.DRIFT, "i": DriftVerdict.INCONCLUSIVE}
    for day, letter in enumerate(verdicts):
        window = Window(NOW - timedelta(days=len(verdicts) - day), NOW - timedelta(days=len(verdicts) - day - 1))
        verdict = words[letter]
        column = ColumnDrift("temperature", "data", "Wasserstein distance (normed)", 0.4, 0.1, drifted=letter == "d")
        reason = {
            "o": "2 of 14 columns drifted, below the share of 30 %",
            "d": "9 of 14 columns drifted: temperature, dew_point, humidity and 6 more",
            "i": "87 rows received, 200 are needed",
        }[letter]
        report = DriftReport(model, version, window, verdict, reason, 4_000, 20_000, (column,), 0.2)
        with engine.begin() as connection:
            connection.execute(
                insert(drift_check).values(
                    model=model,
                    version=version,
                    schedule=f"drift:{model}",
                    slot=window.until,
                    since=window.since,
                    until=window.until,
                    state="done",
                    verdict=verdict.value,
                    report=report.as_dict(),
                    run_id=f"{day:032x}",
                )
            )


def tell(engine: Engine) -> None:
    """Write everything."""
    add_model(engine, "flights", "Archived", "Production", "None", "Staging")
    passed = gate("roc_auc ≥ 0.7", Verdict.PASSED, 0.7423, 0.7011)
    add_promotion(engine, "flights", 2, "promoted", passed, gate("log_loss ≤ 0.6", Verdict.PASSED, 0.5513, 0.5902))
    add_promotion(
        *(engine, "flights", 3, "rejected"),
        gate("roc_auc ≥ 0.7", Verdict.FAILED, 0.5121, 0.7423, "roc_auc is 0.5121 and must be at least 0.7"),
        gate("log_loss ≤ 0.6", Verdict.PASSED, 0.5899, 0.5513),
        reason="roc_auc is 0.5121 and must be at least 0.7 (the threshold)",
    )
    add_promotion(engine, "flights", 4, "evaluating")
    add_checks(engine, "flights", 2, "ooiooooodoodddd")
    add_model(engine, "breast_cancer", "Production")
    add_promotion(engine, "breast_cancer", 1, "promoted", gate("f1_score ≥ 0.9", Verdict.PASSED, 0.9731))
    add_checks(engine, "breast_cancer", 1, "ooo")
    add_model(engine, "fraud/eu <b>&amp;", "None")
