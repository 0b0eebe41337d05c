"""The sockets of a device's exchange: on its tunnel addresses, bound to the interface, and outside.

Opened before the interface has its addresses or is up, so that nothing waits for them later.

Product: section 6.
"""

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from wgpy.config import RosenpassVia
from wgpy.errors import WgpyError
from wgpy.model import IpAddress
from wgpy.rosenpass_settings import RosenpassSettings

_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_ANYWHERE = ((IPv4Address(0), IPv4Address("127.0.0.1")), (IPv6Address(0), IPv6Address("::1")))


class ExchangeSockets:
    """Bound sockets in the order of Address.socket, and which of them is for what.

    Args:
        settings: addresses, port and where the peers are.
        interface: whose traffic the inner ones carry, whatever the routes say.
        mark: SO_MARK of the outer ones, so that a full tunnel does not swallow them; 0 = none.
        inherited: the port of outer sockets that these replace, None = there are none.

    Raises:
        WgpyError: the port is in use.
    """

    def __init__(
        self, settings: RosenpassSettings, interface: str, mark: int, inherited: int | None = None
    ) -> None:
        self.opened: list[socket.socket] = []
        self._inner: dict[int, int] = {}  # IP version -> place in `opened`
        self._outer: dict[int, int] = {}
        try:
            for own in _inner_addresses(settings):
                self._inner[own.version] = len(self.opened)
                self.opened.append(_bind(own, settings.listen_port, interface))
            if any(peer.via is not RosenpassVia.TUNNEL for peer in settings.peers):
                for anywhere, loopback in _ANYWHERE:
                    if settings.listen_port != inherited:
                        _refuse_to_share(loopback, settings.listen_port)
                    self._open_outer(anywhere, settings.listen_port)
            self.set_mark(mark)
        except OSError as error:
            self.close()
            raise WgpyError(_refusal(settings.listen_port, error)) from None

    def inner(self, version: int) -> int:
        """Place of the socket inside the tunnel for this IP version; past the last where there is none."""
        return self._inner.get(version, len(self.opened))

    def outer(self, version: int) -> int:
        """Place of the socket outside the tunnel for this IP version; past the last where there is none."""
        return self._outer.get(version, len(self.opened))

    @property
    def outer_port(self) -> int | None:
        """Where the sockets outside the tunnel listen; None without any."""
        places = list(self._outer.values())
        return int(self.opened[places[0]].getsockname()[1]) if places else None

    def set_mark(self, mark: int) -> None:
        """The device's fwmark changed."""
        for place in self._outer.values():
            self.opened[place].setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)

    def close(self) -> None:
        """Close what is open; for a failed start."""
        for one in self.opened:
            one.close()

    def _open_outer(self, anywhere: IpAddress, port: int) -> None:
        try:
            outer = _bind(anywhere, port, None)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            return
        self._outer[anywhere.version] = len(self.opened)
        self.opened.append(outer)


def _refuse_to_share(loopback: IpAddress, port: int) -> None:
    """Raise OSError with EADDRINUSE where a socket on every address has the port already.

    Ours let themselves be shared, for the sake of inner ones. Of two outer ones, another device's perhaps,
    the later would take the datagrams of both. Inner ones are not on the loopback address.
    """
    family = socket.AF_INET if loopback.version == 4 else socket.AF_INET6
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        return  # the family is missing
    with probe:
        _bind_free(probe, loopback, port)


def _inner_addresses(settings: RosenpassSettings) -> Iterator[IpAddress]:
    """Our first address of each family."""
    seen: set[int] = set()
    for own in settings.addresses:
        if own.version not in seen:
            seen.add(own.version)
            yield own


def _bind(ip: IpAddress, port: int, interface: str | None) -> socket.socket:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        # Inner and outer sockets share the port; the kernel tells them apart by address and device.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ip.version == 6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if interface is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            _bind_free(opened, ip, port)
        else:
            opened.bind((str(ip), port))
    except OSError:
        opened.close()
        raise
    return opened


def _bind_free(opened: socket.socket, ip: IpAddress, port: int) -> None:
    """Bind, whether or not the host has the address now."""
    if ip.version == 6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    opened.bind((str(ip), port))


def _refusal(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"UDP port {port} is in use; choose another RosenpassListenPort"
    return f"cannot open the exchange's UDP port {port}: {os.strerror(error.errno or errno.EIO)}"
