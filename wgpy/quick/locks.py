"""Locks between `up` and `down`: one per interface, one for the settings all tunnels of a host share.

The first is held for as long as `up` or `down` works on the interface. The second is never held while a hook
runs: a hook may well bring up another tunnel. Both are held with flock on files below /run/wgpy, so a killed
process leaves none.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wgpy.errors import PermissionMissing, WgpyError
from wgpy.quick.journal import DIRECTORY

SHARED_WAIT_S = 30.0
POLL_S = 0.02


def make_directory(directory: Path = DIRECTORY) -> None:
    """Make the directory of journals and locks, for root's eyes: who may open it could hold its lock."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077:  # somebody else has made it
            directory.chmod(0o700)
    except PermissionError:
        raise PermissionMissing(f"{directory}: cannot be made; wgpy up and down need root") from None


@contextmanager
def interface_lock(interface: str, wait_s: float, directory: Path = DIRECTORY) -> Iterator[None]:
    """Nobody else brings this interface up or down meanwhile; the file goes with the lock.

    Raises:
        WgpyError: another process still works on it after `wait_s`.
    """
    make_directory(directory)
    path = directory / f"{interface}.lock"
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = _locked(
            path, deadline, f"{interface} is being brought up or down by another process; try again"
        )
        if _is_still(path, descriptor):
            break
        os.close(descriptor)  # its former holder removed the file while we waited
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def shared_lock(directory: Path = DIRECTORY) -> Iterator[None]:
    """Nobody else of us looks at or changes rules, tables, sysctls or name servers meanwhile."""
    make_directory(directory)
    waiting = f"{directory}: another wgpy does not come to an end; look for it with `ps`"
    descriptor = _locked(directory, time.monotonic() + SHARED_WAIT_S, waiting)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, deadline: float, refusal: str) -> int:
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if path.is_dir() else os.O_CREAT | os.O_NOFOLLOW)
        descriptor = os.open(path, flags, 0o600)
    except PermissionError:
        raise PermissionMissing(f"{path}: permission denied; wgpy up and down need root") from None
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise WgpyError(refusal) from None
            time.sleep(POLL_S)
        else:
            return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
