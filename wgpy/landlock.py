"""Landlock: which files, TCP ports and processes this process may still reach, for good.

Knows no daemon. Belongs to single threads and is inherited, so call it while there is one. Descriptors that
are open already stay usable; a path is looked up once, so a file that is replaced later is another file.

man 7 landlock.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NET_PORT: Final = 2
_BIND_TCP: Final = 1
_CONNECT_TCP: Final = 2
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 1 | 2

_libc = ctypes.CDLL(None, use_errno=True)


class Access(IntFlag):
    """What may be done beneath a path; the kernel's numbers."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ: Final = Access.READ_FILE | Access.READ_DIR
_OF_FILES: Final = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
# How many of the rights a kernel of that version knows.
_KNOWN: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_KNOWN_NOW: Final = 16


def version() -> int:
    """What the running kernel speaks; 0 = it has no Landlock, or it is switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION)))


def restrict(rules: Iterable[tuple[Path, Access]], connect_ports: Iterable[int] = ()) -> int:
    """Allow this thread, and those it starts, what the rules say and nothing else.

    A path that does not exist is passed over. What the kernel is too old for stays allowed.

    Args:
        rules: what may be done with a file, or with everything beneath a directory.
        connect_ports: TCP ports that may be connected to; none may be bound.

    Returns:
        The version in force, 0 where there is none.

    Raises:
        OSError: the kernel refuses: neither no_new_privs nor CAP_SYS_ADMIN, or too many layers.
    """
    present = version()
    if present == 0:
        return 0
    handled = Access((1 << _KNOWN.get(present, _KNOWN_NOW)) - 1)
    net = _BIND_TCP | _CONNECT_TCP if present >= 4 else 0
    scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if present >= 6 else 0
    words = [handled, net, scoped][: 3 if present >= 6 else 2 if present >= 4 else 1]
    ruleset = _call(_CREATE_RULESET, struct.pack(f"={len(words)}Q", *words), 8 * len(words), 0)
    try:
        for path, access in rules:
            _allow(ruleset, path, access & handled)
        for port in connect_ports if net else ():
            _call(_ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", _CONNECT_TCP, port), 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return present


def _allow(ruleset: int, path: Path, access: Access) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(beneath).st_mode):
                access &= _OF_FILES
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", access, beneath), 0)
        finally:
            os.close(beneath)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
