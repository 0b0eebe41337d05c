import socket
import struct
from ipaddress import ip_address, ip_network

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from support.planes import LOOPBACK, Pair, boottime, pair, udp_packet, wait_for

from tun.dataplane import DataPlane
from tun.errors import DeviceGone, TunError
from tun.records import Address, Endpoint, EventKind, Feature


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


def test_what_another_implementation_sealed_is_opened() -> None:
    with pair() as p, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        send_key, _ = p.session()
        index = p.b.plane.index_reserve(p.b.peer)
        p.b.plane.keypair_install(
            p.b.peer,
            send_key=bytes(32),
            receive_key=send_key,
            local_index=index,
            remote_index=1,
            birthdate=boottime(),
            is_initiator=False,
        )
        for counter in (0, 7, 3, 2**40, 2**40 - 8128):
            packet = p.udp(counter.to_bytes(8, "big"))
            nonce = struct.pack("<4xQ", counter)
            sealed = ChaCha20Poly1305(send_key).encrypt(nonce, packet + bytes(5), None)
            foreign.sendto(struct.pack("<IIQ", 4, index, counter) + sealed, p.b.udp[4].getsockname())
            assert p.b.receive() == packet
        foreign.sendto(struct.pack("<IIQ", 4, index, counter) + sealed, p.b.udp[4].getsockname())
        wait_for(lambda: p.b.record()["rx_replayed"] == 1, "the replay")


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


def test_staged_packets_are_bounded_and_the_oldest_go_first() -> None:
    with pair() as p:
        packets = [p.udp(struct.pack("!H", number)) for number in range(200)]
        for packet in packets:
            p.a.send(packet)
        wait_for(lambda: p.a.record()["staged"] + p.a.record()["tx_dropped"] == 200)
        assert p.a.record()["tx_dropped"] == 72
        p.session()
        p.a.plane.peer_flush(p.a.peer)
        assert [p.b.receive() for _ in range(128)] == packets[72:]


def test_dropping_staged_packets_forgets_them() -> None:
    with pair() as p:
        p.a.send(p.udp(b"old"))
        wait_for(lambda: p.a.record()["staged"] == 1)
        p.a.plane.peer_drop_staged(p.a.peer)
        assert (p.a.record()["staged"], p.a.record()["tx_dropped"]) == (0, 1)
        p.session()
        p.a.plane.peer_flush(p.a.peer)
        assert p.b.is_silent()


def test_want_session_is_not_raised_for_every_packet() -> None:
    with pair() as p:
        for _ in range(100):
            p.a.send(p.udp(b"x"))
        wait_for(lambda: p.a.record()["staged"] == 100)
        assert len(p.a.plane.events()) <= 2


def test_a_keepalive_without_a_session_wants_one() -> None:
    with pair() as p:
        p.a.plane.peer_flush(p.a.peer, keepalive=True)
        assert p.a.next_event(EventKind.WANT_SESSION).peer == p.a.peer


def test_a_keepalive_is_not_sent_where_packets_wait() -> None:
    with pair() as p:
        p.a.send(p.udp(b"x"))
        wait_for(lambda: p.a.record()["staged"] == 1)
        p.session()
        p.a.plane.peer_flush(p.a.peer, keepalive=True)
        p.b.receive()
        wait_for(lambda: p.a.record()["tx_packets"])
        assert p.a.record()["tx_packets"] == 1


def test_the_unanswered_stamps_follow_the_traffic() -> None:
    with pair() as p:
        p.session(confirm=True)
        p.a.send(p.udp(b"x"))
        p.b.receive()
        assert p.a.record()["tx_unanswered_ns"] > 0
        wait_for(lambda: p.b.record()["rx_unanswered_ns"])
        p.b.plane.peer_flush(p.b.peer, keepalive=True)
        wait_for(lambda: not p.a.record()["tx_unanswered_ns"], "the answer")
        assert p.b.record()["rx_unanswered_ns"] == 0
        assert p.a.record()["rx_unanswered_ns"] == 0  # a keepalive wants no answer


