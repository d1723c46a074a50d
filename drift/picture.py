"""The picture that an alert carries: which columns differ by how much, beside where a difference becomes drift.

What the numbers mean is decided where they are computed; where the picture goes, in `delivery.py`.
"""

from io import BytesIO

from mlflow_ext.domain.drift import DriftReport

MOST_COLUMNS = 20
_DRIFTED, _NOT = "#c0392b", "#7f8c8d"


def picture_of(report: DriftReport) -> bytes | None:
    """Draw the columns that differ most, as PNG; `None` when no column was compared."""
    from matplotlib.figure import Figure

    compared = [one for one in report.columns if one.score is not None]
    if not compared:
        return None
    compared.sort(key=lambda one: (one.drifted, one.score or 0.0), reverse=True)
    shown = compared[:MOST_COLUMNS][::-1]
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    axes.barh(places, [one.score or 0.0 for one in shown], color=[_DRIFTED if one.drifted else _NOT for one in shown])
    bounds = [(place, one.threshold) for place, one in zip(places, shown, strict=True) if one.threshold is not None]
    axes.scatter([bound for _, bound in bounds], [place for place, _ in bounds], marker="|", s=160, color="black")
    names = [literal(f"{one.column[:40]} ({one.method})") for one in shown]
    axes.set_yticks(list(places), names, fontsize=8)
    axes.set_xlabel("size of the difference; the mark is where it can become drift", fontsize=8)
    title = f"{report.model} version {report.version}: {report.verdict.value}, {report.window}"
    axes.set_title(literal(title), fontsize=8)
    left_out = len(compared) - len(shown)
    if left_out:
        figure.text(0.99, 0.01, f"{left_out} more columns", ha="right", fontsize=7)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def literal(text: str) -> str:
    """Give text for a picture: names are data, nothing in them is mathematics."""
    return text.replace("$", r"\$")
