"""Pins: exactly which files passed the gates. Hashing is in `registry/model_files.py`, keeping in `store/pins.py`."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_NAMED = 3


@dataclass(frozen=True, slots=True, order=True)
class FileDigest:
    """One file of a model.

    Attributes:
        path: Relative to the model's directory, with forward slashes.
        size_bytes: Its size.
        sha256: SHA-256 of its content, in hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of a model version, by path."""

    files: tuple[FileDigest, ...]

    @classmethod
    def of(cls, files: Iterable[FileDigest]) -> "Manifest":
        """Bring files into order."""
        return cls(tuple(sorted(files)))

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical form; two versions with the same files have the same."""
        document = json.dumps(self.as_list(), separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(document.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)

    def as_list(self) -> list[list[Any]]:
        """Give a JSON-ready form."""
        return [[file.path, file.size_bytes, file.sha256] for file in self.files]

    @classmethod
    def from_list(cls, document: Iterable[Iterable[Any]]) -> "Manifest":
        """Read the form that `as_list` gives."""
        return cls.of(FileDigest(*entry) for entry in document)

    def difference(self, found: "Manifest") -> str:
        """Say in a few words how other files differ from these; empty when they are the same."""
        mine = {file.path: file for file in self.files}
        others = {file.path: file for file in found.files}
        parts = []
        for word, paths in (
            ("changed", {path for path in mine.keys() & others.keys() if mine[path] != others[path]}),
            ("added", others.keys() - mine.keys()),
            ("missing", mine.keys() - others.keys()),
        ):
            if paths:
                named = sorted(paths)
                more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
                parts.append(f"{word}: {', '.join(path[:120] for path in named[:_NAMED])}{more}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Pin:
    """What a version's files were when its gates passed.

    Attributes:
        model: Registered model.
        version: Version number.
        manifest: The files.
        promotion_id: The promotion whose gates passed.
        pinned_at: When.
        workspace: MLflow workspace.
    """

    model: str
    version: int
    manifest: Manifest
    promotion_id: int | None = None
    pinned_at: datetime | None = None
    workspace: str = "default"
