"""Size, time and accuracy of twins with 8-bit products beside the twins in double precision, by their own gate."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.findings import command_line, keep, machine

BOUND = 0.02
"""What a measure may lose here."""
TARGET = "target"


def models() -> Iterator[tuple[str, Any]]:
    """Give models to be fitted, with their names."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    def network(*layers: int) -> Any:
        return make_pipeline(StandardScaler(), MLPClassifier(layers, max_iter=60, random_state=0, tol=1e-2))

    yield "network, 128 and 64 units", network(128, 64)
    yield "network, 512 and 512 units", network(512, 512)
    yield "network, 2,048 units", network(2_048)
    wide = LogisticRegression(max_iter=1_000, C=0.01)
    yield "LogisticRegression, 64 columns", make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    yield (
        "LogisticRegression, 2,144 features",
        make_pipeline(StandardScaler(), PolynomialFeatures(include_bias=False), StandardScaler(), wide),
    )
    yield "GradientBoosting, 20 rounds", GradientBoostingClassifier(n_estimators=20, random_state=0)


def measured(name: str, model: Any, scratch: Path) -> dict[str, Any]:
    """Fit a model on half of the digits, convert, quantise, judge on the other half."""
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.datasets import load_digits

    from mlflow_ext.domain.twins import TwinRefusedError
    from mlflow_ext.registry.trusted_types import TRUSTED_TYPES
    from mlflow_ext.registry.twins.making import make_twin
    from mlflow_ext.registry.twins.quantising import quantise_twin

    rows, digits = load_digits(return_X_y=True, as_frame=True)
    model.fit(rows[::2], digits[::2])
    files = scratch / name.replace(" ", "-").replace(",", "")
    signature = infer_signature(rows, model.predict(rows))
    mlflow.sklearn.save_model(
        model, str(files), signature=signature, skops_trusted_types=TRUSTED_TYPES, pip_requirements=[]
    )
    predictor = mlflow.pyfunc.load_model(str(files))
    try:
        twin = make_twin(predictor, 1e-9).content
        small = quantise_twin(predictor, twin, rows.assign(**{TARGET: digits})[1::2], TARGET, BOUND)
    except TwinRefusedError as exc:
        return {"model": name, "refused": str(exc)}
    return {"model": name, "twin_bytes": len(twin), **asdict(small.facts)}


def row(one: dict[str, Any]) -> str:
    """Write one row of the table."""
    if "refused" in one:
        return f"| {one['model']} | none: {one['refused']} | | | | |"
    before, after = one["unquantised_us"], one["quantised_us"]
    times = [
        f"{before[count]:.0f} → {after[count]:.0f} ({before[count] / after[count]:.1f} times)" for count in ("1", "64")
    ]
    accuracy = f"{one['unquantised']['accuracy']:.4f} → {one['quantised']['accuracy']:.4f}"
    sizes = f"{one['twin_bytes'] / 1e3:,.0f} → {one['size_bytes'] / 1e3:,.0f}"
    return f"| {one['model']} | {sizes} | {times[0]} | {times[1]} | {accuracy} | {one['changed']:.2%} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("quantised", __doc__)
    given = parser.parse_args(arguments)
    before = machine()
    found = []
    with tempfile.TemporaryDirectory(prefix="quantised-") as scratch, warnings.catch_warnings():
        # fits that end early are good enough here
        warnings.simplefilter("ignore")
        for name, model in models():
            found.append(measured(name, model, Path(scratch)))
    text = f"""# Quantised twins

Handwritten digits, 64 columns, 10 classes; one thread; times are medians within one process, one after the
other ({before}).

| model | KB, twin → quantised | µs, 1 row | µs, 64 rows | accuracy | labels changed |
|---|---|---|---|---|---|
{chr(10).join(map(row, found))}
"""
    keep(given.into, "quantised_twins", text, {"machine": before, "models": found})


if __name__ == "__main__":
    main()
