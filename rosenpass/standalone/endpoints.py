"""From a configured host and port to addresses, asked anew for each handshake.

Names go through the event loop's resolver, at most one question per peer at a time. While there is no answer
the last one is used; without any, the newest datagram waits for it, and the protocol sends again anyway.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from ipaddress import ip_address

from ..addresses import Address
from .values import HostPort

log = logging.getLogger(__name__)

MAX_ADDRESSES = 16

Send = Callable[[bytes, Address], None]


class ConfiguredEndpoint:
    """One peer's endpoint as configured.

    Args:
        target: host and port.
        send: puts a datagram on a socket.
    """

    def __init__(self, target: HostPort, send: Send) -> None:
        self._target = target
        self._send_to = send
        self._addresses: list[Address] = []
        self._next = 0
        self._waiting: bytes | None = None
        self._lookup: asyncio.Task[None] | None = None

    def send(self, datagram: bytes, resolve: bool) -> None:
        """Send to the next address; with `resolve`, look the name up first.

        Several addresses behind a name take turns.
        """
        if (resolve or not self._addresses) and self._lookup is None:
            self._lookup = asyncio.get_running_loop().create_task(self._look_up())
        if resolve or not self._addresses:
            self._waiting = datagram
        else:
            self._send_next(datagram)

    def close(self) -> None:
        """Forget what waits."""
        if self._lookup is not None:
            self._lookup.cancel()

    def _send_next(self, datagram: bytes) -> None:
        address = self._addresses[self._next % len(self._addresses)]
        self._next += 1
        self._send_to(datagram, address)

    async def _look_up(self) -> None:
        try:
            found = await resolve(self._target)
        except (OSError, UnicodeError) as error:  # a label of more than 63 characters is the latter
            why = getattr(error, "strerror", None) or error
            log.warning("%s: %s; trying again with the next handshake", self._target, why)
        else:
            if found != self._addresses:
                self._addresses, self._next = found, 0
        finally:
            self._lookup = None
        datagram, self._waiting = self._waiting, None
        if datagram is not None and self._addresses:
            self._send_next(datagram)


async def resolve(target: HostPort) -> list[Address]:
    """Return every address of a host, in the system's order of preference.

    Raises:
        OSError: there is none.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    found = dict.fromkeys(from_sockaddr(info[4]) for info in infos)
    return list(found)[:MAX_ADDRESSES]


def from_sockaddr(sockaddr: tuple[object, ...], index: int = 0) -> Address:
    """Turn what the socket module speaks into an Address; a mapped IPv4 address becomes IPv4."""
    host, port = str(sockaddr[0]).partition("%")[0], sockaddr[1]
    assert isinstance(port, int)
    scope = sockaddr[3] if len(sockaddr) > 3 else 0
    assert isinstance(scope, int)
    ip = ip_address(host)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        return Address(ip.ipv4_mapped, port, 0, index)
    return Address(ip, port, scope, index)
