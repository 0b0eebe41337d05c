"""The UDP sockets of a device: one per family and worker on one port, with WireGuard's buffers and options.

Knows no packets. Options that each batch depends on (packet info, TOS, GSO, GRO) are set by the data plane
when it takes the sockets over.
"""

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

from .errors import TunError

BUFFER_LEN: Final = 7 << 20
TRIES: Final = 100

_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_DONT: Final = 0
_FAMILY_MISSING: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@dataclass(frozen=True, slots=True)
class UdpSockets:
    """Bound sockets; one of them may be missing, not both. `more` has those of further workers."""

    v4: socket.socket | None
    v6: socket.socket | None
    more: tuple[tuple[socket.socket | None, socket.socket | None], ...] = ()

    @property
    def port(self) -> int:
        """The port both are bound to; of IPv4 where adopted ones differ."""
        return int(next(each for each in (self.v4, self.v6) if each is not None).getsockname()[1])

    @property
    def descriptors(self) -> tuple[tuple[int, int], ...]:
        """(IPv4, IPv6) pairs, -1 = absent: what DataPlane.set_sockets takes."""
        pairs = ((self.v4, self.v6), *self.more)
        return tuple((v4.fileno() if v4 else -1, v6.fileno() if v6 else -1) for v4, v6 in pairs)

    def _all(self) -> Iterator[socket.socket]:
        for pair in ((self.v4, self.v6), *self.more):
            yield from (each for each in pair if each is not None)

    def set_mark(self, mark: int) -> None:
        """SO_MARK on all; 0 = none. OSError with EPERM without CAP_NET_ADMIN."""
        for each in self._all():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)

    def close(self) -> None:
        """Close all."""
        for each in self._all():
            each.close()

    @classmethod
    def open(cls, port: int, mark: int, workers: int = 1) -> Self:
        """Bind both families to one port.

        Args:
            port: 0 lets IPv4 choose; where IPv6 cannot have the same, all over again.
            mark: SO_MARK, 0 = none.
            workers: how many sockets of each family; the kernel keeps what one address sends in one of them.

        Raises:
            TunError: EADDRINUSE, or neither family is here. Nothing stays open.
        """
        for _ in range(TRIES if port == 0 else 1):
            v4 = _bound(socket.AF_INET, port, mark)
            try:
                v6 = _bound(socket.AF_INET6, v4.getsockname()[1] if v4 else port, mark)
            except OSError as error:
                if v4 is not None:
                    v4.close()
                if error.errno == errno.EADDRINUSE and port == 0:
                    continue
                raise
            if v4 is None and v6 is None:
                raise TunError(errno.EAFNOSUPPORT, "there is neither IPv4 nor IPv6 here")
            return cls(v4, v6)._shared(mark, workers - 1)
        raise TunError(errno.EADDRINUSE, "no port is free in both families")

    def _shared(self, mark: int, more: int) -> Self:
        """With so many more pairs on the same port, or all are closed.

        The first pair was bound without SO_REUSEPORT, or two devices on one port would share its packets
        instead of hearing that it is taken.
        """
        made: list[tuple[socket.socket | None, socket.socket | None]] = []
        try:
            for _ in range(more):
                for each in self._all():
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                v4 = _bound(socket.AF_INET, self.port, mark, shared=True) if self.v4 else None
                made.append((v4, None))
                v6 = _bound(socket.AF_INET6, self.port, mark, shared=True) if self.v6 else None
                made[-1] = (v4, v6)
        except OSError:
            replace(self, more=tuple(made)).close()
            raise
        return replace(self, more=tuple(made))

    @classmethod
    def adopt(cls, descriptors: tuple[int, ...], mark: int) -> Self:
        """Take over bound UDP sockets that were handed in, at most one of each family.

        Raises:
            TunError: EINVAL: something else was handed in.
        """
        found: dict[int, socket.socket] = {}
        for number in descriptors:
            each = socket.socket(fileno=number)
            if each.type != socket.SOCK_DGRAM or each.family not in (socket.AF_INET, socket.AF_INET6):
                each.detach()
                raise TunError(errno.EINVAL, f"descriptor {number} is not a UDP socket")
            if each.family in found or each.getsockname()[1] == 0:
                each.detach()
                raise TunError(errno.EINVAL, f"descriptor {number}: one bound UDP socket per family is taken")
            each.set_inheritable(False)
            _prepare(each, mark)
            found[each.family] = each
        if not found:
            raise TunError(errno.EINVAL, "no UDP socket was handed in")
        return cls(found.get(socket.AF_INET), found.get(socket.AF_INET6))


def _bound(family: int, port: int, mark: int, *, shared: bool = False) -> socket.socket | None:
    """A bound socket, or None where the family is missing."""
    try:
        made = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno in _FAMILY_MISSING:
            return None
        raise
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _prepare(made, mark)
        made.bind(("", port))
    except OSError as error:
        made.close()
        if error.errno in _FAMILY_MISSING:
            return None
        raise TunError(error.errno or errno.EIO, f"UDP port {port}: {error.strerror}") from None
    return made


def _prepare(made: socket.socket, mark: int) -> None:
    made.setblocking(False)
    for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            made.setsockopt(socket.SOL_SOCKET, force, BUFFER_LEN)
        except PermissionError:  # then as much as the host allows
            made.setsockopt(socket.SOL_SOCKET, plain, BUFFER_LEN)
    if mark:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    # As the kernel module: DF clear, fragmented here rather than refused.
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
