"""A server at each stage of a handshake, and what no datagram may do to it."""

from functools import cache

from support.rosenpass_lab import START, End, make_pair, sends, snapshot

from rosenpass.constants import MILLISECOND, Instant
from rosenpass.msgs import Envelope


@cache
def stage(number: int) -> tuple[End, End, bytes]:
    """A pair in the middle of a handshake, and the datagram that should come next."""
    a, b = make_pair("fuzz")
    a.server.initiate(a.peer, START)
    ends = [a, b]
    for _ in range(number):
        (message,) = sends(ends[0].server.take_actions())
        ends[1].server.receive(message.datagram, ends[0].address, START)
        ends.reverse()
    (message,) = sends(ends[0].server.take_actions())
    return ends[1], ends[0], message.datagram


def remac(end: End, wire: bytes) -> bytes:
    """Anybody who knows our public key can do this."""
    hashes = next(iter(end.server._identity.hashes.values()))
    return wire[:-32] + hashes.domains.hash(hashes.mac_key, Envelope(wire).before_mac)[:16] + wire[-16:]


def untouched(receiver: End, sender: End, wire: bytes) -> None:
    before, refused = snapshot(receiver.server), sum(receiver.server.refused.values())
    receiver.server.receive(wire, sender.address, Instant(START + MILLISECOND))
    assert receiver.server.take_actions() == []
    assert sum(receiver.server.refused.values()) == refused + 1
    assert snapshot(receiver.server) == before
