"""The values that cross between Python and the data plane, and the layout of the record array.

The numpy dtype is read off the C struct, so no second description of it can drift. Addresses are described by
what they must have (ip, port, scope_id), so that a caller's own types fit without conversion.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ._dataplane import ffi

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
RecordArray = npt.NDArray[np.void]

NO_PEER = 0xFFFFFFFF


class Feature(IntFlag):
    """Offloads and fall-backs (DP_FEATURE_*)."""

    TSO = 0x01
    USO = 0x02
    UDP_GSO = 0x04
    UDP_GRO = 0x08
    TUN_COALESCE = 0x10
    ECN = 0x20
    ICMP = 0x40
    ALL = 0x7F


class Aead(IntEnum):
    """Which implementation of ChaCha20-Poly1305 (DP_AEAD_*)."""

    AUTO = 0
    OPENSSL = 1
    IPSEC_MB = 2


class EventKind(IntEnum):
    """What happened (DP_EVENT_*)."""

    HANDSHAKE = 1
    WANT_SESSION = 2
    CONFIRMED = 3
    DEVICE_GONE = 4


class KeypairFlag(IntFlag):
    """Field current_flags of a record (DP_KEYPAIR_*)."""

    INITIATOR = 0x01
    SENDABLE = 0x02
    REKEY_MESSAGES = 0x04


class AddressLike(Protocol):
    """An IP address with a port; scope_id for IPv6 link-local only."""

    @property
    def ip(self) -> IpAddress: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def scope_id(self) -> int: ...  # noqa: D102


class EndpointLike(Protocol):
    """A peer's address, and the local address and interface its last packet arrived on."""

    @property
    def remote(self) -> AddressLike: ...  # noqa: D102
    @property
    def local(self) -> IpAddress | None: ...  # noqa: D102
    @property
    def ifindex(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address with a port; scope_id for IPv6 link-local only."""

    ip: IpAddress
    port: int
    scope_id: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a datagram came from, and the local address and interface it arrived on."""

    remote: Address
    local: IpAddress | None = None
    ifindex: int = 0


@dataclass(frozen=True, slots=True)
class Gate:
    """Which keypairs carry a peer's user packets, and which UDP flow passes on any (struct dp_gate).

    Args:
        user_kinds: bit 1 << kind for every kind of preshared key that is allowed.
        user_psk_max_age: ns; 0 = no limit.
        control_local, control_remote: the ends of the flow that passes; None = there is none.
    """

    user_kinds: int = 0xF
    user_psk_max_age: int = 0
    control_local: AddressLike | None = None
    control_remote: AddressLike | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event ring (struct dp_event).

    Args:
        peer: NO_PEER for an initiation; for a response or cookie reply the owner of its receiver index.
        index: CONFIRMED: local index of the keypair.
        time: ns of CLOCK_BOOTTIME.
        source: HANDSHAKE: where it came from.
        message: HANDSHAKE: its bytes, 148, 92 or 64.
        error: DEVICE_GONE: errno.
    """

    kind: EventKind
    peer: int
    time: int
    index: int = 0
    source: Endpoint | None = None
    message: bytes = b""
    error: int = 0


def _dtype_of(struct: str) -> np.dtype[np.void]:
    kind = ffi.typeof(f"struct {struct}")
    fields = [(name, field) for name, field in kind.fields if field.type.kind == "primitive"]
    return np.dtype(  # arrays are room for later fields
        {
            "names": [name for name, _ in fields],
            "formats": [np.dtype(f"u{ffi.sizeof(field.type)}") for _, field in fields],
            "offsets": [field.offset for _, field in fields],
            "itemsize": ffi.sizeof(kind),
        }
    )


RECORD = _dtype_of("dp_record")
