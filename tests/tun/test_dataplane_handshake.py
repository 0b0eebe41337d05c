"""The cheap checks of handshake messages: what a stranger's has to pass before it becomes an event."""

import hashlib
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from support.planes import LOOPBACK, Side, side, wait_for

from tun.errors import TunError
from tun.records import NO_PEER, Address, Endpoint, EventKind

PUBLIC_KEY = bytes(range(32))
MAC1_KEY = hashlib.blake2s(b"mac1----" + PUBLIC_KEY).digest()
LENGTHS = {1: 148, 2: 92}

LOAD = 512  # EVENTS_UNDER_LOAD


def message(kind: int, *, receiver: int = 0, sender: int = 7) -> bytes:
    """A type 1 or 2 message of random content with a valid mac1."""
    head = struct.pack("<II", kind, sender) + (struct.pack("<I", receiver) if kind == 2 else b"")
    body = head + os.urandom(LENGTHS[kind] - 32 - len(head))
    return body + hashlib.blake2s(body, key=MAC1_KEY, digest_size=16).digest() + bytes(16)


class Stranger:
    def __init__(self, plane: Side, version: int = 4) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(5)
        self.sock.bind((str(LOOPBACK[version]), 0))
        self.to = plane.udp[version].getsockname()

    @property
    def address(self) -> Address:
        name = self.sock.getsockname()
        return Address(ip_address(name[0]), name[1])

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, self.to)


@contextmanager
def plane(version: int = 4) -> Iterator[tuple[Side, Stranger]]:
    with side("10.0.0.1", "fd00::1") as one:
        one.plane.set_identity(PUBLIC_KEY)
        one.peer = one.plane.peer_add()
        stranger = Stranger(one, version)
        yield one, stranger
        stranger.sock.close()


def drops(one: Side, reason: str, count: int = 1) -> None:
    wait_for(lambda: one.plane.drops[reason] == count, f"{count} drops of {reason}")
    assert one.plane.events() == []


@pytest.mark.parametrize("version", [4, 6])
def test_an_initiation_with_a_good_mac1_becomes_an_event(version: int) -> None:
    with plane(version) as (one, stranger):
        sent = message(1)
        stranger.send(sent)
        event = one.next_event(EventKind.HANDSHAKE)
        assert (event.message, event.peer) == (sent, NO_PEER)
        assert event.source is not None
        assert event.source.remote == stranger.address
        assert event.source.local == LOOPBACK[version]
        assert event.source.ifindex > 0


def test_a_bad_mac1_is_dropped_silently() -> None:
    with plane() as (one, stranger):
        sent = bytearray(message(1))
        sent[120] ^= 1
        stranger.send(sent)
        drops(one, "handshake_mac1")


def test_mac1_of_a_response_is_checked_too() -> None:
    with plane() as (one, stranger):
        index = one.plane.index_reserve(one.peer)
        sent = bytearray(message(2, receiver=index))
        sent[64] ^= 1
        stranger.send(sent)
        drops(one, "handshake_mac1")
        sent[64] ^= 1
        stranger.send(sent)
        assert one.next_event(EventKind.HANDSHAKE).message == sent


def test_without_identity_every_handshake_message_is_dropped() -> None:
    with plane() as (one, stranger):
        one.plane.set_identity(None)
        stranger.send(message(1))
        drops(one, "handshake_identity")
        one.plane.set_identity(PUBLIC_KEY)
        stranger.send(message(1))
        one.next_event(EventKind.HANDSHAKE)


@pytest.mark.parametrize("extra", [-1, 1])
@pytest.mark.parametrize("kind", [1, 2])
def test_a_wrong_length_is_dropped(kind: int, extra: int) -> None:
    with plane() as (one, stranger):
        sent = message(kind)
        stranger.send(sent[:extra] if extra < 0 else sent + b"\0")
        drops(one, "udp_malformed")


def test_reserved_bytes_must_be_zero() -> None:
    with plane() as (one, stranger):
        sent = bytearray(message(1))
        sent[2] = 1
        stranger.send(sent)
        drops(one, "udp_malformed")


def test_a_response_must_answer_a_handshake_of_ours() -> None:
    with plane() as (one, stranger):
        index = one.plane.index_reserve(one.peer)
        stranger.send(message(2, receiver=index ^ 1))
        drops(one, "handshake_index")
        stranger.send(message(2, receiver=index))
        assert one.next_event(EventKind.HANDSHAKE).peer == one.peer


def install(one: Side, index: int) -> None:
    keys = {"send_key": os.urandom(32), "receive_key": os.urandom(32)}
    one.plane.keypair_install(
        one.peer, **keys, local_index=index, remote_index=1, birthdate=1 << 60, is_initiator=True
    )


def test_a_response_to_a_session_is_dropped_and_a_cookie_reply_passes() -> None:
    with plane() as (one, stranger):
        index = one.plane.index_reserve(one.peer)
        install(one, index)
        stranger.send(message(2, receiver=index))
        drops(one, "handshake_index")
        reply = struct.pack("<II", 3, index) + os.urandom(56)
        stranger.send(reply)
        event = one.next_event(EventKind.HANDSHAKE)
        assert (event.message, event.peer) == (reply, one.peer)


