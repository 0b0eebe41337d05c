"""Keys stay out of swap, as far as the limits allow. Session keys may be on any page, so every page is meant.

mlockall's ONFAULT costs nothing: a page is locked when it is first used. Locking future pages without the
right to it would turn the limit into failing allocations, so then it is the present ones, or none.
"""

import ctypes
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

from wgpy.privileges import CAP_IPC_LOCK, effective

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4


def lock(*, keeps_privileges: bool) -> str | None:
    """Lock present and future pages; what to tell the person where that may not be and there is swap."""
    with suppress(OSError, ValueError):  # with CAP_SYS_RESOURCE the limit is no matter later
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    may_always = limit == resource.RLIM_INFINITY or (keeps_privileges and effective(CAP_IPC_LOCK))
    if may_always and _mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        return None
    if not _has_swap():
        return None
    return (
        f"keys of later sessions may get into the swap: the limit of locked memory is {limit >> 10} KiB; "
        "raise it (`ulimit -l unlimited`, LimitMEMLOCK=infinity), or encrypt the swap"
    )


def lock_present() -> None:
    """Lock the pages there are, before the right to it is given up; what is locked stays so."""
    if effective(CAP_IPC_LOCK):
        _mlockall(_MCL_CURRENT | _MCL_ONFAULT)


def _mlockall(flags: int) -> bool:
    return int(ctypes.CDLL(None).mlockall(flags)) == 0


def _has_swap() -> bool:
    with suppress(OSError):
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    return True
