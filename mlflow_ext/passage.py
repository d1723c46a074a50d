"""Lets one system user pass through directories that are closed to others, by a POSIX access control list.

Only passing (`x`) is granted, never reading, and only to that user: nothing becomes visible to anybody else.
"""

import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

_XATTR = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFF_FFFF
_EXECUTE = 1


@dataclass(frozen=True, slots=True)
class SystemUser:
    """Whom a process runs as.

    Attributes:
        name: Login name.
        uid: User id.
        gid: Primary group id.
    """

    name: str
    uid: int
    gid: int


def closed_directories(path: Path, user: SystemUser) -> list[Path]:
    """Name the directories from the root down to `path` that the user cannot enter; needs root."""
    resolved = path.resolve()
    return [step for step in (*reversed(resolved.parents), resolved) if not _can_enter(step, user)]


def grant(directory: Path, user: SystemUser) -> None:
    """Let the user pass through the directory.

    Raises:
        OSError: The file system knows no access control lists, or the directory is not ours to change.
    """
    entries = _read(directory)
    had = next((bits for tag, bits, who in entries if (tag, who) == (_USER, user.uid)), 0)
    entries = [entry for entry in entries if (entry[0], entry[2]) != (_USER, user.uid)]
    entries.append((_USER, had | _EXECUTE, user.uid))
    if not any(tag == _MASK for tag, _, _ in entries):
        group = next(permissions for tag, permissions, _ in entries if tag == _GROUP_OBJ)
        entries.append((_MASK, group | _EXECUTE, _NO_ID))
    entries = [(tag, bits | _EXECUTE if tag == _MASK else bits, who) for tag, bits, who in entries]
    os.setxattr(directory, _XATTR, _VERSION + b"".join(_ENTRY.pack(*entry) for entry in sorted(entries, key=_order)))


def _can_enter(directory: Path, user: SystemUser) -> bool:
    # asking the kernel beats computing it: owner, group, ACLs and security modules all have a say
    answer = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)],
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
    )
    return answer.returncode == 0


def _read(directory: Path) -> list[tuple[int, int, int]]:
    try:
        raw = os.getxattr(directory, _XATTR)
    except OSError:
        mode = directory.stat().st_mode
        return [
            (_USER_OBJ, mode >> 6 & 7, _NO_ID),
            (_GROUP_OBJ, mode >> 3 & 7, _NO_ID),
            (_OTHER, mode & 7, _NO_ID),
        ]
    return [(tag, bits, who) for tag, bits, who in _ENTRY.iter_unpack(raw[len(_VERSION) :])]


def _order(entry: tuple[int, int, int]) -> tuple[int, int]:
    return entry[0], entry[2]
