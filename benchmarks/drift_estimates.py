"""Performance estimated without labels beside what came true: the flights of 2013, each month from March on.

The calibration is learnt twice: from flights that the model had not seen (the second half of February), and from those
that it was trained on, which flatter it.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.drift_flights import SAMPLE_ROWS, SEED, flights, windows
from benchmarks.findings import command_line, keep
from drift.estimated import estimate
from drift.performance import realised as came_true
from drift.reference import spread

METRICS = ("roc_auc", "accuracy", "brier_score", "positive_share")
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
            expected = estimate(learnt, some[["prediction"]], "target", "classifier", seed=SEED)
            if expected.note:
                raise SystemExit(f"no estimate from {name} rows: {expected.note}")
            one[name] = expected.metrics
        found.append(one)
    return found


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


def _interval(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.3f} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    given = command_line("drift-estimates", __doc__).parse_args(arguments)
    rows, _ = flights()
    found = measure(rows)
    how = (
        "A model trained until 14 February, calibrated on the flights of 15 to 28 February; in brackets, between which "
        "numbers it lies in 95 % of the worlds that are drawn"
    )
    keep(given.into, "drift_estimates", report(found, how), {"how": how, "windows": found})


if __name__ == "__main__":
    main()
