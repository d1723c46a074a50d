"""Are the top-level packages `serving` and `drift` ours? Their names are common; see docs/decisions/0003."""

from importlib.util import find_spec
from pathlib import Path

from mlflow_ext.errors import InvalidSettingsError

OURS = ("serving", "drift")


def check_not_shadowed(packages: tuple[str, ...] = OURS, home: Path | None = None) -> None:
    """Look where each package would be imported from, without importing it.

    Args:
        packages: Top-level packages that are installed beside `mlflow_ext`.
        home: Directory that should hold them; the one that holds `mlflow_ext` by default.

    Raises:
        InvalidSettingsError: Another package of that name comes first on the import path.
    """
    home = Path(__file__).resolve().parent.parent if home is None else home.resolve()
    for package in packages:
        spec = find_spec(package)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None
        if origin is None or origin.parent.parent != home:
            places = list(spec.submodule_search_locations or []) if spec is not None else []
            found = str(origin or (places[0] if places else "nowhere"))
            raise InvalidSettingsError(
                f"the Python package '{package}' of mlflow-ext is hidden by another one: it is found at {found}, "
                f"not under {home}. Start from another directory, take that place off PYTHONPATH, or uninstall the "
                "other package"
            )
