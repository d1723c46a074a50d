"""Columns, rows, time and predictions put together, and told."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from drift.causes.hours import ColumnHours, Hours
from drift.causes.picture import picture_of
from drift.causes.root_cause import Evidence, root_cause_of
from drift.causes.stand_in import answer_of, explain
from drift.engine.rules import Rules
from mlflow_ext.domain.drift import ColumnDrift, DriftReport, DriftVerdict, Window
from mlflow_ext.domain.root_cause import Course, RootCause

BEGIN = datetime(2026, 11, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
INPUTS = ["$size$", "place", "noise"]


def rows(count: int, seed: int) -> pd.DataFrame:
    """Inputs, and the answers of a model that knows size and place."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"$size$": rng.normal(0, 1, count), "place": rng.choice(["a", "b"], count), "noise": rng.normal(0, 1, count)}
    )
    return answered(frame)


def answered(frame: pd.DataFrame) -> pd.DataFrame:
    """With the model's answers."""
    return frame.assign(prediction=2 * frame["$size$"] + (frame["place"] == "b"))


def drifted(name: str, effect: float) -> ColumnDrift:
    """A column that drifted."""
    return ColumnDrift(name, "data", "ks", effect, 0.05, drifted=True, p_value=0.0)


def evidence(*, answers: bool = True, hours: Hours | None = None) -> Evidence:
    """Size moved in most rows of the window, and so did the noise, which no answer rests on."""
    there, here = rows(3_000, 1), rows(3_000, 2)
    moved = np.random.default_rng(3).random(len(here)) < 0.6
    here.loc[moved, "$size$"] += 4
    here.loc[moved, "noise"] += 3
    here = answered(here)
    columns = [
        drifted("noise", 0.55),
        drifted("$size$", 0.5),
        ColumnDrift("place", "data", "chi_square", 0.01, 0.05, drifted=False, p_value=1.0),
    ]
    outputs = here[["prediction"]] if answers else pd.DataFrame(index=here.index)
    return Evidence(columns, there, here[INPUTS], outputs, hours or Hours(), Rules())


def report(cause: RootCause) -> DriftReport:
    """A report with it."""
    window = Window(BEGIN + 30 * HOUR, BEGIN + 60 * HOUR)
    columns = (drifted("$size$", 0.5),)
    return DriftReport("m$", 1, window, DriftVerdict.DRIFT, "", columns=columns, root_cause=cause)


def over_time() -> Hours:
    """Size changes at the fortieth hour."""
    rng = np.random.default_rng(4)
    before, after = rng.multinomial(100, [0.25] * 4, 40), rng.multinomial(100, [0.1, 0.1, 0.1, 0.7], 20)
    counts = np.concatenate([before, after]).astype(float)
    reference = np.full(4, 1_000.0)
    one = ColumnHours(reference, counts[30:].sum(axis=0), counts)
    return Hours(tuple(BEGIN + number * HOUR for number in range(60)), {"$size$": one})


def test_columns_that_matter_to_answers_come_first() -> None:
    """The larger difference is in a column that no answer rests on: importance puts it last, and it moved nothing."""
    cause = root_cause_of(evidence())
    assert [one.column for one in cause.columns] == ["$size$", "noise"]
    size, noise = cause.columns
    assert cause.prediction is not None
    assert cause.prediction.fidelity is not None
    assert cause.prediction.fidelity > 0.9
    assert size.importance == pytest.approx(4 / 4.25, abs=0.1)
    assert noise.importance == pytest.approx(0, abs=0.02)
    assert size.moved == pytest.approx(2 * 4 * 0.6, rel=0.1)
    assert noise.moved == pytest.approx(0, abs=0.1)
    assert cause.prediction.shift == pytest.approx(2 * 4 * 0.6, rel=0.1)
    assert cause.prediction.by_slice is not None
    assert cause.prediction.by_slice > 0.7 * cause.prediction.shift
    assert cause.slice is not None
    assert cause.slice.window_share > 0.5


def test_without_answers_difference_and_weight_rank() -> None:
    """Nothing is said about predictions; policy's weights count."""
    given = evidence(answers=False)
    cause = root_cause_of(given)
    assert [one.column for one in cause.columns] == ["noise", "$size$"]
    assert cause.prediction is None
    weighted = Evidence(
        *(getattr(given, name) for name in ("columns", "reference", "inputs", "outputs", "hours")),
        Rules(weights={"noise": 0.1}),
    )
    assert [one.column for one in root_cause_of(weighted).columns] == ["$size$", "noise"]


def test_a_stand_in_that_does_not_explain_answers_says_nothing() -> None:
    """Answers that do not follow from the inputs: no importance, and the words say why."""
    given = evidence()
    rng = np.random.default_rng(5)
    given.reference["prediction"] = rng.normal(0, 1, len(given.reference))
    given.outputs["prediction"] = rng.normal(1, 1, len(given.outputs))
    cause = root_cause_of(given)
    assert all(one.importance is None and one.moved is None for one in cause.columns)
    assert cause.prediction is not None
    assert cause.prediction.together is None
    assert any("By column: not told" in one for one in cause.sentences)


def test_the_hour_is_told_in_words_and_survives_json() -> None:
    """Headline, sentences, and what PostgreSQL gives back; reports of before have no root cause."""
    cause = root_cause_of(evidence(hours=over_time()))
    size = next(one for one in cause.columns if one.column == "$size$")
    assert (size.course, size.at) == (Course.SINCE, (BEGIN + 40 * HOUR).isoformat())
    assert cause.headline.endswith("since 2026-11-04 16:00 UTC")
    assert any(one.startswith("Since when: $size$ since 2026-11-04 16:00 UTC") for one in cause.sentences)
    told = json.loads(json.dumps(report(cause).as_dict()))
    assert DriftReport.from_dict(told) == report(cause)
    told.pop("root_cause")
    assert DriftReport.from_dict(told).root_cause is None


def test_the_picture_shows_whatever_there_is() -> None:
    """All three parts, or only some of them; names are no mathematics; nothing is drawn of nothing."""
    whole = root_cause_of(evidence(hours=over_time()))
    assert (picture_of(report(whole), whole) or b"").startswith(b"\x89PNG")
    bare = RootCause("", (), whole.columns[1:])
    assert (picture_of(report(bare), bare) or b"").startswith(b"\x89PNG")
    nothing = RootCause("", ())
    assert picture_of(report(nothing), nothing) is None


def test_of_several_answers_the_one_that_moved_is_told() -> None:
    """Of two classes' probabilities the later one; of labels the share of the one that changed most."""
    there = pd.DataFrame({"prediction_0": [0.9, 0.8], "prediction_1": [0.1, 0.2]})
    here = pd.DataFrame({"prediction_0": [0.5, 0.4], "prediction_1": [0.5, 0.6]})
    found = answer_of(there, here)
    assert found is not None
    assert found.name == "prediction_1"
    labels = answer_of(pd.DataFrame({"prediction": ["x"] * 9 + ["y"]}), pd.DataFrame({"prediction": ["y", "x"]}))
    assert labels is not None
    assert labels.name in ("share of prediction = x", "share of prediction = y")
    assert answer_of(pd.DataFrame(), here) is None


def test_too_few_rows_give_no_stand_in() -> None:
    """Fewer than some hundred answers teach nothing."""
    there, here = rows(100, 6), rows(100, 7)
    answer = answer_of(there, here[["prediction"]])
    assert answer is not None
    assert explain(there, here, answer, INPUTS, ["$size$"]) is None
