"""`python -m benchmarks [NAME] [options]`: one of those below, or all but `peers` with their usual options."""

import sys

from benchmarks import (
    drift,
    drift_calibration,
    drift_estimates,
    drift_flights,
    flips,
    gates_load,
    loading,
    peers,
    prediction_log,
    quantised_twins,
    serving,
    traces,
    workers,
)
from benchmarks.findings import keep_awake

BENCHMARKS = {
    "drift": drift.main,
    "drift-calibration": drift_calibration.main,
    "drift-estimates": drift_estimates.main,
    "drift-flights": drift_flights.main,
    "flips": flips.main,
    "gates-load": gates_load.main,
    "loading": loading.main,
    "serving": serving.main,
    "prediction-log": prediction_log.main,
    "quantised": quantised_twins.main,
    "traces": traces.main,
    "workers": workers.main,
    # installs other servers
    "peers": peers.main,
}

keep_awake()
if len(sys.argv) > 1:
    if sys.argv[1] not in BENCHMARKS:
        raise SystemExit(f"there is no benchmark {sys.argv[1]!r}: {', '.join(BENCHMARKS)}")
    BENCHMARKS[sys.argv[1]](sys.argv[2:])
else:
    for name, main in BENCHMARKS.items():
        if name != "peers":
            main([])
