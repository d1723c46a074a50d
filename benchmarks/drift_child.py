"""One measured process of `drift.py`: `python -m benchmarks.drift_child engine|evidently|decode REFERENCE WINDOW`.

Prints CPU seconds without imports, the peak of resident memory, and what was found, as JSON.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def engine(reference: str, window: str) -> tuple[float, Any]:
    """Load the profile, count the window, compare, decide."""
    from drift.engine.comparison import compare
    from drift.engine.counting import all_inputs, count_file
    from drift.engine.profile import ReferenceProfile
    from drift.engine.rules import Rules
    from drift.engine.verdict import decide

    begin = time.process_time()
    profile = ReferenceProfile.from_bytes(Path(reference).with_suffix(".profile").read_bytes())
    assert profile is not None
    counts = count_file(window, profile, all_inputs)
    compared = compare(profile, counts, Rules())
    verdict = decide(compared, Rules(), window_rows=counts.rows, reference_rows=profile.rows)
    return time.process_time() - begin, verdict[0].value


def evidently(reference: str, window: str) -> tuple[float, Any]:
    """Read both as data frames and run the preset."""
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    begin = time.process_time()
    there, here = pd.read_parquet(reference), pd.read_parquet(window)
    numbers = list(there.select_dtypes("number").columns)
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=[name for name in there.columns if name not in numbers]
    )
    snapshot = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(here, data_definition=definition), Dataset.from_pandas(there, data_definition=definition)
    )
    first = snapshot.dict()["metrics"][0]["value"]
    return time.process_time() - begin, first


def decode(reference: str, window: str) -> tuple[float, Any]:
    """Decode the window's columns with PyArrow, one column of one row group at a time, and keep nothing."""
    import pyarrow.parquet as pq

    begin = time.process_time()
    file = pq.ParquetFile(window)
    for group in range(file.num_row_groups):
        for name in file.schema_arrow.names:
            file.read_row_group(group, columns=[name], use_threads=False)
    return time.process_time() - begin, None


def profile(reference: str, window: str) -> tuple[float, Any]:
    """Make the reference's profile, once per version."""
    import pyarrow.parquet as pq

    from drift.engine.profiling import profile_of

    begin = time.process_time()
    file = pq.ParquetFile(reference)
    made = profile_of(file.schema_arrow.names, lambda name: file.read([name]).column(0), source="benchmark")
    Path(reference).with_suffix(".profile").write_bytes(made.to_bytes())
    return time.process_time() - begin, made.id


def peak_mb() -> float:
    """Give the peak of this process's resident memory; ru_maxrss would begin with that of the process which forked."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise SystemExit("needs Linux: /proc/self/status")


if __name__ == "__main__":
    measure = {"engine": engine, "evidently": evidently, "decode": decode, "profile": profile}[sys.argv[1]]
    cpu_s, found = measure(*sys.argv[2:])
    print(json.dumps({"cpu_s": cpu_s, "peak_mb": peak_mb(), "found": found}))
