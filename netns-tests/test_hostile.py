"""Somebody who sends whatever he likes, as fast as he can: counted, and the tunnel hardly notices.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
                                 └── 10.99.0.2:random, a handmade peer, and 10.99.0.66, the attacker

The attacker knows every public key and has recorded what passed on the wire.
"""

import base64
import json
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle

import pytest
from handmade import HandmadePeer, junk_initiation, mac1_key, udp, with_macs
from lab import Namespace, wait_until
from traffic import Echo, Numbered
from tunnel import Tunnel, tunnel
from wgpeer import PORT, Peer, Remote, wgpy_program

ATTACKER = "10.99.0.66"
PER_SECOND = 15_000  # the lab has two cores for all
GROWTH_MAX = 8 << 20


@contextmanager
def flood(host: Namespace, datagrams: Sequence[bytes], port: int = PORT) -> Iterator[None]:
    """The datagrams over and over."""
    ended = threading.Event()
    attacker = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    attacker.bind((ATTACKER, 0))
    attacker.connect(("10.99.0.1", port))

    def send() -> None:
        for number, datagram in enumerate(cycle(datagrams)):
            if number % 150 == 0 and ended.wait(150 / PER_SECOND):
                return
            with suppress(OSError):
                attacker.send(datagram)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        attacker.close()


def status(host: Namespace) -> dict[str, object]:
    """What our own status says of wg0."""
    found = json.loads(host.run(wgpy_program("wgpy"), "status", "wg0", "--json"))
    return dict(found["interfaces"][0])


def drops(host: Namespace) -> dict[str, int]:
    return dict(status(host)["drops"])  # type: ignore[call-overload]


Make = Callable[[Tunnel, HandmadePeer], list[bytes]]


def noise(_: Tunnel, __: HandmadePeer) -> list[bytes]:
    return [os.urandom(length) for length in (0, 1, 31, 32, 64, 92, 148, 1472, 60_000) * 20]


def right_lengths(_: Tunnel, __: HandmadePeer) -> list[bytes]:
    lengths = {1: 148, 2: 92, 3: 64, 4: 1400}
    return [struct.pack("<I", kind) + os.urandom(length - 4) for kind, length in lengths.items()] * 50


def wrong_mac1(t: Tunnel, _: HandmadePeer) -> list[bytes]:
    return [junk_initiation(base64.b64decode(t.other.keys.public), index) for index in range(200)]


def right_mac1(t: Tunnel, _: HandmadePeer) -> list[bytes]:
    return [junk_initiation(base64.b64decode(t.subject.keys.public), index) for index in range(500)]


def strangers(t: Tunnel, _: HandmadePeer) -> list[bytes]:
    """Perfect initiations of somebody who is no peer: the dearest to look at."""
    stranger = HandmadePeer(t.h2, ("10.99.0.1", PORT), t.subject.keys.public, "10.99.0.2")
    made = [stranger.initiation().message for _ in range(100)]
    stranger.close()
    return made


def replayed_initiations(_: Tunnel, hand: HandmadePeer) -> list[bytes]:
    pending = hand.initiation()
    hand.send(pending.message)
    pending.consume(hand.receive(2))
    return [pending.message]


def unknown_indices(_: Tunnel, __: HandmadePeer) -> list[bytes]:
    return [struct.pack("<I", 4) + os.urandom(4) + bytes(8) + os.urandom(112) for _ in range(500)]


def replayed_data(_: Tunnel, hand: HandmadePeer) -> list[bytes]:
    session = hand.shake_hands()
    return [session.seal(udp("10.7.1.1", "10.7.0.1", (9, 9), bytes(1000))) for _ in range(100)]


def forged_data(_: Tunnel, hand: HandmadePeer) -> list[bytes]:
    index = hand.shake_hands().remote_index
    return [struct.pack("<IIQ", 4, index, counter) + os.urandom(1040) for counter in range(2, 200)]


def forged_cookie_replies(_: Tunnel, hand: HandmadePeer) -> list[bytes]:
    index = hand.shake_hands().remote_index
    return [struct.pack("<II", 3, index) + os.urandom(56) for _ in range(100)]


