"""Which predictions a sampled prediction log keeps: decided by the request id alone, so that anybody can tell later."""

from hashlib import sha256

_ALL = 1 << 64


def is_kept(request_id: str, share: float) -> bool:
    """Tell whether a log that keeps a share of the requests keeps this one.

    The first eight bytes of the id's SHA-256, as a fraction of 2^64, are below the share. So the smaller of two shares
    keeps a subset of what the larger one keeps.

    Args:
        request_id: The answer's `X-Request-Id`.
        share: 0 to 1.
    """
    return share >= 1.0 or _place(request_id) < share * _ALL


def _place(request_id: str) -> int:
    return int.from_bytes(sha256(request_id.encode("utf-8", "surrogateescape")).digest()[:8], "big")
