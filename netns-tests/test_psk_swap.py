"""A preshared key changed while packets flow: a new session before the old one goes, and nothing is lost.

One that only one end has: no session at all.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
"""

import time

import pytest
from traffic import Echo, Numbered, lost_by_us
from tunnel import Tunnel, tunnel
from wgpeer import Peer, Remote, WgpyPeer, preshared_key

SWAPS = 3


def set_key(t: Tunnel, which: str, key: str) -> None:
    peer, remote = (t.subject, t.other) if which == "subject" else (t.other, t.subject)
    peer.wg("peer", remote.keys.public, "preshared-key", "/dev/stdin", stdin=key)


def swap_under_traffic(other: type[Peer], first: str, lag: float) -> None:
    second = "other" if first == "subject" else "subject"
    with tunnel(other, preshared=True) as t:
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=1000) as stream:
            for _ in range(SWAPS):
                key = preshared_key()
                swapped = int(time.time())
                set_key(t, first, key)
                time.sleep(lag)  # the two ends never switch at once
                set_key(t, second, key)
                time.sleep(2.5)
                assert t.subject.seen(t.other).latest_handshake >= swapped
        assert lost_by_us(stream, t.other) == []
        assert stream.duplicates == 0
        print(f"{other.name}: longest gap {stream.longest_gap() * 1000:.1f} ms, {len(stream.sent)} sent")


@pytest.mark.parametrize("lag", [0.0, 0.3])
@pytest.mark.parametrize("first", ["subject", "other"])
def test_swap_between_two_of_ours_loses_nothing(first: str, lag: float) -> None:
    swap_under_traffic(WgpyPeer, first, lag)


@pytest.mark.parametrize("first", ["subject", "other"])
def test_swap_with_another_implementation_loses_nothing(adjustable: type[Peer], first: str) -> None:
    swap_under_traffic(adjustable, first, 0.3)


def test_removing_the_key_on_both_sides_is_a_swap_too(adjustable: type[Peer]) -> None:
    with tunnel(adjustable, preshared=True) as t:
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4) as stream:
            for which in ("subject", "other"):
                set_key(t, which, "A" * 43 + "=")
            time.sleep(3)
        assert lost_by_us(stream, t.other) == []


@pytest.mark.parametrize("keyed", ["subject", "other"])
def test_a_key_at_one_end_alone_lets_no_session_stand(other: type[Peer], keyed: str) -> None:
    """From the first second on: each end is told of the other, with the key or without, and both initiate."""
    with tunnel(other) as t:
        for peer, remote, endpoint in (
            (t.subject, t.other, t.other_endpoint),
            (t.other, t.subject, t.subject_endpoint),
        ):
            addresses = [address.split("/")[0] for address in remote.addresses]
            key = preshared_key() if peer is getattr(t, keyed) else None
            peer.configure([Remote(remote.keys.public, addresses, endpoint, key)])
        assert not t.h1.ok("ping", "-c3", "-W1", t.other.address4)
        assert not t.h2.ok("ping", "-c3", "-W1", t.subject.address4)
        assert t.subject.seen(t.other).latest_handshake == 0
