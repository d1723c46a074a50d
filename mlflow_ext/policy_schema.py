"""The JSON Schema of `mlflow-ext.yaml`, so that an editor completes keys, explains them and marks mistakes.

What the keys mean to the platform is in `config.py`, `policy.py` and each gate; this only writes it down.
"""

import re
from typing import Any

from mlflow_ext.config import Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+?)(?=^ {4}\w+: |\Z)", re.MULTILINE | re.DOTALL)


def policy_schema() -> dict[str, Any]:
    """Describe the file, with every gate that is installed."""
    schema = Settings.model_json_schema(mode="validation")
    _explain(schema)
    return {"$schema": _DIALECT, **schema, "title": "mlflow-ext.yaml"}


def _explain(part: Any) -> None:
    """Move what docstrings say about attributes to the properties themselves, everywhere below."""
    if isinstance(part, list):
        for one in part:
            _explain(one)
    if not isinstance(part, dict):
        return
    if isinstance(part.get("description"), str):
        text, _, attributes = part["description"].partition("\nAttributes:\n")
        part["description"] = " ".join(text.split())
        for name, words in _ATTRIBUTE.findall(attributes):
            if name in part.get("properties", {}):
                part["properties"][name].setdefault("description", " ".join(words.split()).replace("`", ""))
    for one in part.values():
        _explain(one)
