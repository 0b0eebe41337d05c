"""Two hosts reach each other through the tunnel, whoever begins and whatever is outside.

h1: subject 10.7.0.1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ 10.7.0.2 other: h2
"""

import pytest
from capture import Capture
from lab import wait_until
from tunnel import tunnel
from wgpeer import BoringtunPeer, Peer, WgpyPeer


@pytest.mark.parametrize("preshared", [False, True], ids=["no-psk", "psk"])
@pytest.mark.parametrize("initiator", ["subject", "other"])
@pytest.mark.parametrize("outside", [4, 6], ids=["ipv4", "ipv6"])
def test_inner_ipv4_and_ipv6_answer(other: type[Peer], outside: int, initiator: str, preshared: bool) -> None:
    with tunnel(other, outside=outside, initiator=initiator, preshared=preshared, both=False) as t:
        begins, answers = (t.subject, t.other) if initiator == "subject" else (t.other, t.subject)
        begins.ping(answers.address4)
        begins.ping(answers.address6)
        answers.ping(begins.address4)
        assert t.subject.seen(t.other).latest_handshake > 0
        assert t.subject.seen(t.other).endpoint == t.other_endpoint


def test_two_of_ours_answer_each_other() -> None:
    with tunnel(WgpyPeer, subject=WgpyPeer, preshared=True) as t:
        t.subject.ping(t.other.address4)
        t.other.ping(t.subject.address6)


def test_first_packet_already_arrives(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.host.run("ping", "-c1", "-W4", t.other.address4)


def test_wrong_preshared_key_means_no_session(other: type[Peer]) -> None:
    with tunnel(other, preshared=True) as t:
        t.other.configure([])
        t.introduce(t.other)
        assert not t.h1.ok("ping", "-c1", "-W2", t.other.address4)
        assert t.subject.seen(t.other).latest_handshake == 0


def test_byte_counters_agree_with_the_other_end(other: type[Peer]) -> None:
    if other is BoringtunPeer:
        pytest.skip("boringtun counts inner bytes only")
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        t.h1.run("ping", "-c20", "-i0.01", "-s1000", t.other.address4)

        def agree() -> bool:
            mine, its = t.subject.seen(t.other), t.other.seen(t.subject)
            return mine.sent == its.received and mine.received == its.sent and mine.sent > 20_000

        wait_until(agree, 5, lambda: f"{t.subject.seen(t.other)} {t.other.seen(t.subject)}")


def test_wire_carries_only_padded_wireguard_messages(other: type[Peer]) -> None:
    with tunnel(other) as t, Capture(t.h1, "eth0", "udp and src host 10.99.0.1") as wire:
        t.subject.ping(t.other.address4)
        for size in (1, 17, 1000):
            t.h1.run("ping", "-c1", "-s", size, t.other.address4)
        data = wait_until(lambda: len(wire.messages(4)) >= 4 and wire.messages(4), 5, "data on the wire")
        assert all(p.udp_payload[:4] in (b"\1\0\0\0", b"\4\0\0\0") for p in wire.packets())
        assert all(len(p.udp_payload) % 16 == 0 for p in data)
        handshake_dscp = {p.tos for p in wire.messages(1)}
        assert handshake_dscp == {0x88}
