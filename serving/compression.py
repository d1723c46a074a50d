"""Content encodings gzip and deflate, bounded on the way in. Which requests may use them: `web.py` and the routes."""

import zlib

from mlflow_ext.errors import InvalidInputError, MlflowExtError

ENCODINGS = ("gzip", "deflate")
WORTH_BYTES = 1024
"""Answers below this size are sent as they are: compressing costs more than it saves."""
_LEVEL = 1
_GZIP, _ZLIB, _RAW = 31, 15, -15


class UnknownEncodingError(MlflowExtError):
    """The content encoding is neither gzip nor deflate."""


class TooLargeError(MlflowExtError):
    """The body is too large once it is decompressed."""


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Take the content encoding off a body, with never more than `limit` bytes of it in memory.

    Raises:
        UnknownEncodingError: The encoding is not one of `ENCODINGS`.
        InvalidInputError: The body is no such data, or ends early.
        TooLargeError: It would be larger than `limit` bytes.
    """
    kind = encoding.strip().lower()
    if kind in {"", "identity"}:
        return body
    if kind not in ENCODINGS:
        raise UnknownEncodingError(f"Content-Encoding {encoding[:50]!r} is not one of {', '.join(ENCODINGS)}")
    try:
        return _inflated(body, _GZIP if kind == "gzip" else _ZLIB, limit)
    except zlib.error as exc:
        # "deflate" means zlib's format, but some clients send it without zlib's header
        if kind == "gzip":
            raise InvalidInputError("the body is not gzip data, as its Content-Encoding says") from exc
    try:
        return _inflated(body, _RAW, limit)
    except zlib.error as exc:
        raise InvalidInputError("the body is not deflate data, as its Content-Encoding says") from exc


def accepted(header: str) -> str | None:
    """Choose an encoding for an answer from a request's `Accept-Encoding`; `None` when it wants neither."""
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, _, parameter = part.strip().partition(";")
        key, _, value = parameter.strip().partition("=")
        try:
            weights[name.strip().lower()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[name.strip().lower()] = 0.0
    offered = [(weights.get(name, weights.get("*", 0.0)), name) for name in ENCODINGS]
    weight, best = max(offered, key=lambda one: one[0])
    return best if weight > 0 else None


def compressed(body: bytes, encoding: str | None) -> tuple[bytes, str | None]:
    """Put a content encoding on a body where one is wanted and worth it; gives the body and the encoding it has."""
    if encoding is None or len(body) < WORTH_BYTES:
        return body, None
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP if encoding == "gzip" else _ZLIB)
    return compressor.compress(body) + compressor.flush(), encoding


def _inflated(body: bytes, wbits: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size, rest = 0, body
    # gzip data may be several members one after the other
    while True:
        inflater = zlib.decompressobj(wbits)
        # one byte more than allowed is enough to know
        parts.append(inflater.decompress(rest, limit - size + 1))
        size += len(parts[-1])
        if size > limit:
            raise TooLargeError(f"the body is larger than {limit} bytes once it is decompressed")
        if not inflater.eof:
            raise InvalidInputError("the compressed body ends early")
        rest = inflater.unused_data
        if not rest or wbits != _GZIP:
            return b"".join(parts)
