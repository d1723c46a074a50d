"""How often a drift verdict errs, beside Evidently's DataDriftPreset: false alarms, and drift that is found.

Data as in `drift_data.py`, made afresh from the seed; ten windows are compared with each reference. Both get the same
rows. The engine's answer is its verdict with the default policy (any column); Evidently has two: any column, and its
dataset drift (half of the columns).
"""

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.drift_data import columns
from benchmarks.findings import command_line, keep
from drift.engine.comparison import compare
from drift.engine.counting import all_inputs, count_file
from drift.engine.profile import ReferenceProfile
from drift.engine.profiling import profile_of
from drift.engine.rules import Rules

SIZES = [(300, 300), (1_000, 1_000), (20_000, 50), (20_000, 100), (20_000, 200), (20_000, 1_000), (20_000, 20_000)]
WINDOWS_A_REFERENCE = 10
MOST_FALSE, LEAST_FOUND = 0.02, 0.95


@dataclass(frozen=True)
class Setting:
    """One row of the tables.

    Attributes:
        reference: Rows of the reference.
        window: Rows of the window.
        columns: Columns.
        shift: Of the first column, in standard deviations.
        category_shift: Share of the five-category column's rows that move to its first category.
        required: Least share of windows in which it must be found; `None` where none is.
    """

    reference: int
    window: int
    columns: int
    shift: float = 0.0
    category_shift: float = 0.0
    required: float | None = None


NO_DRIFT = [Setting(n, m, count) for count in (10, 50, 200) for n, m in SIZES]
DRIFT = [
    Setting(20_000, 1_000, 10, shift=0.2, required=LEAST_FOUND),
    Setting(20_000, 20_000, 10, shift=0.2, required=LEAST_FOUND),
    Setting(1_000, 1_000, 10, shift=0.3, required=LEAST_FOUND),
    Setting(1_000, 1_000, 10, shift=0.2),
    Setting(300, 300, 10, shift=0.5),
    Setting(20_000, 1_000, 10, category_shift=0.15),
    Setting(20_000, 20_000, 10, category_shift=0.15),
    Setting(1_000, 1_000, 10, category_shift=0.15),
    Setting(1_000, 1_000, 10, category_shift=0.25),
]


def run(setting: Setting, windows: int, asked: int, seed: int) -> dict[str, Any]:
    """Judge windows.

    Args:
        setting: What data.
        windows: How many windows the engine judges.
        asked: How many of them Evidently judges, too.
        seed: Of the data.

    Returns:
        Counts: windows, with any drifted column, with the shifted column found; the same for Evidently.
    """
    wanted = "c0" if setting.shift else "c8"
    found: dict[str, Any] = {**vars(setting), "windows": windows, "any": 0, "found": 0, "others": 0}
    found |= {"evidently_windows": 0, "evidently_any": 0, "evidently_dataset": 0, "evidently_found": 0}
    profile: ReferenceProfile | None = None
    reference = pa.table({})
    for number in range(windows):
        told = [seed, setting.reference, setting.window, setting.columns]
        if number % WINDOWS_A_REFERENCE == 0:
            reference = pa.table(columns([*told, number, 0], setting.reference, setting.columns))
            profile = profile_of(reference.column_names, reference.column, source="calibration")
        window = pa.table(
            columns([*told, number, 1], setting.window, setting.columns, setting.shift, setting.category_shift)
        )
        assert profile is not None
        drifted = engine(profile, window)
        found["any"] += bool(drifted)
        found["found"] += wanted in drifted
        found["others"] += bool(drifted - {wanted})
        if number < asked:
            theirs = evidently(reference, window)
            found["evidently_windows"] += 1
            found["evidently_any"] += bool(theirs)
            found["evidently_dataset"] += len(theirs) >= setting.columns / 2
            found["evidently_found"] += wanted in theirs
    return found


