"""A skops file: bounded as an archive, and judged by its types, before skops builds anything from it.

Which types are trusted stands in `trusted_types.py`.
"""

import re
import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from mlflow_ext.registry.model_files import BadFilesError
from mlflow_ext.registry.trusted_types import TRUSTED_TYPES

MAX_ENTRIES = 100_000
MAX_SCHEMA_BYTES = 64 * 1024**2
MAX_UNPACKED_BYTES = 16 * 1024**3
MAX_RATIO = 200
"""Unpacked to packed size; skops stores without compression, and arrays of trees compress to about a twentieth."""
SMALL_BYTES = 1024**2
"""Below this the ratio says nothing."""

_ENTRY = re.compile(r"[A-Za-z0-9_-]+\.(json|npy|npz|bin)")
_NPZ_ENTRY = re.compile(r"[A-Za-z0-9_]+\.npy")
_ENCRYPTED = 0x1


def check_archive(file: Path) -> None:
    """Bound what unpacking would cost, and refuse an archive that skops does not write.

    Raises:
        BadFilesError: With the reason.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive, file.stat().st_size, _ENTRY)
            _check_schema(archive)
            for entry in archive.infolist():
                with archive.open(entry) as content:
                    if entry.filename.endswith(".npy"):
                        _check_array(content, entry)
                    elif entry.filename.endswith(".npz"):
                        _check_arrays(content, entry)
    except BadFilesError:
        raise
    # the archive is a stranger's: zipfile and NumPy's header reader raise whatever its bytes make them raise
    except Exception as exc:
        raise BadFilesError(_damaged(exc)) from exc


def untrusted_types(file: Path, declared: list[str]) -> list[str]:
    """Give the types that are outside our list: those it holds, and those that its MLmodel declares.

    MLflow trusts what the model declares, so both must be on our list.

    Raises:
        BadFilesError: skops cannot read it.
    """
    import skops.io

    try:
        held = skops.io.get_untrusted_types(file=file)
    # skops reads a stranger's file here and raises whatever its parts raise (KeyError, TypeError, BadZipFile …);
    # each of them means the same: this is not a file that skops wrote
    except Exception as exc:
        raise BadFilesError(_damaged(exc)) from exc
    return sorted({*declared, *held} - set(TRUSTED_TYPES))


def _check_entries(archive: zipfile.ZipFile, packed: int, names: re.Pattern[str]) -> None:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise BadFilesError(f"its skops file has more than {MAX_ENTRIES} entries")
    if len({entry.filename for entry in entries}) != len(entries):
        raise BadFilesError("its skops file has two entries of one name")
    for entry in entries:
        if not names.fullmatch(entry.filename) or entry.orig_filename != entry.filename:
            raise BadFilesError(f"its skops file has an entry {entry.filename[:100]!r} that skops does not write")
        if entry.flag_bits & _ENCRYPTED:
            raise BadFilesError("its skops file is encrypted")
        if entry.file_size > SMALL_BYTES and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise BadFilesError(
                f"its skops file unpacks {entry.compress_size} bytes to {entry.file_size}, "
                f"more than {MAX_RATIO} times as much"
            )
    total = sum(entry.file_size for entry in entries)
    # entries may also share their packed bytes, so the whole is compared with the whole
    if total > MAX_UNPACKED_BYTES or (total > SMALL_BYTES and total > MAX_RATIO * max(packed, 1)):
        raise BadFilesError(f"its skops file unpacks to {total} bytes, out of all proportion to its {packed}")


def _check_schema(archive: zipfile.ZipFile) -> None:
    if "schema.json" not in archive.namelist():
        raise BadFilesError("its skops file has no schema.json; log the model again")
    if archive.getinfo("schema.json").file_size > MAX_SCHEMA_BYTES:
        raise BadFilesError(f"its skops file's schema.json is larger than {MAX_SCHEMA_BYTES} bytes")


def _check_arrays(content: IO[bytes], outer: zipfile.ZipInfo) -> None:
    with zipfile.ZipFile(content) as archive:
        _check_entries(archive, outer.file_size, _NPZ_ENTRY)
        for entry in archive.infolist():
            with archive.open(entry) as inner:
                _check_array(inner, entry)


def _check_array(content: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """Compare the size that an array's header promises, and NumPy would allocate, with what there is."""
    version = np.lib.format.read_magic(content)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(content)
    else:
        raise BadFilesError(f"its skops file has an array of an unknown version {version}")
    promised: Any = prod(map(int, shape)) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or promised > entry.file_size:
        raise BadFilesError("its skops file has an array whose header promises more than there is")


def _damaged(exc: Exception) -> str:
    kind = "truncated or damaged" if isinstance(exc, zipfile.BadZipFile) else f"unreadable ({type(exc).__name__})"
    return f"its skops file is {kind}; log the model again"
