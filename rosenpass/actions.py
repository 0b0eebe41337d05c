"""What CryptoServer asks of its edge. Values only.

A key in an action belongs to the edge from then on: use it, then overwrite it with zeros.
"""

from dataclasses import dataclass, field

from .addresses import Address
from .constants import Instant, Role
from .peers import PeerId


@dataclass(frozen=True, slots=True)
class SendMessage:
    """One datagram to send.

    Attributes:
        peer: whom it is for; None for a CookieReply, which answers nobody known.
        destination: where to; None means the peer's configured endpoint, which is known to the edge alone.
        With
            several addresses behind a name, take the next one each time.
        resolve: the first datagram of a handshake that goes to the configured endpoint: look its name up
        again.
    """

    peer: PeerId | None
    destination: Address | None
    datagram: bytes = field(repr=False)
    resolve: bool = False


@dataclass(frozen=True, slots=True)
class KeyExchanged:
    """A handshake was accepted; exactly one of these comes for each.

    As responder both ends have the key. As initiator the peer has it once KeyConfirmed follows, or once
    anything encrypted under it arrives.

    Attributes:
        renewal: when the next handshake is expected at the latest, whoever starts it.
    """

    peer: PeerId
    osk: bytearray = field(repr=False)
    role: Role
    renewal: Instant


@dataclass(frozen=True, slots=True)
class KeyConfirmed:
    """The key of the last KeyExchanged as initiator is known to the peer."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class KeyStale:
    """The last key expired unrenewed. `osk` is fresh random bytes to put in its place, never a constant."""

    peer: PeerId
    osk: bytearray = field(repr=False)


Action = SendMessage | KeyExchanged | KeyConfirmed | KeyStale