def forged_responses(t: Tunnel, hand: HandmadePeer) -> list[bytes]:
    key, index = mac1_key(base64.b64decode(t.subject.keys.public)), hand.shake_hands().remote_index
    return [with_macs(struct.pack("<III", 2, 7, index) + os.urandom(48), key) for _ in range(100)]


FLOODS: dict[Make, set[str]] = {
    noise: {"udp_malformed", "udp_empty"},
    right_lengths: {"handshake_mac1", "handshake_index", "data_index"},
    wrong_mac1: {"handshake_mac1"},
    right_mac1: {"handshake_authentication", "handshake_cookie"},
    strangers: {"handshake_stranger", "handshake_cookie"},
    replayed_initiations: {"handshake_replay", "handshake_cookie"},
    unknown_indices: {"data_index"},
    replayed_data: {"data_replayed"},
    forged_data: {"data_authentication"},
    forged_cookie_replies: {"handshake_rate"},
    forged_responses: {"handshake_index"},
}


@pytest.fixture
def attacked(other: type[Peer]) -> Iterator[tuple[Tunnel, HandmadePeer]]:
    """A tunnel that stands, a second peer made by hand, and the attacker's address."""
    with tunnel(other) as t:
        t.h2.add_address("eth0", f"{ATTACKER}/24")
        hand = HandmadePeer(t.h2, ("10.99.0.1", PORT), t.subject.keys.public, "10.99.0.2")
        t.subject.wg("peer", hand.keys.public, "allowed-ips", "10.7.1.0/24")
        t.subject.ping(t.other.address4)
        yield t, hand
        hand.close()


@pytest.mark.parametrize("make", FLOODS, ids=lambda make: make.__name__)
def test_flood_is_counted_by_its_kind_and_stops_nobody(
    attacked: tuple[Tunnel, HandmadePeer], make: Make
) -> None:
    t, hand = attacked
    datagrams, process = make(t, hand), t.subject.process
    assert process is not None
    before, resident = drops(t.h1), process.resident_bytes()
    with flood(t.h2, datagrams):
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=200) as stream:
            wait_until(lambda: len(stream.sent) > 300, 10, "traffic")
        assert len(stream.lost) < len(stream.sent) // 20
        # a whole new handshake of an honest peer, in the midst of it
        t.h2.run("wg", "set", "wg0", "peer", t.subject.keys.public, "remove")
        t.other.configure([Remote(t.subject.keys.public, ["10.7.0.1"], t.subject_endpoint)])
        t.other.ping(t.subject.address4, within=10)
    after = drops(t.h1)
    grown = {name for name in after if after[name] - before.get(name, 0) >= 50}
    print(make.__name__, {name: after[name] - before.get(name, 0) for name in sorted(grown)})
    assert grown & FLOODS[make]
    assert process.resident_bytes() - resident < GROWTH_MAX


def test_nonsense_read_from_the_tun_is_counted_and_carries_on(attacked: tuple[Tunnel, HandmadePeer]) -> None:
    """What a local program, or a forwarding kernel gone wrong, may put into the interface."""
    t, _ = attacked
    dice, before = random.Random(5), drops(t.h1)
    with t.h1.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as inject:
        inject.bind(("wg0", 0x0800))
        for number in range(30_000):
            whole = bytearray(udp("10.7.0.1", "10.7.0.2", (1, 7), bytes(number % 1300)))
            whole[dice.randrange(28)] ^= 1 << dice.randrange(8)
            cut = whole[: dice.randrange(1, len(whole) + 1)]
            with suppress(OSError):  # ENOBUFS: its queue is full
                inject.send(dice.choice((cut, dice.randbytes(number % 1400), bytes((0x45, 0, 0, 0)), b"")))
    t.subject.ping(t.other.address4)
    after = drops(t.h1)
    assert after["tun_malformed"] - before["tun_malformed"] > 1000
    assert t.subject.process is not None
    assert t.subject.process.running
