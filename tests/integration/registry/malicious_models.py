"""Models that try to run code of their publisher's, to reach beyond their directory, or to eat the machine.

Each is a directory of files as it would lie in the artifact store. Whatever code they bring writes a canary file, so
that it shows whether anything of them ran; `python -m` loads some without our checks, to show that canaries are alive.
"""

import io
import os
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.integration.registered import ROWS
from tests.integration.signing import publisher

TARGET = [0, 1, 1]


@dataclass(frozen=True, slots=True)
class Malicious:
    """One attack.

    Attributes:
        name: What it tries.
        make: Writes the model into a directory; its code, if it has any, writes the canary.
        says: Part of the reason for which it is refused.
        runs: MLflow alone would run its code when it loads the model.
        later: What is done to the files after the gates have passed, where that is the attack.
        signed: The policy loads only what ann has signed.
    """

    name: str
    make: Callable[[Path, Path], None]
    says: str
    runs: bool = False
    later: Callable[[Path], None] | None = None
    signed: bool = False


class Bomb:
    """Unpickling it writes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def plain(directory: Path, model: Any = None, **how: Any) -> None:
    """Save a model as MLflow does."""
    import mlflow.sklearn

    model = LogisticRegression().fit(ROWS, TARGET) if model is None else model
    how.setdefault("serialization_format", "skops")
    mlflow.sklearn.save_model(model, str(directory), pip_requirements=[], **how)


def edit(directory: Path, **flavor: Any) -> None:
    """Change the MLmodel's python_function flavor."""
    file = directory / "MLmodel"
    document = yaml.safe_load(file.read_text())
    document["flavors"]["python_function"].update(flavor)
    file.write_text(yaml.safe_dump(document))


def _pickled(directory: Path, canary: Path, *, format_: str = "pickle", under: str = "model.pkl") -> None:
    plain(directory, serialization_format=format_)
    (directory / under).write_bytes(pickle.dumps(Bomb(canary)))


def _own_loader(directory: Path, canary: Path) -> None:
    plain(directory)
    (directory / "code").mkdir()
    # a name of its own: one process may load several, and Python imports a name once
    loader = _loader_of(directory)
    (directory / "code" / f"{loader}.py").write_text(
        f"open({str(canary)!r}, 'w')\ndef _load_pyfunc(path, model_config=None):\n    return None\n"
    )
    edit(directory, loader_module=loader, code="code")


def _loader_of(directory: Path) -> str:
    return "own_loader_" + re.sub(r"\W", "_", directory.name)


def _from_code(directory: Path, canary: Path) -> None:
    import mlflow.pyfunc

    script = directory.with_suffix(".py")
    armed = f"if os.environ.get('ARMED'): open({str(canary)!r}, 'w')\n"
    script.write_text(
        f"import os\nimport mlflow\n{armed}"
        "class Own(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input: list[str]) -> list[str]:\n        return model_input\n"
        "mlflow.models.set_model(Own())\n"
    )
    mlflow.pyfunc.save_model(str(directory), python_model=str(script), pip_requirements=[])
    for copy in directory.rglob("*.py"):
        copy.write_text(copy.read_text().replace("if os.environ.get('ARMED'): ", ""))


def _python_model(directory: Path, canary: Path) -> None:
    import mlflow.pyfunc

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[str]:
            return model_input

    mlflow.pyfunc.save_model(str(directory), python_model=Echo(), pip_requirements=[])
    (directory / "python_model.pkl").write_bytes(pickle.dumps(Bomb(canary)))


def _code_beside(directory: Path, canary: Path) -> None:
    plain(directory)
    (directory / "code").mkdir()
    # MLflow puts the directory before everything else that Python imports from, then and later
    (directory / "code" / "json_tools_of_mine.py").write_text(f"open({str(canary)!r}, 'w')\n")
    edit(directory, code="code")


def _shadowed(directory: Path, canary: Path) -> None:
    plain(directory)
    for name in ("sklearn.py", "numpy.py"):
        (directory / name).write_text(f"open({str(canary)!r}, 'w')\n")


def _trusts_itself(directory: Path, canary: Path) -> None:
    fitted = make_pipeline(LogisticRegression()).fit(ROWS, TARGET)
    fitted.steps.insert(0, ("own", FunctionTransformer(os.system)))
    plain(directory, fitted, skops_trusted_types=["posix.system"])


def _skops_entry(directory: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(directory / "model.skops", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def _archive_leads_out(directory: Path, canary: Path) -> None:
    plain(directory)
    _skops_entry(directory, f"../../{canary.name}", b"out")


def _zip_bomb(directory: Path, canary: Path) -> None:
    plain(directory)
    _skops_entry(directory, "more.npy", bytes(1024**3))


def _array_bomb(directory: Path, canary: Path) -> None:
    plain(directory)
    header = io.BytesIO()
    import numpy as np

    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**11,)})
    _skops_entry(directory, "more.npy", header.getvalue())


def _yaml_bomb(directory: Path, canary: Path) -> None:
    plain(directory)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    file = directory / "MLmodel"
    file.write_text(file.read_text() + "\n".join(lines) + "\n")


