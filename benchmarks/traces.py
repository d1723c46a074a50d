"""What traces cost: requests per second and processor time with none, few and all requests traced, in one run.

As `prediction_log.py`, whose processes and turns these are, with the log on; the collector takes what it gets and keeps
nothing.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.findings import command_line, keep, machine
from benchmarks.prediction_log import CLIENTS, measure
from benchmarks.scoring_child import TRACES


class _Sink(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector; gives its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def report(found: Mapping[str, Mapping[str, float]], how: str) -> str:
    """Write the table; ratios are to the first row."""
    first = next(iter(found.values()))
    rows = "\n".join(
        f"| {mode} | {one['rps']:,.0f} | {one['rps'] / first['rps']:.1%} | {one['p99_ms']:.1f} | "
        f"{one['cpu_us']:.1f} | {one['cpu_us'] / first['cpu_us']:.1%} |"
        for mode, one in found.items()
    )
    return f"""# Traces

{how}.

| traces | requests/s | of those without | p99 ms | CPU µs a request | of that without |
|---|---|---|---|---|---|
{rows}

- **without**: the server without the code that traces; **traces off**: as it is delivered, no `traces_url`.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("traces", __doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    given = parser.parse_args(arguments)
    before = machine()
    with collector() as url:
        found = measure(given.rounds, given.seconds, tuple(TRACES), COLLECTOR=url)
    how = (
        f"LogisticRegression, 30 float columns, one row a request, {CLIENTS} clients, one worker each, medians of "
        f"{given.rounds} rounds of {given.seconds} s in turns ({before})"
    )
    text = report(found, how)
    keep(given.into, "traces", text, {"how": how, "modes": found})


if __name__ == "__main__":
    main()
