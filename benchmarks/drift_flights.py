"""The drift engine on real data: the flights of 2013, reference January and February, windows of weeks and months.

Each window's verdict with the columns that drifted most and the root cause, Evidently's verdict beside, and how well a
model of January and February did: estimated without labels (calibrated on the second half of February, which it has not
seen), and really. Control: the same rows shuffled in time, where no window can have drifted.
"""

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from benchmarks.drift_calibration import evidently
from benchmarks.drift_causes import HourlyCounts, cause, counted
from benchmarks.findings import command_line, keep
from drift.engine.comparison import Comparison, compare
from drift.engine.profile import ReferenceProfile
from drift.engine.profiling import profile_of
from drift.engine.rules import Rules
from drift.engine.statistics import WindowStatistics
from drift.engine.verdict import decide
from drift.estimates.estimate import estimate
from drift.reference import spread

SEED = 7
SAMPLE_ROWS = 20_000
SHUFFLES = 5
MOST_FALSE = 0.05
NAMED = 5
SPANS = {"month": "MS", "week": "W-MON"}
LENGTHS = {"month": pd.DateOffset(months=1), "week": pd.DateOffset(days=7)}
ZONE = "America/New_York"
TRAINED_UNTIL = pd.Timestamp(2013, 2, 15)
ESTIMATED = ("roc_auc", "roc_auc_low", "roc_auc_high")


def flights() -> tuple[pd.DataFrame, list[str]]:
    """Give the flights with the predictions of a model of January and the first half of February, and the features."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "projects" / "flights"))
    # packages of projects/ are no part of ours: they are found only now
    data, model_of = import_module("flights.data"), import_module("flights.model")
    rows = data.load()
    training = rows[rows["date"] < TRAINED_UNTIL]
    model = model_of.build("good", 100, SEED).fit(data.as_features(training), training["target"])
    return rows.assign(prediction=model.predict_proba(data.as_features(rows))[:, 1]), list(data.FEATURES)


def profiled(rows: pd.DataFrame) -> ReferenceProfile:
    """Make a profile."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    return profile_of(table.column_names, table.column, source="flights")


def judged(profile: ReferenceProfile, rows: pd.DataFrame) -> tuple[str, Comparison, WindowStatistics]:
    """Judge one window by the default rules."""
    counts = counted(profile, rows)
    found = compare(profile, counts, Rules())
    return decide(found, Rules(), window_rows=counts.rows, reference_rows=profile.rows)[0].value, found, counts


def windows(rows: pd.DataFrame, span: str) -> list[tuple[pd.Timestamp, pd.DataFrame]]:
    """Cut March to December into months, or weeks from Monday on; whole ones only."""
    begins = pd.date_range("2013-03-01", "2013-12-31", freq=SPANS[span])
    ends = [*begins[1:], begins[-1] + (timedelta(days=31) if span == "month" else timedelta(days=7))]
    last = rows["date"].max() + timedelta(days=1)
    return [
        (begin, rows[(rows["date"] >= begin) & (rows["date"] < end)])
        for begin, end in zip(begins, ends, strict=True)
        if end <= last
    ]


