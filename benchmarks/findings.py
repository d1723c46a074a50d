"""Where and how a benchmark writes down what it found: its option `--into`, the machine in a line, the files."""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_LATENCY = Path("/dev/cpu_dma_latency")
_awake: list[FileIO] = []


def keep_awake() -> None:
    """Let this machine's processors not sleep until this process ends, where Linux allows it.

    A processor that rests wakes up late, most of all a virtual one: who asks now and then would measure that.
    Source: the Linux kernel's Documentation/power/pm_qos_interface.rst, a latency of 0 µs.
    """
    with suppress(OSError):
        wish = FileIO(_LATENCY, "w")
        wish.write(bytes(4))
        _awake.append(wish)


def command_line(name: str, about: str | None) -> argparse.ArgumentParser:
    """Give a benchmark's command line, with the directory that its results go to as `into`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=about)
    parser.add_argument("--into", type=Path, default=RESULTS, help="directory of the results")
    return parser


def machine() -> str:
    """Say on what it is measured, and what else the machine has to do now."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    kind = f"{platform.machine()}, {os.cpu_count()} CPUs that {'are kept awake' if _awake else 'may sleep'}"
    return f"{kind}, load before {load}, Python {platform.python_version()}"


def load_after() -> str:
    """Say what the machine had to do by the end."""
    return f"load after {os.getloadavg()[0]:.1f}"


def keep(into: Path, name: str, text: str, document: Mapping[str, Any]) -> None:
    """Print the text, and write it as `name.md` beside the figures, `name.json`."""
    print(text)
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{name}.md").write_text(text)
    (into / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