def test_padding_stops_at_the_mtu() -> None:
    with pair() as p:
        p.session()
        p.a.plane.set_mtu(1419)
        p.a.send(p.udp(bytes(1419 - 28)))
        p.b.receive()
        wait_for(lambda: p.a.record()["tx_bytes"] == 1419 + 32)
        p.a.plane.set_mtu(1420)
        p.a.send(p.udp(bytes(1419 - 28)))
        p.b.receive()
        wait_for(lambda: p.a.record()["tx_bytes"] == 1419 + 32 + 1420 + 32)


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_nobody_may_have_is_answered_with_unreachable(version: int) -> None:
    with pair() as p:
        source, destination = ("10.0.0.1", "10.9.9.9") if version == 4 else ("fd00::1", "fd99::9")
        p.a.send(udp_packet(source, destination, b"x"))
        error = p.a.receive()
        kind = error[20:22] if version == 4 else error[40:42]
        assert kind == (b"\x03\x01" if version == 4 else b"\x01\x03")
        assert p.a.plane.drops["tun_no_peer"] == 1


def test_icmp_can_be_switched_off() -> None:
    with pair(features=Feature.ALL & ~Feature.ICMP) as p:
        p.a.send(udp_packet("10.0.0.1", "10.9.9.9", b"x"))
        wait_for(lambda: p.a.plane.drops["tun_no_peer"] == 1)
        assert p.a.is_silent(0.05)


def test_a_peer_without_endpoint_is_unreachable() -> None:
    with pair() as p:
        stranger = p.a.plane.peer_add()
        p.a.plane.allowed_ip_insert(stranger, ip_network("10.0.0.7"))
        p.a.send(udp_packet("10.0.0.1", "10.0.0.7", b"x"))
        assert p.a.receive()[20:22] == b"\x03\x01"
        assert p.a.plane.drops["tun_no_endpoint"] == 1


def test_what_is_not_ip_is_dropped() -> None:
    with pair() as p:
        for garbage in (b"\0" * 40, b"\x45", b"\x45" + bytes(30), b"\x60" + bytes(30), b"\x95" + bytes(50)):
            p.a.send(garbage)
        wait_for(lambda: p.a.plane.drops["tun_malformed"] == 5)


@pytest.mark.parametrize(
    ("inner", "outer"), [(0x00, 0), (0x01, 1), (0x02, 2), (0x03, 2), (0xB8, 0), (0xB9, 1)]
)
def test_congestion_marks_cross_the_tunnel(inner: int, outer: int) -> None:
    """The mark, and no more of DS, is on the outer header; what a router does to that one comes in."""
    with pair() as p, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        p.session()
        wire.bind(("127.0.0.1", 0))
        wire.settimeout(5)
        wire.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        p.a.plane.peer_set_endpoint(p.a.peer, Endpoint(Address(LOOPBACK[4], wire.getsockname()[1])))
        p.a.send(p.udp(b"x", ds=inner))
        message, control, _, _ = wire.recvmsg(2000, 100)
        assert control[0][2][0] == outer
        wire.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 3)
        wire.sendto(message, p.b.udp[4].getsockname())
        assert p.b.receive() == p.udp(b"x", ds=inner | 3 if inner & 3 else inner)


def test_sockets_can_be_replaced_under_traffic() -> None:
    with pair() as p:
        p.session()
        for number in range(20):
            fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            fresh.bind(("127.0.0.1", 0))
            p.a.plane.set_sockets((fresh.fileno(), p.a.udp[6].fileno()))
            p.a.udp[4].close()
            p.a.udp[4] = fresh
            packet = p.udp(struct.pack("!H", number))
            p.a.send(packet)
            assert p.b.receive() == packet
        last = Address(ip_address("127.0.0.1"), fresh.getsockname()[1])
        wait_for(lambda: (at := p.b.plane.peer_endpoint(p.b.peer)) and at.remote == last, "roaming")


