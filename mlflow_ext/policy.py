"""What may become Production and how it is watched: the per-model sections of `mlflow-ext.yaml`, validated.

Settings that differ between machines (addresses, directories, secrets) live in `config.py`; a gate's own bounds beside
its rules in `gates/`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mlflow_ext.errors import InvalidPolicyError
from mlflow_ext.gate_kinds import gate_named, known_gates
from mlflow_ext.policy_section import Cron, Section, TimeZone
from mlflow_ext.retraining_policy import MetricBound, RetrainingPolicy

DEFAULT_GATE = "metric"
"""What a section without `gate:` is."""


class EvaluationPolicy(Section):
    """Which rows the gates measure on.

    Attributes:
        data: Where the rows are (Parquet or CSV): `artifact:PATH` inside the candidate's MLflow run, or a path or URI.
        target: Name of the column with the ground truth.
        model_type: MLflow's model type: `classifier` or `regressor`.
        timeout_s: Seconds after which an evaluation is ended.
        retries: How often the gates are asked again when a critical one errs for a cause that may pass.
        retry_after_s: Seconds until the first time; each later one waits twice as long, at most ten minutes.
    """

    data: str = "artifact:data/evaluation.parquet"
    target: str = "target"
    model_type: Literal["classifier", "regressor"] = "classifier"
    timeout_s: float = Field(default=600.0, gt=0)
    retries: int = Field(default=3, ge=0, le=20)
    retry_after_s: float = Field(default=5.0, gt=0, le=600)


class GatePolicy(Section):
    """What every gate's section has; a gate's own bounds are beside its rules, in `gates/`.

    Attributes:
        gate: Kind of gate: the name of its entry point in the group `mlflow_ext.gates`.
        importance: `critical` decides; `advisory` is measured and shown, and decides nothing; `dry_run` is a gate on
            trial: measured and kept, and no sentence about the promotion mentions it.
    """

    gate: str
    importance: Literal["critical", "advisory", "dry_run"] = Field(
        default="critical",
        description="critical decides; advisory is measured and shown only; dry_run is on trial",
    )

    @property
    def title(self) -> str:
        """What people are shown before there is a result."""
        return self.gate

    @property
    def requests_wanted(self) -> int:
        """How many rows of logged requests the gate wants to replay."""
        return 0


class _AnyGate:
    """Reads a gate's section with the class that the gate itself gives, found by its word."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _read_gate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode), info_arg=True
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        choices = []
        for word in known_gates():
            choice = handler(gate_named(word).policy.__pydantic_core_schema__)
            if word != DEFAULT_GATE:
                definition = handler.resolve_ref_schema(choice)
                definition["required"] = sorted({"gate", *definition.get("required", [])})
            choices.append(choice)
        return {"anyOf": choices}


def _read_gate(section: Any) -> GatePolicy:
    if isinstance(section, GatePolicy):
        return section
    if not isinstance(section, dict):
        raise PydanticCustomError("gate", "a gate is a mapping, such as {gate: metric, metric: roc_auc}")
    word = section.get("gate", DEFAULT_GATE)
    try:
        kind: type[GatePolicy] = gate_named(str(word)).policy
    except InvalidPolicyError as exc:
        raise PydanticCustomError("gate", "{reason}", {"reason": f"gate {word}: {exc}"}) from exc
    return kind.model_validate(section)


class ServingPolicy(Section):
    """How a model is served.

    Attributes:
        keep_previous_s: Seconds that the former Production version stays loaded after a flip.
        load_ahead: Versions that are loaded before anything points at them, at most: those of open promotions and those
            in Staging, the newest first.
        warm_rows: Logged rows, at most, that a version predicts before it may answer; 0 for none.
        warm_within_s: Seconds that reading them may take, beside fetching the version; then as long again, after which
            no further request is begun.
        trust: `types`: only models without pickle and without code of their own; `code`: the publisher is trusted.
        publishers: File with the public key (PEM, elliptic curve) by the publisher's name. Where there are any, only
            versions that one of them signed are loaded, anywhere.
        engine: What may compute answers instead of the model's own `predict`, where it agrees with it: `auto` (a
            kernel, or else an ONNX twin that is faster), `python` (nothing), `onnx` (a twin, or else as `auto`).
        onnx_tolerance: By how much a regressor's answers by the twin may differ from the model's: relative to answers
            above 1, else absolute. Labels never differ.
        quantise: `int8`: a twin with 8-bit matrix products answers instead of the twin, where it passes its own gate.
        quantise_loss: By how much it may be worse on the evaluation rows: accuracy and macro recall of labels, R² of
            numbers; absolute.
    """

    keep_previous_s: float = Field(default=600.0, ge=0)
    load_ahead: int = Field(default=4, ge=0, le=100)
    warm_rows: int = Field(default=64, ge=0, le=10_000)
    warm_within_s: float = Field(default=5.0, gt=0, le=600)
    trust: Literal["types", "code"] = "types"
    publishers: dict[str, str] = Field(default_factory=dict)
    engine: Literal["auto", "python", "onnx"] = "auto"
    onnx_tolerance: float = Field(default=1e-9, ge=0, le=1e-2)
    quantise: Literal["none", "int8"] = "none"
    quantise_loss: float = Field(default=0.005, ge=0, le=0.2)


