"""What the serving benchmark found, as figures (JSON), table (Markdown) and chart (SVG)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import memory

REQUIRED_MB = 250.0
HEADER = (
    "| model | rows | clients | requests/s, MLflow | ours | ratio | required | p99 ratio | of constant app | MB |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_LEGEND = """
- **ratio**: our requests per second over those of `mlflow models serve`, each the median of its rounds.
- **p99 ratio**: MLflow's 99th percentile of the latency over ours.
- **of constant app**: our requests per second over those of an ASGI application that returns a constant.
- **MB**: resident memory of our scoring process, which has all models of this table loaded.
"""


def row(cell: Mapping[str, Any]) -> str:
    """Write one row of the table."""
    return (
        f"| ({cell['model']}) | {cell['rows']:,} | {cell['clients']} | {cell['mlflow_rps']:,.1f} | "
        f"{cell['ours_rps']:,.0f} | {cell['ratio']:.1f} | ≥ {cell['required']} | {cell['p99_ratio']:.1f} | "
        f"{cell['of_constant']:.0%} | {cell['resident_mb']:.0f} |"
    )


def write(
    into: Path, how: str, models: Mapping[str, str], cells: Sequence[Mapping[str, Any]], taken: Mapping[str, Any]
) -> None:
    """Write `serving.json`, `serving.md` and `serving.svg`.

    Args:
        into: Directory.
        how: How it was measured, one line.
        models: What the models are, by letter.
        cells: One measurement each.
        taken: The memory of a service with one model, and of MLflow's server with it.
    """
    into.mkdir(parents=True, exist_ok=True)
    (into / "serving.json").write_text(json.dumps({"how": how, "cells": cells, "memory": taken}, indent=2) + "\n")
    kinds = "\n".join(f"- ({name}) {what}" for name, what in models.items())
    table = "\n".join([HEADER, *map(row, cells)])
    beside = memory.table(taken["service"], taken["mlflow"], REQUIRED_MB)
    text = (
        f"# Serving\n\n{how}.\n\n{kinds}\n\n{table}\n{_LEGEND}\n## Memory with ({taken['model']}) alone\n\n"
        f"After requests of 64 clients (MLflow's server: of 8). PSS counts shared memory once.\n\n{beside}\n"
        "![Ratios](serving.svg)\n"
    )
    (into / "serving.md").write_text(text)
    _chart(into / "serving.svg", cells)


def _chart(path: Path, cells: Sequence[Mapping[str, Any]]) -> None:
    """Draw the ratios as bars, what is required as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = sorted({cell["model"] for cell in cells})
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3.6), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        own = [cell for cell in cells if cell["model"] == name]
        places = range(len(own))
        axis.bar(places, [cell["ratio"] for cell in own], color="#2a78d6", width=0.65)
        for place, cell in zip(places, own, strict=True):
            axis.hlines(cell["required"], place - 0.4, place + 0.4, color="#d03b3b", linewidth=2)
            axis.annotate(f"{cell['ratio']:.0f}", (place, cell["ratio"]), ha="center", va="bottom", fontsize=8)
        axis.set_xticks(places, [f"{cell['rows']:,} by {cell['clients']}" for cell in own], fontsize=7)
        axis.set_yscale("log")
        axis.set_title(f"({name})", fontsize=10)
        axis.set_xlabel("rows by clients", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("times MLflow's requests/s (line: required)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
