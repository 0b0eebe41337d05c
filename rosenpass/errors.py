"""Every error of the Rosenpass half, in two families.

RosenpassError is told to the person: one line saying what, where and what to do. RemoteError means that the
network sent nonsense: the driver counts it by class, logs it at debug and goes on. Neither carries a secret.
"""

from typing import ClassVar


class RosenpassError(Exception):
    """Something to tell the person in one line: what, where, what to do; with the exit code of its class."""

    exit_code: ClassVar[int] = 1


class ConfigError(RosenpassError):
    """A configuration is invalid; nothing was started.

    Args:
        message: what is wrong and what to do.
        where: file and line, for instance "rosenpass.toml:12"; empty where there is no file.
    """

    exit_code = 3

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class KemUnavailable(RosenpassError):  # noqa: N818  (reads as the sentence it is)
    """No library here offers the wanted key encapsulation mechanism; the message names the remedy."""


class KeyFileError(RosenpassError):
    """A key file is missing, unreadable, of a wrong size, or would be overwritten; the message names it."""


class RemoteError(Exception):
    """A message from the network was refused; nothing changed."""


class MalformedMessage(RemoteError):  # noqa: N818
    """Wrong length, type or reserved bytes, or a field no honest peer would send."""


class AuthenticationError(RemoteError):
    """A mac, tag or biscuit did not verify."""


class ReplayError(RemoteError):
    """A biscuit number not greater than the last one used."""


class StateError(RemoteError):
    """No handshake or session waits for this message."""


class Overloaded(RemoteError):  # noqa: N818
    """More of these than anybody honest sends; dropped before the costly part."""


class UnknownPeer(RemoteError):  # noqa: N818
    """No configured peer has this peer id or session."""