def engine(profile: ReferenceProfile, window: pa.Table) -> set[str]:
    """Name the drifted columns."""
    file = BytesIO()
    pq.write_table(window, file, compression="none", use_dictionary=False)
    file.seek(0)
    compared = compare(profile, count_file(file, profile, all_inputs), Rules())
    return {one.column for one in compared.columns if one.drifted}


def evidently(reference: pa.Table, window: pa.Table) -> set[str]:
    """Name the columns that the preset calls drifted."""
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        there, here = reference.to_pandas(), window.to_pandas()
        numbers = list(there.select_dtypes("number").columns)
        others = [name for name in there.columns if name not in numbers]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=others)
        metrics = (
            Report([DataDriftPreset()])
            .run(
                Dataset.from_pandas(here, data_definition=definition),
                Dataset.from_pandas(there, data_definition=definition),
            )
            .dict()["metrics"]
        )
    found = set()
    for one in metrics:
        config = one["config"]
        if "column" not in config:
            continue
        is_chance = "p_value" in config["method"]
        value, threshold = float(one["value"]), float(config["threshold"])
        if value < threshold if is_chance else value >= threshold:
            found.add(config["column"])
    return found


def share(count: int, of: int) -> str:
    """Write a share in percent."""
    return f"{count / of:.1%}" if of else ""


def report(found: Sequence[dict[str, Any]], how: str) -> str:
    """Write both tables."""
    calm = [
        "| columns | reference / window | engine | Evidently, any column | Evidently, dataset |",
        "|---|---|---|---|---|",
    ]
    moved = [
        "| drift of 1 of 10 columns | rows | engine | other columns | Evidently, this column | Evidently, dataset |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        sizes, asked = f"{one['reference']:,} / {one['window']:,}", one["evidently_windows"]
        if not one["shift"] and not one["category_shift"]:
            calm.append(
                f"| {one['columns']} | {sizes} | {share(one['any'], one['windows'])} of {one['windows']} | "
                f"{share(one['evidently_any'], asked)} | {share(one['evidently_dataset'], asked)} |"
            )
            continue
        what = f"{one['shift']:g} standard deviations"
        if one["category_shift"]:
            what = f"{one['category_shift']:.0%} of the rows to one of five categories"
        required = f" (required {one['required']:.0%})" if one["required"] else ""
        moved.append(
            f"| {what} | {sizes} | {share(one['found'], one['windows'])} of {one['windows']}{required} | "
            f"{share(one['others'], one['windows'])} | {share(one['evidently_found'], asked)} | "
            f"{share(one['evidently_dataset'], asked)} |"
        )
    tables = "\n".join(calm), "\n".join(moved)
    return f"""# Calibration of drift verdicts

{how}.

## Windows without drift that are called drift

{tables[0]}

Required of the engine: at most {MOST_FALSE:.0%} in every row.

## Drift that is found

{tables[1]}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the tables."""
    parser = command_line("drift-calibration", __doc__)
    parser.add_argument("--windows", type=int, default=500, help="of a setting without drift")
    parser.add_argument("--drifted-windows", type=int, default=200, help="of a setting with drift")
    parser.add_argument("--evidently", type=int, default=100, help="windows that Evidently judges, of 10 columns")
    parser.add_argument("--columns", type=int, nargs="*", default=[10, 50, 200], help="settings with so many columns")
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args(arguments)
    found = []
    for setting in [one for one in [*NO_DRIFT, *DRIFT] if one.columns in given.columns]:
        calm = not setting.shift and not setting.category_shift
        windows = given.windows if calm else given.drifted_windows
        asked = min(given.evidently, windows) if setting.columns == 10 else 0
        found.append(run(setting, windows, asked, given.seed))
        print(json.dumps(found[-1]), flush=True)
    how = (
        f"{given.windows} windows a setting without drift, {given.drifted_windows} with; "
        f"Evidently {version('evidently')} on the first {given.evidently} of 10 columns; seed {given.seed}"
    )
    text = report(found, how)
    keep(given.into, "drift_calibration", text, {"how": how, "settings": found})


if __name__ == "__main__":
    main()
