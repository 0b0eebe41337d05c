"""What the Tunnel core asks of the edge. Values only; wgpy.dispatch turns each into one call."""

from dataclasses import dataclass, field

from wgpy.model import Endpoint, Instant, PeerNumber, PskKind


@dataclass(frozen=True, slots=True)
class SendHandshake:
    """A 148- or 92-byte handshake message to the peer's endpoint."""

    peer: PeerNumber
    message: bytes


@dataclass(frozen=True, slots=True)
class PeerAuthenticated:
    """A handshake message of this peer verified: roam to its source, count its bytes, stamp it."""

    peer: PeerNumber
    source: Endpoint
    length: int


@dataclass(frozen=True, slots=True)
class InstallKeypair:
    """New transport keys; the initiator's become current, the responder's next. Wipe them after the call."""

    peer: PeerNumber
    send_key: bytearray = field(repr=False)
    receive_key: bytearray = field(repr=False)
    local_index: int
    remote_index: int
    birthdate: Instant
    is_initiator: bool
    psk_kind: PskKind
    psk_birthdate: Instant  # 0 = no age


@dataclass(frozen=True, slots=True)
class Flush:
    """Send what is staged; with `keepalive`, an empty packet where nothing is."""

    peer: PeerNumber
    keepalive: bool


@dataclass(frozen=True, slots=True)
class DropStaged:
    """The handshake was given up: forget the packets that waited for it."""

    peer: PeerNumber


@dataclass(frozen=True, slots=True)
class ClearKeypairs:
    """Wipe every transport key of the peer."""

    peer: PeerNumber


@dataclass(frozen=True, slots=True)
class StopSending:
    """Our private key changed: the peer's keypairs may only receive from now on."""

    peer: PeerNumber


@dataclass(frozen=True, slots=True)
class SessionStands:
    """A session was confirmed by the other end; nothing for the data plane, news for the exchange."""

    peer: PeerNumber
    psk_kind: PskKind


@dataclass(frozen=True, slots=True)
class TickAt:
    """Look at the peer at that moment: the next regular look would be too late."""

    peer: PeerNumber
    moment: Instant


@dataclass(frozen=True, slots=True)
class ClearSource:
    """Forget the cached local address: the kernel shall choose again."""

    peer: PeerNumber


Action = (
    SendHandshake
    | PeerAuthenticated
    | InstallKeypair
    | Flush
    | DropStaged
    | ClearKeypairs
    | StopSending
    | SessionStands
    | TickAt
    | ClearSource
)
