"""A peer that is taken away is gone at once, and back as soon as it is configured again.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
"""

import pytest
from traffic import Echo, Numbered, lost_by_us
from tunnel import Tunnel, tunnel
from wgpeer import Keys, Peer, Remote, preshared_key


def add_again(t: Tunnel, endpoint: bool = True) -> None:
    words = ["peer", t.other.keys.public, "allowed-ips", "10.7.0.2/32,fd07::2/128"]
    t.subject.wg(*words, *(("endpoint", t.other_endpoint) if endpoint else ()))


def test_removed_peer_hears_and_says_nothing(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        t.subject.wg("peer", t.other.keys.public, "remove")
        assert not t.h1.ok("ping", "-c1", "-W1", t.other.address4)
        assert not t.h2.ok("ping", "-c1", "-W1", t.subject.address4)
        with pytest.raises(LookupError):
            t.subject.seen(t.other)


def test_readded_peer_answers_again_and_starts_from_zero(other: type[Peer]) -> None:
    with tunnel(other) as t:
        for _ in range(3):
            t.subject.ping(t.other.address4)
            t.subject.wg("peer", t.other.keys.public, "remove")
            add_again(t)
            seen = t.subject.seen(t.other)
            assert (seen.latest_handshake, seen.received, seen.sent) == (0, 0, 0)
        t.subject.ping(t.other.address4)
        t.other.ping(t.subject.address4)


def test_other_end_comes_back_by_itself(other: type[Peer]) -> None:
    """Re-added without endpoint: the other end must notice silence and shake hands anew (15 s)."""
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        t.subject.wg("peer", t.other.keys.public, "remove")
        add_again(t, endpoint=False)
        t.other.ping(t.subject.address4, within=30)


def test_removing_one_peer_disturbs_no_other(other: type[Peer]) -> None:
    with tunnel(other) as t:
        strangers = [Keys.generate().public for _ in range(50)]
        for number, public in enumerate(strangers):
            t.subject.wg("peer", public, "allowed-ips", f"10.8.0.{number}/32")
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=300) as stream:
            for public in strangers:
                t.subject.wg("peer", public, "remove")
        assert lost_by_us(stream, t.other) == []


def test_prefix_moved_away_and_back_needs_no_handshake(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        before = t.subject.seen(t.other).latest_handshake
        stranger = Keys.generate().public
        t.subject.wg("peer", stranger, "allowed-ips", "10.7.0.2/32")
        assert not t.h1.ok("ping", "-c1", "-W1", t.other.address4)
        t.subject.wg("peer", t.other.keys.public, "allowed-ips", "10.7.0.2/32,fd07::2/128")
        t.subject.ping(t.other.address4, within=2)
        assert t.subject.seen(t.other).latest_handshake == before


def test_changed_private_key_keeps_no_old_session(adjustable: type[Peer]) -> None:
    with tunnel(adjustable) as t:
        t.subject.ping(t.other.address4)
        t.subject.keys = Keys.generate()
        t.subject.wg("private-key", "/dev/stdin", stdin=t.subject.keys.private + "\n")
        t.other.configure([Remote(t.subject.keys.public, ["10.7.0.1"], t.subject_endpoint)])
        t.subject.ping(t.other.address4)


def test_changed_preshared_key_leaves_the_session_alone(adjustable: type[Peer]) -> None:
    with tunnel(adjustable) as t:
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=200) as stream:
            for _ in range(3):
                key = preshared_key() + "\n"
                t.other.wg("peer", t.subject.keys.public, "preshared-key", "/dev/stdin", stdin=key)
                t.subject.wg("peer", t.other.keys.public, "preshared-key", "/dev/stdin", stdin=key)
        assert lost_by_us(stream, t.other) == []
