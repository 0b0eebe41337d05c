"""Giving up privileges for good: another user, no capability, no way back.

Capabilities, the bounding set and no_new_privs belong to single threads. So it goes in two halves: what
concerns gaining privileges anew, and what root can do without, is given up before there is a second thread
(every later one inherits it); the user is changed later, which glibc does in all threads, and with that
change the kernel empties each thread's capability sets. Descriptors stay open.
"""

import ctypes
import os
import pwd
import struct
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from wgpy.errors import PermissionMissing, WgpyError

PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITIES_MAX = 64
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8
CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_IPC_LOCK = 14
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def keep_out_of_dumps() -> None:
    """No core file, also none through a handler, no ptrace by equals; what is executed next is free again."""
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def renounce_gaining() -> None:
    """No execve shall give back what is dropped later; the present capabilities stay usable.

    Call it while the process has one thread.

    Raises:
        WgpyError: the kernel refuses.
    """
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if not effective(CAP_SETPCAP):
        return  # a container that cannot: without new privileges the bounding set has no use anyway
    for capability in range(CAPABILITIES_MAX):
        if _libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            _prctl(PR_CAPBSET_DROP, capability)


def effective(capability: int) -> bool:
    """Whether this process may use a capability now."""
    return bool(capability_sets()[os.getpid()].effective >> capability & 1)


def keep_only(capabilities: Collection[int]) -> None:
    """Give up every other capability, for good where `renounce_gaining` came before.

    Call it while the process has one thread.

    Raises:
        WgpyError: the kernel refuses.
    """
    own = capability_sets()[os.getpid()]
    wanted = sum(1 << capability for capability in capabilities) & own.permitted
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) != 0:
        raise WgpyError(f"capset: {os.strerror(ctypes.get_errno())}")


class Account(NamedTuple):
    """Whom to become."""

    name: str
    uid: int
    gid: int


def account_of(user: str) -> Account:
    """Look a user up, while the files that say so may still be read.

    Raises:
        WgpyError: no such user.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise WgpyError(f"no user {user} here") from None
    return Account(user, entry.pw_uid, entry.pw_gid)


def become(account: Account) -> None:
    """Become another user with its own group alone and an empty capability set, in every thread.

    Raises:
        PermissionMissing: we are not root.
        WgpyError: a thread kept a capability.
    """
    user, uid, gid = account
    _prctl(PR_SET_KEEPCAPS, 0)
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except PermissionError:
        raise PermissionMissing(f"cannot become {user}: only root can become another user") from None
    keep_out_of_dumps()  # changing the user has reset that
    for thread, sets in capability_sets().items():
        if any(sets):
            raise WgpyError(f"thread {thread} kept capabilities after becoming {user}")


class CapabilitySets(NamedTuple):
    """Bit masks of one thread."""

    permitted: int
    effective: int
    ambient: int


def capability_sets() -> dict[int, CapabilitySets]:
    """The sets of each thread of this process, by thread id."""
    found = {}
    for status in Path("/proc/self/task").glob("*/status"):
        fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        masks = (int(fields.get(name, "0"), 16) for name in ("CapPrm", "CapEff", "CapAmb"))
        found[int(status.parent.name)] = CapabilitySets(*masks)
    return found


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        raise WgpyError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
