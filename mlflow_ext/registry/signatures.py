"""Signatures of models: did an allowed publisher sign exactly these files? Checked by key, without network.

Signatures are OpenSSF Model Signing bundles (`model_signing sign key`) in the file `model.sig` beside `MLmodel`.
Who is allowed stands in the policy (`serving.publishers`); when it is asked, in `artifacts.py`.
"""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_ext.registry.model_files import BadFilesError

SIGNATURE = "model.sig"
MAX_BYTES = 4 * 1024**2
"""A signature names each file with its digest: some hundred bytes a file."""
_MAY_BE_UNSIGNED = frozenset({SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"})
"""What signers leave out by default; nothing of it is ever loaded."""
_DIFFERENCES = (
    ("changed", r"Hash mismatch for \\*'([^'\\]+)"),
    ("added", r"Extra files found in model [^:]*: ([^\"']+)"),
    ("missing", r"Missing files in model [^:]*: ([^\"']+)"),
)


class UnsignedError(BadFilesError):
    """No allowed publisher signed these files; the message is the reason, for people."""


def signer(directory: Path, publishers: Mapping[str, str]) -> str:
    """Name the publisher who signed exactly the files of a directory.

    Args:
        directory: A model's files, that `check_files` has found to be plain ones.
        publishers: File with the public key (PEM, elliptic curve) by name.

    Raises:
        UnsignedError: There is no signature, it is of somebody else, or of other files; or nobody can tell here.
    """
    file = directory / SIGNATURE
    if not file.is_file():
        raise UnsignedError(f"it is not signed: it has no file {SIGNATURE}")
    if file.stat().st_size > MAX_BYTES:
        raise UnsignedError(f"its {SIGNATURE} is larger than {MAX_BYTES} bytes")
    _check_coverage(file)
    verifying = _library()
    reasons = []
    for name, key in publishers.items():
        if not Path(key).is_file():
            raise UnsignedError(f"there is no file {key}, which should be the public key of publisher {name}")
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=Path(key)).verify(directory, file)
        # the signature is a stranger's: the library, its JSON and its cryptography raise whatever the bytes make them
        except Exception as exc:
            reasons.append(f"{name}: {_words(exc)}")
        else:
            return name
    raise UnsignedError(f"no allowed publisher signed these files ({'; '.join(reasons)})")


def _check_coverage(file: Path) -> None:
    """Refuse a signature that leaves files out: they could be changed, and it would still hold."""
    try:
        payload = json.loads(file.read_bytes())["dsseEnvelope"]["payload"]
        serialization = json.loads(base64.b64decode(payload))["predicate"]["serialization"]
        left_out = {str(path).rstrip("/") for path in serialization.get("ignore_paths", ())}
        follows_links = bool(serialization.get("allow_symlinks"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise UnsignedError(f"its {SIGNATURE} is no signature of a model: {type(exc).__name__}") from exc
    if follows_links or not left_out <= _MAY_BE_UNSIGNED:
        raise UnsignedError(f"its signature does not cover {', '.join(sorted(left_out - _MAY_BE_UNSIGNED)) or 'links'}")


def _library() -> Any:
    try:
        from model_signing import verifying
    except ImportError as exc:
        raise UnsignedError(f"signatures cannot be checked here; pip install 'mlflow-ext[signing]' ({exc})") from exc
    return verifying


def _words(exc: Exception) -> str:
    if type(exc).__name__ == "InvalidSignature":
        return "the signature is not theirs"
    text = str(exc).strip()
    # the library shows digests as bytes; which files differ is what people want to know
    differing = [
        f"{word}: {', '.join(names)[:300]}"
        for word, pattern in _DIFFERENCES
        if (names := [name.strip(" \\\"'[]") for name in re.findall(pattern, text)])
    ]
    return "; ".join(differing) or text.partition("\n")[0][:300].rstrip(". ") or type(exc).__name__