def test_a_refused_socket_leaves_the_old_ones_in_use() -> None:
    with pair() as p, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as wrong:
        wrong.bind(("::1", 0))
        with pytest.raises(TunError, match="family not supported"):
            p.a.plane.set_sockets((wrong.fileno(), -1))
        p.session()
        p.a.send(p.udp(b"x"))
        p.b.receive()


def test_a_removed_peer_neither_sends_nor_receives() -> None:
    with pair() as p:
        p.session(confirm=True)
        p.b.plane.peer_remove(p.b.peer)
        p.a.send(p.udp(b"x"))
        wait_for(lambda: p.b.plane.drops["data_index"] == 1)
        p.b.send(udp_packet("10.0.0.2", "10.0.0.1", b"x"))
        wait_for(lambda: p.b.plane.drops["tun_no_peer"] == 1)
        with pytest.raises(TunError):
            p.b.plane.peer_flush(p.b.peer)


def test_cleared_keypairs_are_gone() -> None:
    with pair() as p:
        p.session(confirm=True)
        p.b.plane.keypairs_clear(p.b.peer)
        assert p.b.record()["current_birthdate_ns"] == 0
        p.a.send(p.udp(b"x"))
        wait_for(lambda: p.b.plane.drops["data_index"] == 1)


def test_keypairs_that_stopped_sending_still_receive() -> None:
    with pair() as p:
        p.session(confirm=True)
        p.b.plane.keypairs_stop_sending(p.b.peer)
        p.a.send(p.udp(b"x"))
        p.b.receive()
        p.b.send(udp_packet("10.0.0.2", "10.0.0.1", b"x"))
        p.b.next_event(EventKind.WANT_SESSION)
        assert p.b.record()["staged"] == 1


def test_rekeying_under_traffic_loses_and_reorders_nothing() -> None:
    with pair() as p:
        p.session(confirm=True)
        packets = [p.udp(struct.pack("!I", number)) for number in range(500)]
        got = []
        for number, packet in enumerate(packets):
            if number % 50 == 49:
                p.session()
            p.a.send(packet)
            got.append(p.b.receive())
        assert got == packets
        assert p.a.record()["tx_dropped"] == 0


def test_a_peer_as_text_is_what_wg_prints() -> None:
    with pair() as p:
        plane = p.a.plane
        other = plane.peer_add()
        assert plane.peer_text(other) == ("", ())
        plane.peer_set_endpoint(other, Endpoint(Address(ip_address("192.0.2.1"), 65535)))
        texts = ["10.2.0.0/16", "0.0.0.0/0", "::/0", "fd02::/32", "2001:db8:1:2:3:4:5:6/128"]
        texts += ["::ffff:1.2.3.4/128", *(f"fd00:1111:2222:3333:{n:x}::/80" for n in range(1, 200))]
        for text in texts:
            plane.allowed_ip_insert(other, ip_network(text))
        assert plane.peer_text(other) == ("192.0.2.1:65535", tuple(texts))
        plane.peer_set_endpoint(other, Endpoint(Address(ip_address("fe80::1"), 5, 7)))
        assert plane.peer_text(other)[0] == "[fe80::1%7]:5"
        plane.peer_remove(other)
        with pytest.raises(TunError):
            plane.peer_text(other)


def test_the_allowed_ips_are_listed_in_order_and_move() -> None:
    with pair() as p:
        other = p.a.plane.peer_add()
        networks = [ip_network(text) for text in ("10.2.0.0/16", "0.0.0.0/0", "fd02::/32", "::/0")]
        for network in networks:
            p.a.plane.allowed_ip_insert(other, network)
        assert p.a.plane.allowed_ips(other) == networks
        assert p.a.plane.allowed_ip_lookup(ip_address("10.2.3.4")) == other
        p.a.plane.allowed_ip_insert(p.a.peer, networks[0])
        assert p.a.plane.allowed_ips(other) == networks[1:]
        assert p.a.plane.allowed_ip_lookup(ip_address("10.2.3.4")) == p.a.peer
        p.a.plane.allowed_ip_remove(other, networks[1])
        assert p.a.plane.allowed_ip_lookup(ip_address("99.1.1.1")) is None
        p.a.plane.allowed_ips_clear(other)
        assert p.a.plane.allowed_ips(other) == []


