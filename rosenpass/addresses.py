"""Where a datagram came from or goes to, as a value; nothing here resolves or sends."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Address:
    """A UDP address. IPv4 is IPv4Address, never the mapped form.

    Attributes:
        socket: which of the edge's own sockets it was seen on.
    """

    ip: IPv4Address | IPv6Address
    port: int
    scope_id: int = 0
    socket: int = 0

    def host_id(self) -> bytes:
        """Bind a cookie to this address: socket 8, IPv6 16, port 2, scope id 4 bytes, big-endian."""
        ip = self.ip.packed if self.ip.version == 6 else b"\0" * 10 + b"\xff\xff" + self.ip.packed
        return (
            self.socket.to_bytes(8, "big")
            + ip
            + self.port.to_bytes(2, "big")
            + self.scope_id.to_bytes(4, "big")
        )

    def __str__(self) -> str:
        """1.2.3.4:5 or [v6%zone]:5."""
        if self.ip.version == 4:
            return f"{self.ip}:{self.port}"
        zone = f"%{self.scope_id}" if self.scope_id else ""
        return f"[{self.ip}{zone}]:{self.port}"
