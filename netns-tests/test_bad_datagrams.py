"""Anything may arrive at the port: nothing is answered, nothing breaks, an honest tunnel goes on beside it.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 honest: h2
                                 └── 10.99.0.2:random, a stranger and a handmade peer
"""

import base64
import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest
from handmade import DATA, RESPONSE, HandmadePeer, mac1_key, udp, with_macs
from lab import LabError, wait_until
from traffic import Echo, Numbered
from tunnel import Tunnel, tunnel
from wgpeer import PORT, Keys, Peer, Remote

US = "10.7.0.1"
LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.fixture
def honest(other: type[Peer]) -> Iterator[tuple[Tunnel, HandmadePeer]]:
    """An honest tunnel, and a second configured peer made by hand."""
    with tunnel(other) as t:
        hand = HandmadePeer(t.h2, ("10.99.0.1", PORT), t.subject.keys.public, "10.99.0.2")
        t.subject.wg("peer", hand.keys.public, "allowed-ips", "10.7.1.0/24")
        t.subject.ping(t.other.address4)
        yield t, hand
        hand.close()


def garbage(public: bytes) -> list[bytes]:
    """Datagrams that no peer would send: every type and length, right and wrong MACs."""
    dice = random.Random(17)
    lengths = [*range(200), 1000, 1472, 1500, 9000, 65507]
    made = [
        struct.pack("<I", kind)[:length] + dice.randbytes(max(0, length - 4))
        for kind in (0, 1, 2, 3, 4, 5, 6, 255, 0x01000001, 0x00000100)
        for length in lengths
    ]
    made += [dice.randbytes(length) for length in lengths]
    body = struct.pack("<II", 1, 7) + dice.randbytes(108)
    made += [with_macs(body, mac1_key(public)), with_macs(body, mac1_key(os.urandom(32)))]
    made += [with_macs(body[:8] + point + body[40:], mac1_key(public)) for point in LOW_ORDER]
    made += [with_macs(struct.pack("<III", 2, 7, index) + body[8:56], mac1_key(public)) for index in (0, 7)]
    return made


def test_garbage_is_never_answered_and_costs_the_tunnel_nothing(honest: tuple[Tunnel, HandmadePeer]) -> None:
    t, hand = honest
    public = base64.b64decode(t.subject.keys.public)
    with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=200) as stream:
        for datagram in garbage(public):
            hand.send(datagram)
        with pytest.raises(LabError, match="no message"):
            hand.receive(kind=RESPONSE, within=0.5)
    assert len(stream.lost) <= 2  # a socket buffer of a busy machine may overflow once
    assert t.subject.process is not None
    assert t.subject.process.running


def test_initiation_is_answered_once_and_its_replay_never(honest: tuple[Tunnel, HandmadePeer]) -> None:
    _, hand = honest
    pending = hand.initiation()
    hand.send(pending.message)
    session = pending.consume(hand.receive(RESPONSE))
    hand.send(session.seal(b""))
    for _ in range(3):
        hand.send(pending.message)
    with pytest.raises(LabError, match="no message of type 2"):
        hand.receive(RESPONSE, within=0.5)


def test_older_timestamp_is_refused_newer_accepted(honest: tuple[Tunnel, HandmadePeer]) -> None:
    _, hand = honest
    hand.shake_hands()
    wait_long_enough = hand.initiation(wall=1_000_000_000)
    hand.send(wait_long_enough.message)
    with pytest.raises(LabError, match="no message of type 2"):
        hand.receive(RESPONSE, within=0.5)
    hand.shake_hands()


def test_unknown_static_key_is_not_answered(honest: tuple[Tunnel, HandmadePeer]) -> None:
    t, _ = honest
    stranger = HandmadePeer(
        t.h2, ("10.99.0.1", PORT), t.subject.keys.public, "10.99.0.2", keys=Keys.generate()
    )
    stranger.send(stranger.initiation().message)
    with pytest.raises(LabError, match="no message of type 2"):
        stranger.receive(RESPONSE, within=0.5)
    stranger.close()


def test_responder_sends_nothing_before_the_session_is_confirmed(honest: tuple[Tunnel, HandmadePeer]) -> None:
    """Whoever replays an initiation could otherwise make us send data under keys nobody confirmed."""
    t, hand = honest
    t.h1.ip("route add 10.7.1.0/24 dev wg0")
    pending = hand.initiation()
    hand.send(pending.message)
    session = pending.consume(hand.receive(RESPONSE))
    with t.h1.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"waits", ("10.7.1.1", 9))
        with pytest.raises(LabError, match="no message of type 4"):
            hand.receive(DATA, within=0.5)
        hand.send(session.seal(b""))
        assert hand.receive_inner(session)[28:33] == b"waits"


def test_flipping_any_byte_of_a_data_message_makes_it_void(honest: tuple[Tunnel, HandmadePeer]) -> None:
    t, hand = honest
    session = hand.shake_hands()
    with Echo(t.h1, US) as echo:
        sealed = session.seal(udp("10.7.1.1", US, (1, 7), b"whole"))
        for position in range(len(sealed)):
            broken = bytearray(sealed)
            broken[position] ^= 0x40
            hand.send(bytes(broken))
        hand.send(sealed)
        wait_until(lambda: echo.heard, 5, "the whole one")
        assert echo.heard == [b"whole"]


def test_low_order_public_key_is_kept_but_never_spoken_to(honest: tuple[Tunnel, HandmadePeer]) -> None:
    t, _ = honest
    remotes = [Remote(t.other.keys.public, ["10.7.0.2"], t.other_endpoint)]
    for number, point in enumerate(LOW_ORDER):
        public = base64.b64encode(point).decode()
        remotes.append(Remote(public, [f"10.7.2.{number}"], "10.99.0.2:9999", keepalive=1))
    t.subject.configure(remotes)
    with t.h2.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("10.99.0.2", 9999))
        listener.settimeout(1.5)
        with pytest.raises(TimeoutError):
            listener.recv(2048)
    assert len(t.h1.run("wg", "show", "wg0", "peers").split()) == len(remotes)
    t.subject.ping(t.other.address4)
