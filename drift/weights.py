"""What columns weigh in a window's verdict, and who says so: policy for the columns it names, the model for the others.

Nothing is loaded here: what a model says was written into the version's run where its gates were asked
(`mlflow_ext/registry/importance.py`), or by the run itself. What follows from weights: `engine/verdict.py`.
"""

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drift.engine.rules import Rules
from mlflow_ext.domain.drift import ColumnDrift
from mlflow_ext.domain.importance import ColumnImportance, importance_file
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import UnavailableError
from mlflow_ext.policy import DriftPolicy
from mlflow_ext.registry.run_files import RunFiles

LOGGED = ("feature_importance_gain.json", "feature_importance_weight.json", "feature_importance_split.json")
"""What MLflow's autologging of XGBoost and LightGBM writes, and anyone may."""


@dataclass(frozen=True)
class Importances:
    """Gives what a version's model says about its columns.

    Attributes:
        files: Artifacts of the versions' runs.
        kept: Directory of this machine's copies: a check need not wait for MLflow.
    """

    files: RunFiles
    kept: Path

    def of(self, version: ModelVersion) -> ColumnImportance:
        """Give it; where nothing is known, the source says why.

        Raises:
            UnavailableError: MLflow does not answer, and this machine has never asked.
        """
        name = importance_file(version.source)
        path = self.kept / version.model / f"{version.version}-{Path(name).name}"
        former = ColumnImportance.from_json(path.read_bytes()) if path.is_file() else None
        if former is not None and former.known:
            return former
        try:
            found = self._find(version, name)
        except UnavailableError:
            if former is None:
                raise
            return former
        if found != former:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            partial.write_text(found.to_json())
            partial.replace(path)
        return found

    def _find(self, version: ModelVersion, name: str) -> ColumnImportance:
        content = self.files.read(version, name)
        asked = None if content is None else ColumnImportance.from_json(content)
        if asked is not None and asked.known:
            return asked
        logged = self.files.first_of(version, LOGGED)
        if logged is not None:
            return _logged(*logged)
        if asked is not None:
            return asked
        return ColumnImportance(source="its gates were never asked, and its run has logged none")


def importance_in(found: ColumnImportance, inputs: Collection[str], others: Collection[str]) -> ColumnImportance:
    """Hold what a model says against the columns there are.

    Args:
        found: What it says.
        inputs: Logged input columns.
        others: Columns that it may know and the log does not.
    """
    strange = [name for name in found.columns if name not in inputs and name not in others]
    if strange:
        return ColumnImportance(source=f"{found.source} names {strange[0][:60]}, which is no input column")
    if found.known and not any(found.columns.get(name) for name in inputs):
        return ColumnImportance(source=f"{found.source} gives none to a logged column")
    return found


def weighed(rules: Rules, found: ColumnImportance, inputs: Collection[str]) -> Rules:
    """Give rules that weigh columns as the model says, 1 on average."""
    if not found.known:
        return rules
    total = sum(found.columns.get(name, 0.0) for name in inputs)
    return replace(rules, importance={name: found.columns.get(name, 0.0) * len(inputs) / total for name in inputs})


def with_weights(columns: Sequence[ColumnDrift], rules: Rules) -> tuple[ColumnDrift, ...]:
    """Note each input's weight."""
    return tuple(
        replace(one, weight=rules.weight_of(one.column)) if one.kind == "data" and one.compared else one
        for one in columns
    )


def words(policy: DriftPolicy, found: ColumnImportance) -> str:
    """Say what columns weigh, and who says so."""
    if found.known:
        said = f"by the model's importances, 1 on average ({found.source})"
    elif policy.weights_from == "model":
        said = f"1 each, as no importances of the model are known ({found.source})"
    else:
        said = "1 each"
    if policy.weights:
        said += f"; by policy {', '.join(f'{name} {weight:g}' for name, weight in policy.weights.items())}"
    return said


def _logged(name: str, content: bytes) -> ColumnImportance:
    try:
        return ColumnImportance.of(json.loads(content), f"{name} of its run")
    except (ValueError, TypeError, AttributeError):
        return ColumnImportance(source=f"{name} of its run cannot be read")
