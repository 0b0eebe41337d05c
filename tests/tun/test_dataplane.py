import socket
import struct
from ipaddress import ip_address

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from support.planes import Pair, pair, udp_packet, wait_for

from tun.records import Address, Endpoint, EventKind


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_a_packet_crosses_unchanged(outer: int, inner: int) -> None:
    with pair(version=outer) as p:
        p.session()
        packet = p.udp(b"hello", version=inner)
        p.a.send(packet)
        assert p.b.receive() == packet


def test_every_length_up_to_the_mtu_crosses() -> None:
    with pair() as p:
        p.session()
        for length in [*range(64), 1391, 1392]:
            packet = p.udp(bytes(length))
            p.a.send(packet)
            assert p.b.receive() == packet


def test_a_vnet_header_is_read_and_written() -> None:
    with pair(vnet=True) as p:
        p.session()
        packet = p.udp(b"hello")
        p.a.send(packet)
        assert p.b.receive() == packet


def on_the_wire(p: Pair) -> bytes:
    """Take a's next datagram off the wire, with a socket of the test's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        here = Address(ip_address("127.0.0.1"), sock.getsockname()[1])
        p.a.plane.peer_set_endpoint(p.a.peer, Endpoint(here))
        p.a.send(p.udp(b"hello"))
        return sock.recv(2000)


def test_the_wire_format_is_wireguards() -> None:
    with pair() as p:
        send_key, _ = p.session()
        message = on_the_wire(p)
        kind, _, counter = struct.unpack("<IIQ", message[:16])
        plain = ChaCha20Poly1305(send_key).decrypt(bytes(4) + message[8:16], message[16:], None)
        assert (kind, counter) == (4, 0)
        assert len(plain) == 48  # 33 bytes, padded to a multiple of 16
        assert plain == p.udp(b"hello") + bytes(48 - 33)


def test_a_packet_without_session_is_staged_and_leaves_when_one_comes() -> None:
    with pair() as p:
        packets = [p.udp(bytes([i])) for i in range(10)]
        for packet in packets:
            p.a.send(packet)
        assert p.a.next_event(EventKind.WANT_SESSION).peer == p.a.peer
        wait_for(lambda: p.a.record()["staged"] == 10)
        p.session()
        p.a.plane.peer_flush(p.a.peer, keepalive=True)
        assert [p.b.receive() for _ in packets] == packets
        assert p.a.record()["staged"] == 0


def test_a_responder_confirms_on_the_first_packet_and_then_sends() -> None:
    with pair() as p:
        p.session()
        p.a.plane.peer_flush(p.a.peer, keepalive=True)
        event = p.b.next_event(EventKind.CONFIRMED)
        assert event.peer == p.b.peer
        assert event.index == p.b.record()["current_index"]
        assert p.b.is_silent(0.05)
        answer = udp_packet("10.0.0.2", "10.0.0.1", b"answer")
        p.b.send(answer)
        assert p.a.receive() == answer
