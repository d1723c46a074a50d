"""A model's files as files: plain, few, bounded, importable by nobody; and their SHA-256 manifest.

What stands in them is judged in `mlmodel_file.py` and `skops_file.py`; the order of the checks is in `artifacts.py`.
"""

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow_ext.domain.pins import FileDigest, Manifest

MAX_FILES = 2_000
"""MLflow writes about ten files a model."""
MAX_DEPTH = 8
MAX_TOTAL_BYTES = 16 * 1024**3
MAX_SIDE_FILE_BYTES = 64 * 1024**2
"""Everything beside the model itself: input examples, requirements. They are parsed in the process that scores."""

_MODEL_SUFFIXES = (".skops",)
IMPORTABLE = (".py", ".pyc", ".pyo", ".pyd", ".pyi", ".pyw", ".so", ".dll", ".dylib", ".pth", ".egg", ".whl", ".zip")
"""What Python's import system could take for a module, were the directory ever on its path."""
PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt")


class BadFilesError(ValueError):
    """The files are not what a model's files may be; the message is the reason, for people."""


def check_files(directory: Path, *, plain_only: bool) -> None:
    """Look at the files of a model without opening any.

    Args:
        directory: The model's directory.
        plain_only: Refuse importable files and pickles too, whatever the model's description says about them.

    Raises:
        BadFilesError: With the reason.
    """
    count, total = 0, 0
    for folder, folders, files in os.walk(directory, onerror=_unreadable):
        for name in (*folders, *files):
            path = Path(folder, name)
            shown = path.relative_to(directory).as_posix()
            found = path.lstat()
            count += 1
            if count > MAX_FILES:
                raise BadFilesError(f"it has more than {MAX_FILES} files")
            if len(PurePosixPath(shown).parts) > MAX_DEPTH:
                raise BadFilesError(f"'{shown[:200]}' lies more than {MAX_DEPTH} folders deep")
            if stat.S_ISDIR(found.st_mode):
                continue
            if not stat.S_ISREG(found.st_mode):
                raise BadFilesError(f"'{shown}' is a link or special file; log plain files")
            if found.st_nlink > 1:
                raise BadFilesError(f"'{shown}' is a hard link; log plain files")
            total += found.st_size
            if total > MAX_TOTAL_BYTES:
                raise BadFilesError(f"its files are larger than {MAX_TOTAL_BYTES} bytes together")
            if plain_only:
                _check_plain(shown, found.st_size)


def check_listing(entries: list[tuple[str, int | None]]) -> None:
    """Judge a listing before anything of it is downloaded: path and size in bytes of each file.

    Raises:
        BadFilesError: With the reason.
    """
    if len(entries) > MAX_FILES:
        raise BadFilesError(f"it has more than {MAX_FILES} files")
    for path, _ in entries:
        if not is_inside(path):
            raise BadFilesError(f"'{path[:200]}' leads out of the model's directory")
    if sum(size or 0 for _, size in entries) > MAX_TOTAL_BYTES:
        raise BadFilesError(f"its files are larger than {MAX_TOTAL_BYTES} bytes together")


def is_inside(path: Any) -> bool:
    """Tell whether a path that stands in a file is relative and stays inside the model's directory."""
    if not isinstance(path, str) or not path or "\x00" in path or "\\" in path or "%" in path or "://" in path:
        return False
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def manifest_of(directory: Path) -> Manifest:
    """Hash every file."""
    files = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
            files.append(FileDigest(path.relative_to(directory).as_posix(), size, digest))
    return Manifest.of(files)


def _check_plain(shown: str, size: int) -> None:
    suffix = PurePosixPath(shown).suffix.lower()
    if suffix in PICKLED:
        raise BadFilesError(f"'{shown}' is a pickle, which can run code when loaded")
    if suffix in IMPORTABLE or "__pycache__" in shown:
        raise BadFilesError(f"'{shown}' could be imported as code; log the model without code of its own")
    if suffix not in _MODEL_SUFFIXES and size > MAX_SIDE_FILE_BYTES:
        raise BadFilesError(f"'{shown}' is larger than {MAX_SIDE_FILE_BYTES} bytes, and is not the model")


def _unreadable(error: OSError) -> None:
    raise BadFilesError(f"its directory cannot be read: {error.strerror}") from error