class PredictionLogPolicy(Section):
    """How much of what a model answers is logged, and how long it is kept.

    Attributes:
        mode: `durable`: every prediction, before its answer is sent; `sampled`: a share of them, in the same way.
        share: Share of the requests that `sampled` keeps, chosen by a hash of the request id; above 0, at most 1.
        keep_s: Seconds after which logged predictions are removed; `None` keeps them.
        keep_bytes: Most bytes of segments of the model; the oldest are removed beyond it. `None` sets no bound.
        feedback_wait_s: Seconds in which feedback may still come: so long predictions stay, whatever `keep_bytes` says.
    """

    mode: Literal["durable", "sampled"] = "durable"
    share: float = Field(default=0.1, gt=0, le=1)
    keep_s: float | None = Field(default=None, gt=0)
    keep_bytes: int | None = Field(default=None, ge=1)
    feedback_wait_s: float = Field(default=7 * 86_400.0, ge=0, le=10 * 365 * 86_400)

    @model_validator(mode="after")
    def _kept_until_feedback(self) -> "PredictionLogPolicy":
        if self.keep_s is not None and self.keep_s < self.feedback_wait_s:
            raise ValueError(
                f"keep_s ({self.keep_s:g}) must not be shorter than feedback_wait_s ({self.feedback_wait_s:g}): "
                "feedback would find no predictions"
            )
        return self

    @property
    def kept(self) -> float:
        """Share of the requests that is logged."""
        return self.share if self.mode == "sampled" else 1.0


class PrivacyPolicy(Section):
    """Personal data that does not reach the disk.

    Attributes:
        drop: Columns that are left out of the prediction log.
        hash: Columns whose values are replaced by a keyed hash (setting `privacy_key`).
    """

    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_fate_each(self) -> "PrivacyPolicy":
        if both := sorted({*self.drop} & {*self.hash}):
            raise ValueError(f"{', '.join(both)}: either dropped or hashed, not both")
        return self

    @property
    def names(self) -> frozenset[str]:
        """All columns that are not logged as they are."""
        return frozenset({*self.drop, *self.hash})


class SlicePolicy(Section):
    """Rows of a window that are compared by themselves, too; the name of a column alone will do.

    Attributes:
        column: Input column whose values are slices.
        values: These values only; without any the ten that are most frequent in the reference.
        bins: A column of numbers with more different values is cut into so many ranges, at the reference's quantiles.
        minimum_rows: Fewer rows in the sample of either side make the slice inconclusive.
    """

    column: str
    values: tuple[bool | int | float | str, ...] = Field(default=(), max_length=50)
    bins: int = Field(default=4, ge=2, le=20)
    minimum_rows: int = Field(default=200, ge=20)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, section: Any) -> Any:
        return {"column": section} if isinstance(section, str) else section


