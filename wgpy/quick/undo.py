"""Undoing steps, last first, whatever happens; shared by a failing `up` and by `down`."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from wgpy.errors import WgpyError
from wgpy.quick import process
from wgpy.quick.host import Host
from wgpy.quick.journal import Process
from wgpy.quick.locks import shared_lock
from wgpy.quick.steps import CreateDevice, Step


def undo(host: Host, steps: Iterable[Step], daemon: Process | None) -> list[WgpyError]:
    """Undo the steps in reverse and end the device process; returns what could not be undone."""
    failures: list[WgpyError] = []
    with shared_lock():
        for step in reversed(tuple(steps)):
            try:
                host.undo(step)
            except WgpyError as failure:
                failures.append(failure)
            if isinstance(step, CreateDevice):
                process.end(step.interface, daemon)
    return failures


def network_namespace() -> int:
    """The inode that names the network namespace we are in."""
    return os.stat("/proc/self/ns/net").st_ino if Path("/proc/self/ns/net").exists() else 0


def namespace_path(inode: int) -> Path | None:
    """Where a network namespace can be entered, None where nobody we see is in it and it has no name."""
    for path in (*Path("/run/netns").glob("*"), *Path("/proc").glob("[0-9]*/ns/net")):
        with suppress(OSError):
            if path.stat().st_ino == inode:
                return path
    return None
