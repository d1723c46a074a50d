"""The MLmodel file: read within bounds, and judged key by key before MLflow reads it.

Files on disk are `model_files.py`'s business; the model file itself `skops_file.py`'s.
"""

from pathlib import Path
from typing import Any

import yaml

from mlflow_ext.registry.model_files import BadFilesError, is_inside

MAX_BYTES = 1024 * 1024
"""An MLmodel file holds a signature and a few lines; a larger one is no description of a model."""
MAX_NODES = 50_000
"""Values in it, each alias counted as often as it is used."""

LOADERS = frozenset({"mlflow.sklearn"})
"""Loader modules that build a model from data alone."""
PREDICT_FUNCTIONS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba", "score"})
"""Methods that MLflow's scikit-learn wrapper offers as `pyfunc_predict_fn`."""
PYFUNC_KEYS = frozenset({"loader_module", "model_path", "env", "python_version", "predict_fn"})
SKLEARN_KEYS = frozenset({"pickled_model", "serialization_format", "sklearn_version", "skops_trusted_types", "code"})

_TYPES = "skops_trusted_types=mlflow_ext.registry.trusted_types.TRUSTED_TYPES"
HOW_TO_LOG = f"log it with mlflow.sklearn.log_model(model, name='model', serialization_format='skops', {_TYPES})"
_AUTOLOG = "(autolog saves models as cloudpickle: switch that off with mlflow.sklearn.autolog(log_models=False))"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class AsksTooMuchError(BadFilesError):
    """The description asks for something that runs code of the model's publisher."""

    def __init__(self, reason: str, way_out: str = "") -> None:
        """Take the reason, and what the publisher can do about it."""
        super().__init__(reason)
        self.way_out = way_out


def read(directory: Path) -> dict[str, Any]:
    """Read the description of a model.

    Raises:
        BadFilesError: There is none, or it is no bounded, unambiguous mapping.
    """
    path = directory / "MLmodel"
    if not path.is_file():
        raise BadFilesError("its files have no MLmodel; register a model that MLflow logged")
    if path.stat().st_size > MAX_BYTES:
        raise BadFilesError(f"its MLmodel is larger than {MAX_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        _check_nodes(yaml.compose(text, Loader=_Loader))
        # MLflow reads it with the same safe loader, so it sees what we have seen
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as exc:
        if isinstance(exc, BadFilesError):
            raise
        raise BadFilesError("its MLmodel is not valid YAML; log the model again") from exc
    if not isinstance(document, dict):
        raise BadFilesError("its MLmodel is not a mapping; log the model again")
    return document


def flavors(description: dict[str, Any]) -> dict[str, Any]:
    """Give the flavors; there is a `python_function` among them.

    Raises:
        BadFilesError: There is not.
    """
    found = description.get("flavors")
    found = found if isinstance(found, dict) else {}
    if not isinstance(found.get("python_function"), dict):
        raise BadFilesError("its MLmodel has no python_function flavor; log it with a flavor that has one")
    return found


def check_paths(description: dict[str, Any]) -> None:
    """Make sure that every path it names stays inside the model's directory.

    Raises:
        BadFilesError: One does not.
    """
    found = flavors(description)
    pyfunc = found["python_function"]
    env = pyfunc.get("env")
    example = description.get("saved_input_example_info")
    named = {f"python_function.{key}": pyfunc.get(key) for key in ("model_path", "data", "code")}
    named |= {f"env.{key}": path for key, path in (env.items() if isinstance(env, dict) else [("conda", env)])}
    if isinstance(found.get("sklearn"), dict):
        named |= {f"sklearn.{key}": found["sklearn"].get(key) for key in ("pickled_model", "code")}
    if isinstance(example, dict):
        named |= {f"saved_input_example_info.{k}": example.get(k) for k in ("artifact_path", "serving_input_path")}
    for key, path in named.items():
        if path is not None and not is_inside(path):
            raise BadFilesError(f"its MLmodel's {key} leads outside the model; log the model again")


def check_plain(directory: Path, description: dict[str, Any]) -> tuple[Path, list[str]]:
    """Judge a description by `trust: types`: data only, nothing that runs code.

    Returns:
        The skops file, and the types that the description declares as trusted.

    Raises:
        AsksTooMuchError: It asks for code; the message says for what.
        BadFilesError: It contradicts itself.
    """
    found = flavors(description)
    pyfunc, sklearn = found["python_function"], found.get("sklearn")
    if pyfunc.get("loader_module") not in LOADERS:
        loader = str(pyfunc.get("loader_module"))[:100]
        raise AsksTooMuchError(f"it is loaded by '{loader}', which runs code of the model's publisher")
    if "model_code_path" in pyfunc or description.get("model_code_path"):
        raise AsksTooMuchError("it is a model from code", "log the fitted model itself")
    extra = sorted(str(key) for key, value in pyfunc.items() if key not in PYFUNC_KEYS and value is not None)
    if extra:
        raise AsksTooMuchError(f"its MLmodel asks for {', '.join(extra)[:200]}", "log it without code of its own")
    if pyfunc.get("predict_fn", "predict") not in PREDICT_FUNCTIONS:
        way_out = f"use one of {sorted(PREDICT_FUNCTIONS)}"
        raise AsksTooMuchError(f"it predicts with '{str(pyfunc['predict_fn'])[:100]}'", way_out)
    if not isinstance(sklearn, dict) or sklearn.get("code") is not None:
        raise AsksTooMuchError("its sklearn flavor is missing or carries code", HOW_TO_LOG)
    saved_as = sklearn.get("serialization_format", "pickle")
    if saved_as != "skops":
        way_out = f"{HOW_TO_LOG} {_AUTOLOG}"
        raise AsksTooMuchError(f"it is saved as {str(saved_as)[:50]}, which can run code when loaded", way_out)
    extra = sorted(str(key) for key, value in sklearn.items() if key not in SKLEARN_KEYS and value is not None)
    if extra:
        raise AsksTooMuchError(f"its sklearn flavor asks for {', '.join(extra)[:200]}", HOW_TO_LOG)
    if not is_inside(pyfunc.get("model_path")) or not (directory / pyfunc["model_path"]).is_file():
        raise BadFilesError("its model file is missing or outside the model; log the model again")
    if sklearn.get("pickled_model") != pyfunc["model_path"]:
        raise BadFilesError("its two flavors name different files; log the model again")
    declared = sklearn.get("skops_trusted_types") or []
    if not isinstance(declared, list):
        raise BadFilesError("its skops_trusted_types is not a list; log the model again")
    return directory / pyfunc["model_path"], [str(name) for name in declared]


def _check_nodes(root: yaml.Node | None) -> None:
    """Bound the values that the text stands for, aliases followed; refuse keys that are given twice."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_:
            raise BadFilesError("its MLmodel contains itself")
        open_.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) != len(node.value):
                raise BadFilesError("its MLmodel has keys that are no plain words")
            if len(keys) != len(set(keys)) or "<<" in keys:
                raise BadFilesError("its MLmodel gives a key twice; log the model again")
            total += sum(1 + size(value) for _, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(value) for value in node.value)
        if total > MAX_NODES:
            raise BadFilesError(f"its MLmodel stands for more than {MAX_NODES} values")
        open_.discard(id(node))
        sizes[id(node)] = total
        return total

    if root is not None:
        size(root)
