"""Performance estimated without labels beside what came true: the flights of 2013, each month from March on.

The calibration is learnt twice: from flights that the model had not seen (the second half of February), and from those
that it was trained on, which flatter it. And a regressor of the minutes that a flight is late: its errors, estimated
from flights that it had not seen.
"""

from collections.abc import Sequence
from time import process_time
from typing import Any

import pandas as pd

from benchmarks.drift_delays import delays
from benchmarks.drift_flights import SAMPLE_ROWS, SEED, SPANS, flights, windows
from benchmarks.findings import command_line, keep
from drift.estimates.estimate import estimate
from drift.performance import realised as came_true
from drift.reference import spread

METRICS = ("roc_auc", "accuracy", "brier_score", "positive_share")
ERRORS = ("mean_absolute_error", "root_mean_squared_error")
TRAINED_UNTIL, SEEN_UNTIL = pd.Timestamp(2013, 2, 15), pd.Timestamp(2013, 3, 1)


def measure(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Estimate and measure each month."""
    references = {
        "unseen": rows[(rows["date"] >= TRAINED_UNTIL) & (rows["date"] < SEEN_UNTIL)],
        "training": rows[rows["date"] < TRAINED_UNTIL],
    }
    found = []
    shown = ["prediction", "target"]
    for begin, window in windows(rows, "month"):
        realised = came_true(window[["prediction"]], window["target"], "classifier")
        one: dict[str, Any] = {"begin": f"{begin:%Y-%m-%d}", "rows": len(window)}
        one["realised"] = {name: realised[name] for name in METRICS}
        some = window.iloc[spread(len(window), SAMPLE_ROWS, SEED)]
        for name, reference in references.items():
            learnt = reference[shown].iloc[spread(len(reference), SAMPLE_ROWS, SEED)]
            expected = estimate(
                learnt, pd.DataFrame(index=some.index), some[["prediction"]], "target", "classifier", seed=SEED
            )
            if expected.note:
                raise SystemExit(f"no estimate from {name} rows: {expected.note}")
            one[name] = expected.metrics
        found.append(one)
    return found


def measure_errors(rows: pd.DataFrame, features: list[str]) -> list[dict[str, Any]]:
    """Estimate and measure the regressor's errors, each month and each week."""
    reference = rows[(rows["date"] >= TRAINED_UNTIL) & (rows["date"] < SEEN_UNTIL)]
    learnt = reference.drop(columns="date").iloc[spread(len(reference), SAMPLE_ROWS, SEED)]
    found = []
    for span in SPANS:
        for begin, window in windows(rows, span):
            some = window.iloc[spread(len(window), SAMPLE_ROWS, SEED)]
            began = process_time()
            expected = estimate(learnt, some[features], some[["prediction"]], "target", "regressor", seed=SEED)
            spent_s = process_time() - began
            realised = came_true(window[["prediction"]], window["target"], "regressor")
            one: dict[str, Any] = {"span": span, "begin": f"{begin:%Y-%m-%d}", "rows": len(window), "cpu_s": spent_s}
            one |= {"realised": {name: realised[name] for name in ERRORS}, "estimated": expected.metrics}
            found.append({**one, "note": expected.note})
    return found


def report_errors(found: Sequence[dict[str, Any]]) -> str:
    """Write the regressor's table: months, and what weeks come to."""
    lines = [
        "| month from | rows | mean absolute error: estimated | true | root mean squared error: estimated | true |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        if one["span"] == "month":
            shown = [_interval(one["estimated"], name, 1) if one["estimated"] else "not possible" for name in ERRORS]
            true = [f"{one['realised'][name]:.1f}" for name in ERRORS]
            why = f": {one['note']}" if one["note"] else ""
            lines.append(f"| {one['begin']} | {one['rows']:,} | {shown[0]}{why} | {true[0]} | {shown[1]} | {true[1]} |")
    said = []
    for span in SPANS:
        some = [one for one in found if one["span"] == span and one["estimated"]]
        for name in ERRORS:
            off = sum(abs(one["estimated"][name] - one["realised"][name]) for one in some) / len(some)
            inside = sum(
                one["estimated"][f"{name}_low"] <= one["realised"][name] <= one["estimated"][f"{name}_high"]
                for one in some
            )
            said.append(f"{name} of {span}s {off:.1f} ({inside} of {len(some)} inside)")
    spent = sorted(one["cpu_s"] for one in found if one["estimated"])
    lines += ["", f"Mean distance of estimate and what came true, in minutes: {'; '.join(said)}."]
    lines.append(f"One estimate takes {spent[len(spent) // 2]:.2f} CPU-seconds (median).")
    return "\n".join(lines)


def report(found: Sequence[dict[str, Any]], how: str) -> str:
    """Write the table."""
    heads = ["month from", "rows"]
    heads += [f"{name}: {what}" for name in ("ROC AUC", "accuracy", "late") for what in ("estimated", "true")]
    heads.append("ROC AUC, calibrated on training rows")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for one in found:
        cells = [one["begin"], f"{one['rows']:,}"]
        for name in ("roc_auc", "accuracy", "positive_share"):
            cells += [_interval(one["unseen"], name), f"{one['realised'][name]:.3f}"]
        lines.append(f"| {' | '.join([*cells, _interval(one['training'], 'roc_auc')])} |")
    missed = {
        name: sum(abs(one["unseen"][name] - one["realised"][name]) for one in found) / len(found) for name in METRICS
    }
    inside = {
        name: sum(
            one["unseen"][f"{name}_low"] <= one["realised"][name] <= one["unseen"][f"{name}_high"] for one in found
        )
        for name in METRICS
    }
    said = "; ".join(f"{name} {missed[name]:.3f} ({inside[name]} of {len(found)} inside)" for name in METRICS)
    return f"""# Performance of the flights' model, estimated without labels

{how}.

{chr(10).join(lines)}

Mean distance of estimate and what came true, and how often that lay in the interval: {said}.
"""


def _interval(metrics: dict[str, float], name: str, digits: int = 3) -> str:
    value, low, high = (f"{metrics[name + end]:.{digits}f}" for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    given = command_line("drift-estimates", __doc__).parse_args(arguments)
    rows, features = flights()
    found = measure(rows)
    errors = measure_errors(delays(rows, features, TRAINED_UNTIL), features)
    how = (
        "A model trained until 14 February, calibrated on the flights of 15 to 28 February; in brackets, between which "
        "numbers it lies in 95 % of the worlds that are drawn"
    )
    text = f"""{report(found, how)}
## Errors of a regressor

How many minutes late, by a model of the same inputs and days; what its errors are like is learnt from the flights of
15 to 28 February.

{report_errors(errors)}
"""
    keep(given.into, "drift_estimates", text, {"how": how, "windows": found, "errors": errors})


if __name__ == "__main__":
    main()
