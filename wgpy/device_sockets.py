"""The UDP sockets of a device through its ups and downs: their port, their mark, and those handed in."""

from tun.dataplane import DataPlane
from tun.udp import UdpSockets


class DeviceSockets:
    """Open while the device carries; handed-in ones in between too, until another port is asked for.

    Args:
        dataplane: reads and writes them.
        adopted: bound ones that were handed in.

    Attributes:
        port: where we listen, or shall; 0 = any, until the device is up for the first time.
        mark: SO_MARK, 0 = none.
    """

    def __init__(self, dataplane: DataPlane, adopted: UdpSockets | None) -> None:
        self.port = adopted.port if adopted is not None else 0
        self.mark = 0
        self._dataplane = dataplane
        self._adopted = adopted
        self._open: UdpSockets | None = None

    def carry(self) -> None:
        """The device is up. OSError: the port is taken, or neither family is here."""
        if self._open is None:
            self._use(self._adopted or self._opened(self.port))

    def rest(self) -> None:
        """The device is down."""
        self._dataplane.set_sockets()
        if self._open is not None and self._open is not self._adopted:
            self._open.close()
        self._open = None

    def set_port(self, port: int) -> None:
        """Listen elsewhere; 0 = anywhere, which handed-in sockets are. EADDRINUSE: the old ones go on."""
        if port == 0 and self._adopted is not None:
            return
        if self._open is not None:
            self._use(self._opened(port))
            return
        UdpSockets.open(port, self.mark).close()  # a taken port is refused now, while somebody asks
        self._drop_adopted()
        self.port = port

    def set_mark(self, mark: int) -> None:
        """OSError with EPERM without CAP_NET_ADMIN."""
        for sockets in (self._open, self._adopted):
            if sockets is not None:
                sockets.set_mark(mark)
        self.mark = mark

    def close(self) -> None:
        """Close all; the data plane has ended."""
        for sockets in (self._open, self._adopted):
            if sockets is not None:
                sockets.close()

    def _opened(self, port: int) -> UdpSockets:
        return UdpSockets.open(port, self.mark, self._dataplane.workers)

    def _use(self, sockets: UdpSockets) -> None:
        """The old ones stay open until the workers have left them."""
        try:
            self._dataplane.set_sockets(*sockets.descriptors)
        except OSError:
            if sockets is not self._adopted:
                sockets.close()
            raise
        old, self._open = self._open, sockets
        self.port = sockets.port
        if sockets is not self._adopted:
            self._drop_adopted()
        if old is not None and old is not sockets:
            old.close()

    def _drop_adopted(self) -> None:
        if self._adopted is not None:
            self._adopted.close()
            self._adopted = None