def test_cookie_replies_of_one_source_are_few_and_crowd_nobody_out() -> None:
    with plane() as (one, stranger):
        index = one.plane.index_reserve(one.peer)
        reply = struct.pack("<II", 3, index) + bytes(56)
        wait_for(lambda: not stranger.send(reply) and one.plane.drops["handshake_rate"] > 200, "drops")
        honest = message(1)
        stranger.send(honest)
        taken: list[bytes] = []
        wait_for(lambda: taken.extend(event.message for event in one.plane.events()) or honest in taken)
        assert len(taken) < 100
        assert one.plane.drops["handshake_cookie"] == 0


def test_a_flood_is_answered_with_cookies_and_stays_out_of_the_ring() -> None:
    with plane() as (one, stranger):
        for number in range(LOAD):
            stranger.send(message(1, sender=number))
        wait_for(
            lambda: not stranger.send(message(1, sender=4711)) and one.plane.drops["handshake_cookie"], "load"
        )
        reply = stranger.sock.recv(200)
        assert len(reply) == 64
        assert struct.unpack("<II", reply[:8]) == (3, 4711)
        taken = 0
        while events := one.plane.events():
            taken += len(events)
        assert LOAD <= taken < 8 * LOAD


def test_events_of_a_removed_peer_do_not_reach_its_heir() -> None:
    with plane() as (one, stranger):
        index = one.plane.index_reserve(one.peer)
        stranger.send(message(2, receiver=index))
        wait_for(lambda: one.plane.event_fd and select_readable(one.plane.event_fd))
        one.plane.peer_remove(one.peer)
        assert one.plane.peer_add() == one.peer
        assert one.plane.events() == []
        stranger.send(message(2, receiver=index))
        drops(one, "handshake_index")


def select_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_a_handshake_message_leaves_with_dscp_af41_and_is_counted() -> None:
    with plane() as (one, stranger):
        stranger.sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        one.plane.peer_set_endpoint(one.peer, Endpoint(stranger.address))
        one.plane.send_handshake(one.peer, bytes(148))
        data, control, _, _ = stranger.sock.recvmsg(200, 100)
        assert (len(data), control[0][2]) == (148, b"\x88")
        assert one.record()["tx_bytes"] == 148
        assert one.record()["last_tx_auth_ns"] > 0


def test_a_handshake_message_without_a_way_out_says_why() -> None:
    with plane() as (one, stranger):
        with pytest.raises(TunError, match="Destination address required"):
            one.plane.send_handshake(one.peer, bytes(148))
        one.plane.peer_set_endpoint(one.peer, Endpoint(stranger.address))
        one.plane.set_sockets()
        with pytest.raises(TunError, match="Network is down"):
            one.plane.send_handshake(one.peer, bytes(148))
        with pytest.raises(TunError, match="No such file"):
            one.plane.send_handshake(one.peer + 1, bytes(148))


def test_an_authenticated_handshake_message_roams_and_counts() -> None:
    with plane() as (one, stranger):
        stranger.send(message(1))
        event = one.next_event(EventKind.HANDSHAKE)
        assert event.source is not None
        one.plane.peer_authenticated(one.peer, event.source, 148)
        assert one.plane.peer_endpoint(one.peer) == event.source
        assert one.record()["rx_bytes"] == 148
        assert one.record()["last_rx_auth_ns"] > 0
        one.plane.peer_clear_source(one.peer)
        assert one.plane.peer_endpoint(one.peer) == Endpoint(stranger.address)


def test_a_cookie_reply_moves_no_endpoint() -> None:
    with plane() as (one, stranger):
        before = Endpoint(Address(ip_address("192.0.2.9"), 9))
        one.plane.peer_set_endpoint(one.peer, before)
        index = one.plane.index_reserve(one.peer)
        stranger.send(struct.pack("<II", 3, index) + os.urandom(56))
        assert one.next_event(EventKind.HANDSHAKE).source is not None
        assert one.plane.peer_endpoint(one.peer) == before


@pytest.mark.parametrize("versions", [(4, 6), (6, 4)])
def test_an_endpoint_of_the_other_family_is_whole(versions: tuple[int, int]) -> None:
    """An implementation once kept the length of the first address, and cut the second."""
    ends = {4: Address(ip_address("192.0.2.1"), 7), 6: Address(ip_address("2001:db8::1:2:3:4"), 8)}
    with plane() as (one, _):
        for version in versions:
            one.plane.peer_set_endpoint(one.peer, Endpoint(ends[version]))
        assert one.plane.peer_endpoint(one.peer) == Endpoint(ends[versions[1]])
        for version in versions:
            one.plane.peer_authenticated(one.peer, Endpoint(ends[version]), 148)
        assert one.plane.peer_endpoint(one.peer) == Endpoint(ends[versions[1]])
