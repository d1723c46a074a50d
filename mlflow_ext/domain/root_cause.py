"""What a drifted window's root cause is said to be. How it is found lives in `drift/causes/`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

ROOT_CAUSE = "root_cause.json"
ROOT_CAUSE_PICTURE = "root_cause.png"
"""Names among the artifacts of a check's run."""


class Course(StrEnum):
    """How a column's drift came: since one hour, until one hour, bit by bit, in all hours alike; or not known."""

    SINCE = "since"
    UNTIL = "until"
    GRADUALLY = "gradually"
    THROUGHOUT = "throughout"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DriftSlice:
    """The part of the rows whose share changed most: what a shallow tree found, measured on rows it has not seen.

    Attributes:
        conditions: Which rows, all of these together, in words.
        window_share: Its share of the window, 0 to 1.
        reference_share: Its share of the reference, 0 to 1.
        difference_low: Lower end of the 99 % interval of the change of the share.
        difference_high: Upper end of it.
        lift: How many times as frequent it is in the window.
        lift_low: Lower end of the 99 % interval of the lift.
        lift_high: Upper end of it.
        left: Input columns that drift among the other rows, too; `None` when too few rows are left to tell.
        left_of: How many input columns were compared there.
    """

    conditions: tuple[str, ...]
    window_share: float
    reference_share: float
    difference_low: float
    difference_high: float
    lift: float
    lift_low: float
    lift_high: float
    left: tuple[str, ...] | None = None
    left_of: int = 0


@dataclass(frozen=True, slots=True)
class PredictionShift:
    """What became of the logged predictions.

    Attributes:
        output: Which number of the answer, or which label's share.
        reference_mean: Its mean over the reference.
        window_mean: Its mean over the window.
        by_slice: How much of the shift comes from the slice's being more or less frequent; `None` without a slice.
        fidelity: Share of the predictions' variance that the stand-in explains on rows it has not seen, the smaller of
            both sides; `None` where there is no stand-in.
        together: What the drifted columns' own parts do not add up to; `None` without a faithful stand-in.
    """

    output: str
    reference_mean: float
    window_mean: float
    by_slice: float | None = None
    fidelity: float | None = None
    together: float | None = None

    @property
    def shift(self) -> float:
        """Change of the mean."""
        return self.window_mean - self.reference_mean


@dataclass(frozen=True, slots=True)
class ColumnCause:
    """One drifted input column.

    Attributes:
        column: Its name.
        effect: Size of its difference, 0 to 1.
        weight: Policy's weight.
        importance: Share of the predictions' variance that goes with it, 0 to 1; `None` without a faithful stand-in.
        rank: Effect times weight times importance (1 where that is unknown).
        moved: How far this column's change moved the mean prediction, by the stand-in; `None` without.
        course: How its drift came.
        at: The hour, ISO 8601, for `since` and `until`.
        before: Share of its drift that was there before that hour already; `None` for other courses.
        chance: Chance that hours without any change look so much like one, corrected for the number of columns.
        timeline: Per point of time how far the column is from the reference on its way to the window: 0 as the
            reference, 1 as the window.
    """

    column: str
    effect: float
    weight: float
    importance: float | None
    rank: float
    moved: float | None = None
    course: Course = Course.UNKNOWN
    at: str | None = None
    before: float | None = None
    chance: float | None = None
    timeline: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RootCause:
    """Why a window drifted.

    Attributes:
        headline: One sentence for alerts.
        sentences: The whole, in words.
        columns: The drifted inputs, the first one counts most.
        slice: Which rows; `None` when none stands out.
        prediction: What became of the predictions; `None` when they cannot be compared.
    """

    headline: str
    sentences: tuple[str, ...]
    columns: tuple[ColumnCause, ...] = ()
    slice: DriftSlice | None = None
    prediction: PredictionShift | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RootCause":
        """Read what `as_dict` gave, also when it went through JSON."""
        columns = [
            ColumnCause(
                **{
                    **one,
                    "course": Course(one["course"]),
                    "timeline": tuple((at, distance) for at, distance in one["timeline"]),
                }
            )
            for one in data["columns"]
        ]
        part, prediction = data["slice"], data["prediction"]
        if part is not None:
            left = part["left"]
            part = DriftSlice(
                **{
                    **part,
                    "conditions": tuple(part["conditions"]),
                    "left": None if left is None else tuple(left),
                }
            )
        return cls(
            data["headline"],
            tuple(data["sentences"]),
            tuple(columns),
            part,
            None if prediction is None else PredictionShift(**prediction),
        )
