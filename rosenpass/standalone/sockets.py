"""The UDP sockets of the exchange. Knows no protocol; a network error is a line in the log, no more."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from ..addresses import Address
from ..errors import ConfigError, RosenpassError
from .endpoints import from_sockaddr
from .police import LOOK_S, Police
from .values import HostPort

log = logging.getLogger(__name__)

RECEIVE_BURST = 64
RECEIVE_LEN = 2048  # longer than every message: what is cut here was no message

Received = Callable[[bytes, Address], None]


class Sockets:
    """Every socket of an exchange, read on the running event loop until close().

    Args:
        opened: bound, non-blocking UDP sockets; owned from now on. Their order is Address.socket.
        received: takes each datagram and its source.
        is_strict: what is to leave by one socket leaves by no other: they are of different networks.
    """

    def __init__(
        self, opened: Sequence[socket.socket], received: Received, *, is_strict: bool = False
    ) -> None:
        self._received = received
        self._is_strict = is_strict
        self._sockets = list(opened)
        self._police = [Police(one) for one in opened]
        self._looker: asyncio.TimerHandle | None = None
        for index, one in enumerate(self._sockets):
            asyncio.get_running_loop().add_reader(one, self._readable, index, one)

    @property
    def addresses(self) -> list[HostPort]:
        """Where each socket listens."""
        return [HostPort(*opened.getsockname()[:2]) for opened in self._sockets]

    @property
    def dropped(self) -> int:
        """Datagrams the kernel dropped: no room, or too many from one part of the address space."""
        return sum(police.dropped for police in self._police)

    def close(self) -> None:
        """Close every socket."""
        if self._looker is not None:
            self._looker.cancel()
        for opened in self._sockets:
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        self._sockets = []

    def send(self, datagram: bytes, destination: Address) -> None:
        """Send from the socket on which the destination was seen, else from the first that can reach it.

        Strictly, not else.
        """
        for opened in self._able(destination):
            try:
                opened.sendto(datagram, _sockaddr(opened, destination))
            except OSError as error:
                level = logging.DEBUG if error.errno == errno.EAGAIN else logging.WARNING
                log.log(level, "cannot send to %s: %s", destination, error.strerror or error)
            else:
                return

    def _able(self, destination: Address) -> list[socket.socket]:
        if destination.socket < len(self._sockets):
            seen_on = self._sockets[destination.socket]
            if _reaches(seen_on, destination):
                others = () if self._is_strict else self._sockets
                return [seen_on, *(o for o in others if o is not seen_on and _reaches(o, destination))]
        able = [opened for opened in self._sockets if not self._is_strict and _reaches(opened, destination)]
        if not able:
            log.warning("no socket of ours can send to %s", destination)
        return able

    def _readable(self, index: int, opened: socket.socket) -> None:
        for _ in range(RECEIVE_BURST):
            try:
                datagram, source = opened.recvfrom(RECEIVE_LEN)
            except BlockingIOError:
                break
            except OSError as error:  # ICMP's answer to something we sent
                log.debug("%s", error.strerror or error)
                continue
            address = from_sockaddr(source, index)
            self._police[index].saw(address.ip, time.monotonic())
            self._received(datagram, address)
        self._look_on()

    def _look_on(self) -> None:
        """A filter must go when nothing comes through it any more."""
        if self._looker is None and any(police.is_thinning for police in self._police):
            self._looker = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looker = None
        for police in self._police:
            police.look(time.monotonic())
        self._look_on()


def listen_on(addresses: Sequence[HostPort]) -> list[socket.socket]:
    """Bind a socket to each address; to any free port, IPv4 and IPv6, where there is none.

    Raises:
        RosenpassError: an address is in use or not ours.
    """
    if not addresses:
        return _bind_anywhere()
    opened: list[socket.socket] = []
    try:
        for at in addresses:
            opened.append(_bind(at, dual_stack=_is_alone(at, addresses)))
    except RosenpassError:
        for one in opened:
            one.close()
        raise
    return opened


def _is_alone(at: HostPort, addresses: Sequence[HostPort]) -> bool:
    """Whether no IPv4 socket wants the same port, so that [::] may serve IPv4 as well."""
    return not any(":" not in other.host and other.port == at.port for other in addresses if other != at)


def _bind(at: HostPort, dual_stack: bool = True) -> socket.socket:
    ip = ip_address(at.host.partition("%")[0])
    opened = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if ip.version == 6:
            opened.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not (dual_stack and ip.is_unspecified))
            )
        opened.bind(socket.getaddrinfo(at.host, at.port, type=socket.SOCK_DGRAM)[0][4])
    except OSError as error:
        opened.close()
        raise _refused(at, error) from None
    return opened


def _refused(at: HostPort, error: OSError) -> RosenpassError:
    match error.errno:
        case errno.EADDRINUSE:
            return RosenpassError(
                f"cannot listen on {at}: the port is in use; stop the other program or take another"
            )
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return ConfigError(f"cannot listen on {at}: this host does not have that address")
        case _:
            return RosenpassError(f"cannot listen on {at}: {error.strerror or error}")


def _bind_anywhere() -> list[socket.socket]:
    try:
        return [_bind(HostPort("::", 0))]
    except RosenpassError:
        return [_bind(HostPort("0.0.0.0", 0))]  # noqa: S104  (the documented default: every address)


def _reaches(opened: socket.socket, destination: Address) -> bool:
    if opened.family == socket.AF_INET:
        return destination.ip.version == 4
    dual_stack = opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    return destination.ip.version == 6 or dual_stack


def _sockaddr(opened: socket.socket, destination: Address) -> tuple[str, int] | tuple[str, int, int, int]:
    if opened.family == socket.AF_INET:
        return str(destination.ip), destination.port
    host = str(destination.ip) if destination.ip.version == 6 else f"::ffff:{destination.ip}"
    return host, destination.port, 0, destination.scope_id
