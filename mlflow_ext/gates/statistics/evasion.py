"""How little must an attacker change a row to turn its label? A black-box attack by adversarial-robustness-toolbox.

References:
    Chen, Jordan, Wainwright (2020), HopSkipJumpAttack, IEEE S&P, 1277-1294.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlflow_ext.errors import MissingEvidenceError
from mlflow_ext.gate_context import GateContext
from mlflow_ext.gates.statistics.measures import model_columns
from mlflow_ext.gates.statistics.perturbations import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ITERATIONS = 8
_MOST_QUERIES = 200
"""Of one step's estimate of the direction; the attack asks some thousand rows in all for each row."""


@dataclass(frozen=True, slots=True)
class Evasion:
    """What the attack found.

    Attributes:
        turned: 1 for each attacked row whose label turned within reach, else 0.
        distances: Largest change of any column in standard deviations that turned it; infinite where nothing did.
    """

    turned: "NDArray[np.float64]"
    distances: "NDArray[np.float64]"

    @property
    def median(self) -> float:
        """Middle distance."""
        import numpy as np

        return float(np.median(self.distances))


def evade(context: GateContext, *, epsilon: float, rows: int) -> Evasion:
    """Attack rows that the candidate answers rightly, each column within its own standard deviations.

    Args:
        context: Candidate and evaluation rows.
        epsilon: Reach, in standard deviations of each column.
        rows: How many rows are attacked (a seeded sample).

    Raises:
        MissingEvidenceError: The attack does not know such models (no classifier, columns that are no numbers), or
            the extra `robustness` is not installed.
    """
    import numpy as np

    columns = model_columns(context)
    features = context.rows[columns]
    others = sorted(set(columns) - set(_floats(features)))
    if context.model_type != "classifier":
        raise MissingEvidenceError("evasion is for classifiers: a number has no label that could be turned")
    if others:
        raise MissingEvidenceError(
            f"evasion needs columns of real numbers, and {', '.join(others[:5])} cannot be changed a little"
        )
    hop_skip_jump, black_box = _toolbox()
    target = context.rows[context.target].to_numpy()
    labels = np.unique(target)
    whole = features.notna().all(axis=1).to_numpy()
    right = np.flatnonzero((context.candidate.predict(context.rows) == target) & whole)
    if not len(right):
        raise MissingEvidenceError("no evaluation row is answered rightly, so there is no label to be turned")
    rng = np.random.default_rng(0)
    chosen = rng.choice(right, min(rows, len(right)), replace=False)
    values = features.to_numpy(dtype=np.float64)
    middle, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def predict(scaled: Any) -> Any:
        frame = features.iloc[:0].reindex(range(len(scaled)))
        for place, name in enumerate(columns):
            frame[name] = (scaled[:, place] * spread[place] + middle[place]).astype(features[name].dtype)
        said = context.candidate.predict(frame)
        return (said[:, None] == labels[None, :]).astype(np.float32)

    clean = ((values[chosen] - middle) / spread).astype(np.float32)
    # the attack draws from NumPy's own generator
    kept = np.random.get_state()
    np.random.seed(0)
    try:
        attacked = hop_skip_jump(
            black_box(predict, (len(columns),), len(labels)),
            norm=np.inf,
            max_iter=_ITERATIONS,
            max_eval=_MOST_QUERIES,
            init_eval=10,
            init_size=100,
            verbose=False,
        ).generate(clean)
    finally:
        np.random.set_state(kept)
    turned = predict(attacked).argmax(axis=1) != predict(clean).argmax(axis=1)
    distances = np.where(turned, np.abs(attacked - clean).max(axis=1), np.inf)
    return Evasion((distances <= epsilon).astype(np.float64), distances)


def _floats(features: Any) -> list[str]:
    from pandas.api.types import is_float_dtype

    return [name for name in numbers(features) if is_float_dtype(features[name])]


def _toolbox() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            # it names each deep-learning framework that is not there
            warnings.simplefilter("ignore")
            from art.attacks.evasion import HopSkipJump
            from art.estimators.classification import BlackBoxClassifier
    except ImportError as exc:
        raise MissingEvidenceError(
            f"evasion needs adversarial-robustness-toolbox: pip install 'mlflow-ext[robustness]' ({exc})"
        ) from exc
    return HopSkipJump, BlackBoxClassifier