def _yaml_object(directory: Path, canary: Path) -> None:
    plain(directory)
    file = directory / "MLmodel"
    file.write_text(file.read_text() + f"more: !!python/object/apply:os.system ['touch {canary}']\n")


def _key_twice(directory: Path, canary: Path) -> None:
    _own_loader(directory, canary)
    loader = _loader_of(directory)
    file = directory / "MLmodel"
    # whoever looks at the first one sees a plain model, whoever loads it takes the second
    text = file.read_text().replace(f"    loader_module: {loader}\n", "")
    file.write_text(
        text.replace(
            "  python_function:\n",
            f"  python_function:\n    loader_module: mlflow.sklearn\n    loader_module: {loader}\n",
        )
    )


def _outside(directory: Path, canary: Path) -> None:
    plain(directory)
    outside = directory.parent / f"outside-{directory.name}.skops"
    (directory / "model.skops").rename(outside)
    edit(directory, model_path=f"../{outside.name}")


def _other_method(directory: Path, canary: Path) -> None:
    plain(directory)
    edit(directory, predict_fn="__reduce__")


def _link(directory: Path, canary: Path) -> None:
    plain(directory)
    outside = directory.parent / f"linked-{directory.name}.skops"
    (directory / "model.skops").rename(outside)
    (directory / "model.skops").symlink_to(outside)


def _signed_by(name: str, then: Callable[[Path], None] = lambda _: None) -> Callable[[Path, Path], None]:
    def make(directory: Path, _: Path) -> None:
        plain(directory)
        publisher(directory.parent, name, keep=True).sign(directory)
        then(directory)

    return make


def _signed_in_part(directory: Path, canary: Path) -> None:
    plain(directory)
    publisher(directory.parent, "ann", keep=True).sign(directory, leave_out=("model.skops",))
    _other_answers(directory)


def _other_answers(directory: Path) -> None:
    model = directory.with_name(f"{directory.name}-edited")
    plain(model, LogisticRegression().fit(ROWS, [1, 0, 0]))
    (directory / "model.skops").write_bytes((model / "model.skops").read_bytes())


MODELS = (
    Malicious("pickle", _pickled, "saved as pickle", runs=True),
    Malicious("cloudpickle", lambda d, c: _pickled(d, c, format_="cloudpickle"), "saved as cloudpickle", runs=True),
    Malicious(
        "pickle in a skops file's place",
        lambda d, c: _pickled(d, c, format_="skops", under="model.skops"),
        "skops file is truncated or damaged",
    ),
    Malicious("own loader", _own_loader, "loaded by 'own_loader", runs=True),
    Malicious("model from code", _from_code, "runs code of the model's publisher", runs=True),
    Malicious("custom pyfunc", _python_model, "loaded by 'mlflow.pyfunc.model'", runs=True),
    Malicious("code beside the model", _code_beside, "asks for code"),
    Malicious("shadowed module", _shadowed, "could be imported as code"),
    Malicious("skops that trusts itself", _trusts_itself, "posix.system"),
    Malicious("predict that is another method", _other_method, "predict"),
    Malicious("a key given twice", _key_twice, "gives a key twice", runs=True),
    Malicious("object in the YAML", _yaml_object, "not valid YAML"),
    Malicious("path out of the directory", _outside, "leads outside"),
    Malicious("path out of the archive", _archive_leads_out, "an entry .* that skops does not write"),
    Malicious("symbolic link", _link, "is a link"),
    Malicious("zip bomb", _zip_bomb, "times as much"),
    Malicious("array of 800 GB", _array_bomb, "promises more than there is"),
    Malicious("YAML bomb", _yaml_bomb, "stands for more than"),
    Malicious("edited after the gates", lambda d, _: plain(d), "changed after the gates", later=_other_answers),
    Malicious("unsigned", lambda d, _: plain(d), "it is not signed", signed=True),
    Malicious("wrong signer", _signed_by("mallory"), "no allowed publisher signed", signed=True),
    Malicious("edited after it was signed", _signed_by("ann", _other_answers), "no allowed publisher", signed=True),
    Malicious("signature that leaves out the model", _signed_in_part, "does not cover model.skops", signed=True),
)


def load_all() -> None:
    """Load each directory that is named as we do, but without a look at its files: `python -m … DIRECTORY…`.

    What goes wrong is told and ignored: what counts is the canary.
    """
    from mlflow import MlflowClient

    from mlflow_ext.domain.stages import ModelVersion
    from mlflow_ext.registry import artifacts
    from mlflow_ext.registry.loading import open_model

    artifacts.check = lambda *_, **__: None
    for number, name in enumerate(sys.argv[1:]):
        version = ModelVersion(f"m{number}", 1, source=name)
        # the copy is where `fetch` would have put it
        kept = artifacts.directory_of(version, Path(name).parent / "kept")
        shutil.copytree(name, kept)
        try:
            open_model(MlflowClient(), version, Path(name).parent / "kept", trust="types")
        # a malicious model raises whatever it likes
        except BaseException as exc:
            print(f"{name}: {type(exc).__name__}: {exc}")


if __name__ == "__main__":
    load_all()