def measure(rows: pd.DataFrame, features: list[str], asked: bool) -> dict[str, Any]:
    """Judge every window, and every window of the shuffled control."""
    compared = [*features, "prediction"]
    is_reference = rows["date"] < pd.Timestamp(2013, 3, 1)
    reference = rows[is_reference]
    profile = profiled(reference[compared])
    sample = reference[compared].iloc[spread(len(reference), SAMPLE_ROWS, SEED)]
    learnt = reference[reference["date"] >= TRAINED_UNTIL][["prediction", "target"]]
    hours = HourlyCounts.of(rows, compared)
    found: dict[str, Any] = {"reference_rows": len(reference), "windows": [], "control": []}
    for span in SPANS:
        for begin, window in windows(rows, span):
            verdict, comparison, counts = judged(profile, window[compared])
            some = window[compared].iloc[spread(len(window), SAMPLE_ROWS, SEED)]
            nothing = pd.DataFrame(index=some.index)
            expected = estimate(learnt, nothing, some[["prediction"]], "target", "classifier", seed=SEED)
            drifted = sorted((one for one in comparison.columns if one.drifted), key=lambda one: -(one.score or 0))
            one = {
                "span": span,
                "begin": f"{begin:%Y-%m-%d}",
                "rows": len(window),
                "verdict": verdict,
                "drifted": {each.column: round(each.score or 0, 3) for each in drifted},
                "notes": {each.column: each.note for each in comparison.columns if each.note},
                "roc_auc": round(float(roc_auc_score(window["target"], window["prediction"])), 3),
                "late_share": round(float(window["target"].mean()), 3),
                "estimated": {name: round(expected.metrics[name], 3) for name in ESTIMATED},
            }
            if drifted:
                hours.since, hours.until = (moment.tz_localize(ZONE) for moment in (begin, begin + LENGTHS[span]))
                why = cause(comparison.columns, sample, some, counts, profile, hours)
                one |= {"why": why.headline, "in_full": why.sentences}
            if asked:
                theirs = evidently(*(pa.Table.from_pandas(side, preserve_index=False) for side in (sample, some)))
                one["evidently_columns"] = sorted(theirs)
                one["evidently_drift"] = len(theirs) >= len(compared) / 2
            found["windows"].append(one)
            print(json.dumps(one), flush=True)
    for number in range(SHUFFLES):
        # dates stay, rows change places: every window comes from one distribution
        mixed = rows.sample(frac=1.0, random_state=SEED + number).assign(date=rows["date"].to_numpy())
        control = profiled(mixed[(mixed["date"] < pd.Timestamp(2013, 3, 1))][compared])
        for span in SPANS:
            verdicts = [judged(control, window[compared])[0] for _, window in windows(mixed, span)]
            found["control"].append({"span": span, "windows": len(verdicts), "alarms": verdicts.count("drift")})
    return found


def report(found: dict[str, Any], how: str) -> str:
    """Write the tables."""
    parts = []
    for span in SPANS:
        heads = f"{span} from | rows | verdict | drifted, the largest differences | why | Evidently"
        lines = [f"| {heads} | ROC AUC: estimated | true | late |", f"|{'---|' * 9}"]
        for one in found["windows"]:
            if one["span"] != span:
                continue
            first = list(one["drifted"].items())
            named = ", ".join(f"{name} {effect:.2f}" for name, effect in first[:NAMED])
            more = f" and {len(first) - NAMED} more" if len(first) > NAMED else ""
            theirs = ""
            if "evidently_drift" in one:
                theirs = (
                    f"{'drift' if one['evidently_drift'] else 'no drift'} ({len(one['evidently_columns'])} columns)"
                )
            value, low, high = (f"{one['estimated'][name]:.3f}" for name in ESTIMATED)
            lines.append(
                f"| {one['begin']} | {one['rows']:,} | {one['verdict']} | {named}{more} | {one.get('why', '')} | "
                f"{theirs} | {value} ({low} to {high}) | {one['roc_auc']:.3f} | {one['late_share']:.0%} |"
            )
        parts.append("\n".join(lines))
    calm = {span: [one for one in found["control"] if one["span"] == span] for span in SPANS}
    control = "; ".join(
        f"{sum(one['alarms'] for one in some)} of {sum(one['windows'] for one in some)} {span}s"
        for span, some in calm.items()
    )
    return f"""# Drift of the flights of 2013

{how}.

{parts[0]}

{parts[1]}

Control, the same rows shuffled in time {SHUFFLES} times: alarms in {control} (required: at most {MOST_FALSE:.0%}).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the tables."""
    parser = command_line("drift-flights", __doc__)
    parser.add_argument("--without-evidently", action="store_true")
    given = parser.parse_args(arguments)
    rows, features = flights()
    found = measure(rows, features, not given.without_evidently)
    how = (
        f"Reference: January and February, {found['reference_rows']:,} flights; {len(features)} inputs and the "
        "prediction of a model trained until 14 February; default policy; "
        f"Evidently {version('evidently')} on samples of {SAMPLE_ROWS:,} rows a side"
    )
    text = report(found, how)
    keep(given.into, "drift_flights", text, {"how": how, **found})


if __name__ == "__main__":
    main()
