"""Every error of the WireGuard half, in two families.

WgpyError is told to the person: one line, with the exit code its class carries. RemoteError means that the
network sent nonsense: the driver counts it by class, logs it at debug and goes on.
"""

from typing import ClassVar


class WgpyError(Exception):
    """Something to tell the person in one line: what, where, what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(WgpyError):
    """The command line does not make sense."""

    exit_code = 2


class ConfigError(WgpyError):
    """A configuration is invalid; nothing was created.

    Args:
        message: what is wrong and what to do.
        where: file and line, for instance "wg0.conf:12"; empty where there is no file.
    """

    exit_code = 3

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class PermissionMissing(WgpyError):  # noqa: N818  (reads as the sentence it is)
    """No CAP_NET_ADMIN, no /dev/net/tun, or a file that may not be read."""

    exit_code = 4


class PolicyNotMet(WgpyError):  # noqa: N818
    """`status --check`: a strict peer carries no post-quantum session."""

    exit_code = 5


class RemoteError(Exception):
    """A message from the network was refused; nothing changed."""


class MalformedMessage(RemoteError):  # noqa: N818
    """Wrong length, type or reserved bytes."""


class AuthenticationError(RemoteError):
    """A tag, mac or key did not verify."""


class ReplayError(RemoteError):
    """A timestamp not newer than the last accepted one, or initiations too close together."""


class StateError(RemoteError):
    """No handshake waits for this message."""


class UnknownPeer(RemoteError):  # noqa: N818
    """No configured peer has this static key or index."""