def test_many_peers_each_get_their_own_packets() -> None:
    with pair() as p:
        numbers = {}
        for last in range(300):
            peer = p.a.plane.peer_add()
            network = ip_network((int(ip_address("10.1.0.0")) + last, 32))
            p.a.plane.allowed_ip_insert(peer, network)
            p.a.plane.peer_set_endpoint(peer, p.b.endpoint(4))
            numbers[network.network_address] = peer
        for address, peer in numbers.items():
            assert p.a.plane.allowed_ip_lookup(address) == peer
            p.a.send(udp_packet("10.0.0.1", str(address), b"x"))
        wait_for(lambda: all(p.a.record(peer)["staged"] == 1 for peer in numbers.values()))


def test_a_number_given_out_again_starts_at_zero() -> None:
    with pair() as p:
        p.session(confirm=True)
        p.a.plane.peer_remove(p.a.peer)
        assert p.a.record()["in_use"] == 0
        assert p.a.plane.peer_add() == p.a.peer
        assert p.a.record()["tx_bytes"] == 0
        assert p.a.record()["in_use"] == 1


def test_an_index_is_only_good_for_its_peer() -> None:
    with pair() as p:
        index = p.a.plane.index_reserve(p.a.plane.peer_add())
        keys = {"send_key": bytes(32), "receive_key": bytes(32)}
        with pytest.raises(TunError, match="No such file"):
            p.a.plane.keypair_install(
                p.a.peer, **keys, local_index=index, remote_index=1, birthdate=1, is_initiator=True
            )
        p.a.plane.index_release(index)
        with pytest.raises(TunError):
            p.a.plane.index_release(index)


def test_a_closed_data_plane_says_so() -> None:
    with pair() as p:
        plane = p.a.plane
        plane.close()
        plane.close()
        with pytest.raises(DeviceGone):
            plane.peer_add()
        with pytest.raises(DeviceGone):
            _ = plane.records


def test_the_records_cannot_be_written_from_python() -> None:
    with pair() as p, pytest.raises(ValueError, match="read-only"):
        p.a.plane.records["tx_bytes"][0] = 1


@pytest.mark.parametrize("change", [{"max_peers": 0}, {"max_peers": 65537}, {"reject_after_time": 0}])
def test_limits_out_of_range_are_refused(change: dict[str, int]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, pytest.raises(TunError, match="Invalid argument"):
        DataPlane([(ours.fileno(), ours.fileno())], has_vnet_header=False, mtu=1420, **change)
    with pytest.raises(DeviceGone):
        DataPlane([(-1, -1)], has_vnet_header=False, mtu=1420)


def test_a_send_that_fails_has_used_its_counter() -> None:
    with pair() as p:
        p.session()
        p.a.plane.peer_set_endpoint(p.a.peer, Endpoint(Address(ip_address("255.255.255.255"), 9)))  # EACCES
        p.a.send(p.udp(b"refused"))
        wait_for(lambda: sum(p.a.plane.drops.values()), "the refusal")
        p.a.plane.peer_set_endpoint(p.a.peer, p.b.endpoint(4))
        p.a.send(p.udp(b"sent"))
        assert p.b.receive() == p.udp(b"sent")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.bind(("127.0.0.1", 0))
            wire.settimeout(5)
            p.a.plane.peer_set_endpoint(p.a.peer, Endpoint(Address(LOOPBACK[4], wire.getsockname()[1])))
            p.a.send(p.udp(b"third"))
            assert int.from_bytes(wire.recv(2000)[8:16], "little") == 2
