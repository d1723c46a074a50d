"""What `promote`, `status` and `rollback` answer: objects that read well in a console and in a notebook.

How a terminal draws them, live and in colour, is in `commands/drawing.py`.
"""

from dataclasses import dataclass
from html import escape

from mlflow_ext.domain.gates import GateReport, GateResult, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionState

_HEADINGS = ("gate", "verdict", "measured", "Production", "must reach")


@dataclass(frozen=True, slots=True, repr=False)
class PromotionAnswer:
    """How a promotion stands.

    Attributes:
        promotion: The promotion itself.
    """

    promotion: Promotion

    @property
    def state(self) -> PromotionState:
        """Where it stands."""
        return self.promotion.state

    @property
    def reason(self) -> str:
        """Why it ended or waits, in one sentence; empty before."""
        return self.promotion.reason

    @property
    def report(self) -> GateReport | None:
        """What the gates said, once they have."""
        return GateReport.from_dict(self.promotion.report) if self.promotion.report else None

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """One result a gate."""
        return self.report.results if self.report else ()

    @property
    def ok(self) -> bool:
        """Tell whether it did what was asked: promoted; for a dry run, all gates passed."""
        if self.promotion.dry_run:
            return self.report is not None and self.report.verdict is Verdict.PASSED
        return self.state is PromotionState.PROMOTED

    def __repr__(self) -> str:
        lines = [self._title()]
        if self.reason:
            lines.append(f"  {self.reason}")
        lines += ["  " + " | ".join(row) for row in gate_rows(self.gates)]
        return "\n".join([*lines, f"  next: {self.promotion.next_step}"])

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in gate_rows(self.gates)
        )
        heading = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
        table = f"<table><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
        return (
            f"<p><b>{escape(self._title())}</b><br>{escape(self.reason)}</p>{table}"
            f"<p>Next: {escape(self.promotion.next_step)}</p>"
        )

    def _title(self) -> str:
        one = self.promotion
        kind = " (dry run)" if one.dry_run else ""
        return f"Promotion {one.id}{kind} of {one.model} version {one.version}: {one.state}"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How one model stands.

    Attributes:
        model: Registered model.
        production: Version in Production by MLflow.
        staging: Versions in Staging, newest first.
        served: Version that the serving pointer names.
        promotions: Its newest promotions, newest first, at most five.
    """

    model: str
    production: int | None
    staging: tuple[int, ...]
    served: int | None
    promotions: tuple[Promotion, ...]


@dataclass(frozen=True, slots=True, repr=False)
class StatusAnswer:
    """How the models stand.

    Attributes:
        models: One entry a model.
        worker_alive: Whether a promotion worker is there to work on them.
    """

    models: tuple[ModelStatus, ...]
    worker_alive: bool

    def __repr__(self) -> str:
        lines = ["{}: Production {}, Staging {}, served {}, {}".format(*row) for row in self._rows()]
        if not self.worker_alive:
            lines.append("no promotion worker is alive")
        return "\n".join(lines) or "no registered model has versions"

    def _repr_html_(self) -> str:
        headings = ("model", "Production", "Staging", "served", "last promotion")
        head = "".join(f"<th>{heading}</th>" for heading in headings)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        note = "" if self.worker_alive else "<p>No promotion worker is alive.</p>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.model,
                _version(one.production),
                ", ".join(map(str, one.staging)) or "none",
                _version(one.served),
                _last(one.promotions),
            )
            for one in self.models
        ]


@dataclass(frozen=True, slots=True, repr=False)
class RollbackAnswer:
    """What a rollback did.

    Attributes:
        model: Registered model.
        from_version: Version that was in Production; `None` when none was.
        to_version: Version that is in Production now.
    """

    model: str
    from_version: int | None
    to_version: int

    def __repr__(self) -> str:
        former = _version(self.from_version)
        return f"{self.model}: version {self.to_version} is in Production again, instead of {former}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def gate_rows(gates: tuple[GateResult, ...]) -> list[tuple[str, str, str, str, str]]:
    """Give each gate's name, verdict, measured value, the champion's, and the bound, as text."""
    return [(gate.name, gate.standing, _show(gate.measured), _show(gate.champion), _show(gate.bound)) for gate in gates]


def _last(promotions: tuple[Promotion, ...]) -> str:
    if not promotions:
        return "no promotion yet"
    return f"version {promotions[0].version} {promotions[0].state} (promotion {promotions[0].id})"


def _version(number: int | None) -> str:
    return "none" if number is None else f"version {number}"


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
