"""Sessions are renewed under load and nobody notices.

    h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2

The subject's timings are shortened (a renewal every 3 s); the other keeps the paper's.
"""

import time

from capture import Capture
from lab import wait_until
from traffic import Echo, Numbered, lost_by_us
from tunnel import FAST_REKEY, tunnel
from wgpeer import Peer, WgpyPeer

RENEWALS = 3


def renew_under_load(other: type[Peer], *load: str) -> None:
    """Several renewals while iperf3 sends `load` and a numbered stream is echoed."""
    with tunnel(other, environment=FAST_REKEY) as t, Capture(t.h1, "eth0", "udp") as wire:
        t.subject.ping(t.other.address4)
        server = t.h2.spawn("iperf3", "-s", "-1", "-B", t.other.address4)
        wait_until(lambda: t.h2.run("ss", "-Hltn", "sport = :5201"), 5, "iperf3 to listen")
        client = t.h1.spawn("iperf3", "-c", t.other.address4, "-t", "11", *load)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4) as stream:
            wait_until(lambda: len(wire.messages(2)) > RENEWALS, 20, "renewals")
        assert client.wait(20) == 0, client.output()
        assert server.wait(5) == 0, server.output()
        assert lost_by_us(stream, t.other) == []
        assert stream.duplicates == 0
        print(f"{t.other.name}: longest gap {stream.longest_gap() * 1000:.1f} ms, {len(stream.sent)} sent")


def test_renewal_under_load_loses_nothing(other: type[Peer]) -> None:
    renew_under_load(other, "-u", "-l", "1300", "-b", "20M")  # what an unenlarged socket buffer holds


def test_renewal_between_two_of_ours_loses_nothing() -> None:
    renew_under_load(WgpyPeer, "-b", "500M")


def test_new_session_uses_new_indices_and_counts_from_zero(other: type[Peer]) -> None:
    with (
        tunnel(other, environment=FAST_REKEY) as t,
        Capture(t.h1, "eth0", "udp and src host 10.99.0.1") as wire,
    ):
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=100):
            wait_until(lambda: len(wire.messages(1)) > RENEWALS, 25, "renewals")
        data = [packet.udp_payload for packet in wire.messages(4)]
        counters: dict[bytes, list[int]] = {}
        for message in data:
            counters.setdefault(message[4:8], []).append(int.from_bytes(message[8:16], "little"))
        assert len(counters) > RENEWALS - 1
        for used in counters.values():
            assert len(set(used)) == len(used)
            assert min(used) == 0


def test_idle_tunnel_is_silent_and_wakes_up(other: type[Peer]) -> None:
    """No keepalive is configured: after the last passive one nothing is sent, not even a handshake."""
    with tunnel(other, environment=FAST_REKEY) as t, Capture(t.h1, "eth0", "udp") as wire:
        t.subject.ping(t.other.address4)

        def quiet() -> bool:
            packets = wire.packets()
            return bool(packets) and time.time() - packets[-1].time > 6

        wait_until(quiet, 30, "six seconds without a datagram")
        t.subject.ping(t.other.address4, within=5)
