"""Which segments may hold a request: a Bloom filter of request ids beside each one's index entry.

So that one request is found without opening every file. Wrong in one file of a hundred: one look too many.
Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 13(7), 1970; the positions are those of
Kirsch and Mitzenmacher, Less hashing, same performance, 2006.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, and_, cast, func, or_

BITS_PER_ID = 10
LOOKS = 7


def filter_of(request_ids: Iterable[str]) -> bytes:
    """Give the filter of a segment's request ids; about 1.25 bytes for each different one."""
    halves = np.array([_halves(one) for one in set(request_ids)], dtype=np.uint64).reshape(-1, 2)
    size = max(8, -(-len(halves) * BITS_PER_ID // 8)) * 8
    bits = np.zeros(size, dtype=np.uint8)
    for look in range(LOOKS):
        bits[(halves[:, 0] + np.uint64(look) * halves[:, 1]) % np.uint64(size)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def may_hold(column: ColumnElement[bytes], request_id: str) -> ColumnElement[bool]:
    """Give the SQL condition that a segment may hold a request; one without a filter may."""
    first, step = _halves(request_id)
    size = cast(func.octet_length(column), BigInteger) * 8
    looks = (func.get_bit(column, (first + look * step) % size) == 1 for look in range(LOOKS))
    return or_(column.is_(None), and_(*looks))


def _halves(request_id: str) -> tuple[int, int]:
    digest = blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big") | 1