class DriftPolicy(Section):
    """How a model is watched.

    Attributes:
        schedule: Cron text; `None` means that only `mlflow-ext drift run` checks.
        timezone: IANA name in which the cron text is read.
        catch_up: What happens with slots that nobody was there for: `coalesce` checks the latest, `all` each of them.
        window_s: Seconds of predictions that one scheduled check looks at, ending at its slot.
        reference: Rows compared with: `artifact:PATH` inside the served version's MLflow run, or a path or URI.
        minimum_rows: Fewer rows in the window make the check inconclusive.
        alpha: Chance that a window without drift has any drifted column (`holm`), or share of false ones among the
            drifted columns (`fdr`).
        correction: How `alpha` is kept over all columns.
        least_effect: Difference below which nothing is drift, however sure: largest difference of distribution
            functions, total variation, or change of the missing share.
        number_method: What decides about numbers; `ks` asks the rank sum, too.
        category_method: What decides about categories, and about numbers with few different values.
        multivariate: What compares the inputs together, on samples: `pca`, `classifier`; each is one more test.
        smallest_shift: Shift, in standard deviations, that a window must be able to show; else it is inconclusive.
        power: Chance with which it must.
        drift_share: Weighted share of input columns that must drift for the verdict drift; 0: any one.
        weights: Weight by column; the others weigh what `weights_from` says.
        weights_from: `model`: by the importance that the model gives its columns, 1 on average, where it is known;
            `policy`: 1 each.
        drifted_windows: How many of the last windows must have drifted for the verdict drift.
        last_windows: How many windows are looked at for that, this one among them.
        sample_rows: At most this many rows of each side go to Evidently (seeded sample).
        skew_rows: So many first rows of a version in Production, or last ones of its forerunner's, are compared once
            with what it was trained on, where there is a schedule; 0: only `mlflow-ext drift skew` does.
        ignore: Columns left out.
        slices: Rows that are compared by themselves, too: names of columns, or values of theirs.
        performance: Realised metrics by name, and where they are bad: beyond that an alert of its own fires.
        label_growth: Share of a window's rows that must have got labels since it was measured to measure it anew.
        label_look_s: Seconds between two looks for labels of one window, within `prediction_log.feedback_wait_s`.
    """

    schedule: Cron | None = None
    timezone: TimeZone = "UTC"
    catch_up: Literal["coalesce", "all"] = "coalesce"
    window_s: float = Field(default=86_400.0, gt=0)
    reference: str = "artifact:data/reference.parquet"
    minimum_rows: int = Field(default=200, ge=1)
    alpha: float = Field(default=0.005, gt=0, le=0.2)
    correction: Literal["holm", "fdr"] = "holm"
    least_effect: float = Field(default=0.05, ge=0, lt=1)
    number_method: Literal["ks", "rank_sum", "wasserstein", "psi", "kl", "js", "hellinger", "chi_square"] = "ks"
    category_method: Literal["chi_square", "psi", "kl", "js", "hellinger"] = "chi_square"
    multivariate: tuple[Literal["pca", "classifier"], ...] = ()
    smallest_shift: float = Field(default=0.5, gt=0)
    power: float = Field(default=0.9, gt=0, lt=1)
    drift_share: float = Field(default=0.0, ge=0, le=1)
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    weights_from: Literal["model", "policy"] = "model"
    drifted_windows: int = Field(default=1, ge=1)
    last_windows: int = Field(default=1, ge=1, le=100)
    sample_rows: int = Field(default=20_000, ge=100)
    skew_rows: int = Field(default=1_000, ge=0)
    ignore: tuple[str, ...] = ()
    slices: tuple[SlicePolicy, ...] = Field(default=(), max_length=20)
    performance: dict[str, MetricBound] = Field(default_factory=dict)
    label_growth: float = Field(default=0.05, gt=0, le=1)
    label_look_s: float = Field(default=600.0, ge=0)

    @model_validator(mode="after")
    def _enough_windows(self) -> "DriftPolicy":
        if self.drifted_windows > self.last_windows:
            raise ValueError(f"{self.drifted_windows} of the last {self.last_windows} windows can never drift")
        return self


class AlertPolicy(Section):
    """How a model's alerts are told.

    Attributes:
        severity: Of its alerts: `warning` or `critical`.
        critical_share: Share of drifted columns from which an alert is critical whatever `severity` says.
        cooldown_s: Seconds after people were told of an alert in which a new one of the same kind is not told: what
            goes on and off is told once.
        repeat_s: Seconds after which an alert that goes on is told again; `None` for never.
    """

    severity: Literal["warning", "critical"] = "warning"
    critical_share: float | None = Field(default=None, gt=0, le=1)
    cooldown_s: float = Field(default=3_600.0, ge=0)
    repeat_s: float | None = Field(default=86_400.0, gt=0)

    def severity_of(self, report: Mapping[str, Any]) -> str:
        """Give the severity of an alert by the report behind it."""
        share = report.get("drift_share")
        if self.critical_share is not None and share is not None and share >= self.critical_share:
            return "critical"
        return self.severity


class GovernancePolicy(Section):
    """What may be in Production. Who has to agree to it says the gate `approval`.

    Attributes:
        guard: What happens with a version that goes to Production without a promotion that passed.
        on_withdrawal: What follows when the version in Production is withdrawn: `nothing` leaves nothing there;
            `return` brings the newest version back that is still approved.
        rollback_window_s: Seconds since a version left Production in which it comes back without its gates being
            computed again; `None` means always.
    """

    guard: Literal["off", "warn", "enforce"] = "warn"
    on_withdrawal: Literal["nothing", "return"] = "nothing"
    rollback_window_s: float | None = Field(default=None, gt=0)


_FOR_EVER_S = 10 * 365 * 86_400.0


class ModelPolicy(Section):
    """Everything the platform may do with one registered model."""

    evaluation: EvaluationPolicy = EvaluationPolicy()
    gates: tuple[Annotated[GatePolicy, _AnyGate], ...] = ()
    serving: ServingPolicy = ServingPolicy()
    prediction_log: PredictionLogPolicy = PredictionLogPolicy()
    privacy: PrivacyPolicy = PrivacyPolicy()
    drift: DriftPolicy = DriftPolicy()
    alerts: AlertPolicy = AlertPolicy()
    retraining: RetrainingPolicy = RetrainingPolicy()
    governance: GovernancePolicy = GovernancePolicy()

    @property
    def keep_previous_s(self) -> float:
        """Seconds that the former Production version stays loaded: what may return has to be there."""
        if self.governance.on_withdrawal == "nothing":
            return self.serving.keep_previous_s
        return max(self.serving.keep_previous_s, min(self.governance.rollback_window_s or _FOR_EVER_S, _FOR_EVER_S))

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON form; a promotion records it."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()


_DOCUMENT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def merge(defaults: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Lay a model's sections over the defaults, key by key; lists are replaced, not joined."""
    merged = dict(defaults)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return _DOCUMENT.validate_python(merged)
