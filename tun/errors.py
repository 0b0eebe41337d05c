"""What can go wrong with a TUN, a socket or the data plane; `check` turns a C result into one of these."""

import errno
import os


class TunError(OSError):
    """A call of the data plane or on its descriptors failed; errno says why."""


class DeviceGone(TunError):  # noqa: N818  (reads as the sentence it is)
    """The TUN interface was deleted, or a descriptor is no longer what it was."""


class PermissionMissing(TunError):  # noqa: N818
    """No CAP_NET_ADMIN, or no access to /dev/net/tun."""


_GONE = {errno.EBADFD, errno.EBADF, errno.ENODEV}
_PERMISSION = {errno.EPERM, errno.EACCES}


def check(result: int, doing: str) -> int:
    """Return a result that is not negative; raise what a negative errno means.

    Args:
        result: 0 or a count, or -errno.
        doing: what was attempted, for the message: "install a keypair".

    Raises:
        DeviceGone: EBADFD, EBADF, ENODEV.
        PermissionMissing: EPERM, EACCES.
        TunError: everything else.
    """
    if result >= 0:
        return result
    number = -result
    kind = DeviceGone if number in _GONE else PermissionMissing if number in _PERMISSION else TunError
    raise kind(number, f"cannot {doing}: {os.strerror(number)}")
