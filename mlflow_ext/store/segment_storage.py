"""Where segments are kept: local disk, S3-compatible storage, or any file system that fsspec knows; by URI.

What a segment holds says `segment_files.py`; which ones there are, `segments.py`.
"""

import os
import secrets
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
from pyarrow import fs

from mlflow_ext.errors import UnavailableError

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 30.0
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def located(uri: str) -> tuple[fs.FileSystem, str]:
    """Give the file system of a URI, and the path in it.

    `s3://bucket/path` is reached as AWS's own tools reach it: keys, region and another endpoint (MinIO, Ceph …) come
    from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, its files, or its role.

    Raises:
        UnavailableError: No file system is known for it, or it cannot be reached.
    """
    if uri.startswith("s3://"):
        endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
        try:
            return _s3(endpoint), uri.removeprefix("s3://")
        except OSError as exc:
            raise UnavailableError(f"{uri}: {exc}") from exc
    if "://" not in uri or uri.startswith("file://"):
        return fs.LocalFileSystem(), uri.removeprefix("file://")
    try:
        other, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as exc:
        raise UnavailableError(f"{uri}: {exc}") from exc
    return fs.PyFileSystem(fs.FSSpecHandler(other)), path


def write_whole(uri: str, content: bytes) -> None:
    """Write a file; it is there whole or not at all, and on disk when this returns.

    Raises:
        UnavailableError: It cannot be written.
    """
    try:
        system, path = located(uri)
        if isinstance(system, fs.LocalFileSystem):
            _write_locally(Path(path), content)
            return
        if not isinstance(system, fs.S3FileSystem):
            system.create_dir(path.rpartition("/")[0], recursive=True)
        # object stores show an object only when it is complete
        with system.open_output_stream(path) as file:
            file.write(content)
    except OSError as exc:
        raise UnavailableError(f"segment {uri} cannot be written: {exc}") from exc


def remove(uri: str) -> None:
    """Remove a file; nothing happens when it is gone.

    Raises:
        UnavailableError: It cannot be removed.
    """
    try:
        system, path = located(uri)
        system.delete_file(path)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise UnavailableError(f"segment {uri} cannot be removed: {exc}") from exc


@lru_cache(maxsize=4)
def _s3(endpoint: str) -> fs.S3FileSystem:
    where = urlsplit(endpoint)
    return fs.S3FileSystem(
        endpoint_override=where.netloc or None,
        scheme=where.scheme or None,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        # small objects in one request
        allow_delayed_open=True,
    )


def _write_locally(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    # the spool file goes after this: the new name has to survive a power loss, too
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
