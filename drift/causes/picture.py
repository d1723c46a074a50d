"""The picture of a root cause: columns ranked, the slice's shares, and the drift over time with its change point."""

from datetime import datetime
from io import BytesIO
from typing import Any

from drift.picture import literal
from mlflow_ext.domain.drift import DriftReport
from mlflow_ext.domain.root_cause import ColumnCause, Course, DriftSlice, RootCause

MOST_COLUMNS = 10
_COLOURS = ("#c0392b", "#2c3e50", "#2980b9")
_REFERENCE, _WINDOW = "#7f8c8d", "#c0392b"


def picture_of(report: DriftReport, cause: RootCause) -> bytes | None:
    """Draw it as PNG; `None` when there is nothing to draw."""
    from matplotlib.figure import Figure

    lines = [one for one in cause.columns if len(one.timeline) > 1]
    panels = [bool(cause.columns), cause.slice is not None, bool(lines)]
    if not any(panels):
        return None
    shown = cause.columns[:MOST_COLUMNS]
    heights = [0.8 + 0.28 * len(shown), 1.5, 2.4]
    figure = Figure(
        figsize=(7.5, 0.6 + sum(height for height, there in zip(heights, panels, strict=True) if there)),
        layout="constrained",
    )
    axes = figure.subplots(
        sum(panels),
        1,
        squeeze=False,
        gridspec_kw={"height_ratios": [height for height, there in zip(heights, panels, strict=True) if there]},
    )
    free = list(axes[:, 0])
    if panels[0]:
        _draw_columns(free.pop(0), shown)
    if cause.slice is not None:
        _draw_slice(free.pop(0), cause.slice)
    if panels[2]:
        _draw_lines(free.pop(0), lines, report)
    figure.suptitle(literal(f"{report.model} version {report.version}: root cause, {report.window}"), fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw_columns(axes: Any, columns: tuple[ColumnCause, ...]) -> None:
    ordered = columns[::-1]
    places = range(len(ordered))
    axes.barh(places, [one.effect for one in ordered], color="#e6b0aa", label="difference")
    known = any(one.importance is not None for one in ordered)
    if known:
        axes.barh(places, [one.importance or 0.0 for one in ordered], height=0.3, color="#2c3e50", label="importance")
        axes.legend(fontsize=7, loc="lower right")
    axes.set_yticks(list(places), [literal(one.column[:40]) for one in ordered], fontsize=8)
    by = "difference times importance" if known else "difference"
    axes.set_title(f"which columns, by {by}", fontsize=8, loc="left")
    axes.tick_params(axis="x", labelsize=7)


def _draw_slice(axes: Any, found: DriftSlice) -> None:
    shares = [found.reference_share, found.window_share]
    bars = axes.barh([1, 0], shares, color=[_REFERENCE, _WINDOW])
    axes.bar_label(bars, [f"{share:.1%}" for share in shares], fontsize=8, padding=3)
    axes.set_yticks([1, 0], ["reference", "window"], fontsize=8)
    axes.set_xlim(0, 1.12)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(literal("which rows: " + " and ".join(found.conditions))[:160], fontsize=8, loc="left")


def _draw_lines(axes: Any, columns: list[ColumnCause], report: DriftReport) -> None:
    for one, colour in zip(columns, _COLOURS, strict=False):
        times = [datetime.fromisoformat(at) for at, _ in one.timeline]
        axes.plot(times, [distance for _, distance in one.timeline], lw=1, color=colour, label=literal(one.column[:40]))
        if one.at is not None and one.course in (Course.SINCE, Course.UNTIL):
            axes.axvline(datetime.fromisoformat(one.at), color=colour, ls="--", lw=1)
    for level in (0, 1):
        axes.axhline(level, color="#7f8c8d", lw=0.8, ls=":")
    axes.axvspan(report.window.since, report.window.until, color="#f4ecf7", zorder=0)
    axes.set_title(
        "since when: 0 as the reference, 1 as the window (shaded); dashed: change point", fontsize=8, loc="left"
    )
    axes.legend(fontsize=7, loc="upper left")
    axes.tick_params(labelsize=7)
    for label in axes.get_xticklabels():
        label.set_rotation(20)
