"""The values that the cores, the UAPI, the configuration and the device speak to each other in.

Frozen and small. Keys are raw bytes of 32; `repr` never shows a secret one.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NewType

Instant = NewType("Instant", int)  # ns of CLOCK_BOOTTIME
WallTime = NewType("WallTime", int)  # ns since the Unix epoch
PublicKey = NewType("PublicKey", bytes)
PrivateKey = NewType("PrivateKey", bytes)
PresharedKey = NewType("PresharedKey", bytes)
PeerNumber = NewType("PeerNumber", int)  # what DataPlane.peer_add returned

KEY_LEN = 32
SECOND = 1_000_000_000
NO_PRESHARED_KEY = PresharedKey(bytes(KEY_LEN))

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


def ip_text(ip: IpAddress) -> str:
    """An address as inet_ntop writes it: ::ffff:1.2.3.4 and ::1.2.3.4 where Python writes hexadecimal."""
    if ip.version == 6 and int(ip) >> 32 in (0, 0xFFFF) and (int(ip) >> 32 or int(ip) >> 16):
        return f"{'::ffff:' if int(ip) >> 32 else '::'}{IPv4Address(int(ip) & 0xFFFFFFFF)}"
    return str(ip)


def prefix_text(prefix: IpNetwork) -> str:
    """A prefix as `wg` writes it: address/bits."""
    return f"{ip_text(prefix.network_address)}/{prefix.prefixlen}"


class PskKind(IntEnum):
    """What a keypair's preshared key was; the numbers are DP_PSK_* of dataplane.h."""

    NONE = 0
    CONFIGURED = 1
    INTERIM = 2
    PQ = 3


class Policy(IntEnum):
    """RosenpassPolicy of a peer."""

    OFF = 0
    PERMISSIVE = 1
    STRICT = 2


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An IP address with a port; scope_id for IPv6 link-local only."""

    ip: IpAddress
    port: int
    scope_id: int = 0

    def __str__(self) -> str:
        """As `wg` prints it: 1.2.3.4:5, [v6]:5, [v6%zone]:5."""
        if self.ip.version == 4:
            return f"{self.ip}:{self.port}"
        zone = f"%{self.scope_id}" if self.scope_id else ""
        return f"[{ip_text(self.ip)}{zone}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a datagram came from, and the local address and interface it arrived on."""

    remote: SocketAddress
    local: IpAddress | None = None
    ifindex: int = 0


@dataclass(frozen=True, slots=True)
class AllowedIpChange:
    """One allowed_ip line: a prefix to insert, or with `remove` to take away."""

    prefix: IpNetwork
    remove: bool = False


@dataclass(frozen=True, slots=True)
class PeerUpdate:
    """One peer section of a UAPI set; None means "leave as it is"."""

    public_key: PublicKey
    update_only: bool = False
    remove: bool = False
    preshared_key: PresharedKey | None = field(default=None, repr=False)
    endpoint: SocketAddress | None = None
    persistent_keepalive: int | None = None  # seconds, 0 = off
    replace_allowed_ips: bool = False
    allowed_ips: tuple[AllowedIpChange, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceUpdate:
    """A whole UAPI set=1; None means "leave as it is"."""

    private_key: PrivateKey | None = field(default=None, repr=False)  # zeros = remove
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: tuple[PeerUpdate, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerState:
    """One peer section of a UAPI get."""

    public_key: PublicKey
    preshared_key: PresharedKey = field(repr=False)  # zeros = none
    endpoint: SocketAddress | None
    last_handshake: WallTime  # 0 = never
    tx_bytes: int
    rx_bytes: int
    persistent_keepalive: int  # seconds, 0 = off
    allowed_ips: tuple[IpNetwork, ...]


@dataclass(frozen=True, slots=True)
class ShownPeer:
    """A PeerState on its way out. Addresses are text: ten thousand peers' worth of objects take a second."""

    public_key: PublicKey
    preshared_key: PresharedKey = field(repr=False)  # zeros = none
    endpoint: str  # empty = not known
    last_handshake: WallTime  # 0 = never
    tx_bytes: int
    rx_bytes: int
    persistent_keepalive: int  # seconds, 0 = off
    allowed_ips: tuple[str, ...]

    @classmethod
    def of(cls, peer: PeerState) -> "ShownPeer":
        """The same peer."""
        return cls(
            peer.public_key,
            peer.preshared_key,
            str(peer.endpoint) if peer.endpoint is not None else "",
            peer.last_handshake,
            peer.tx_bytes,
            peer.rx_bytes,
            peer.persistent_keepalive,
            tuple(map(prefix_text, peer.allowed_ips)),
        )


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A whole UAPI get=1."""

    private_key: PrivateKey | None = field(repr=False)
    listen_port: int  # 0 = none
    fwmark: int  # 0 = off
    peers: tuple[PeerState, ...]
