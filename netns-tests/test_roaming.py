"""Peers that move keep their session: addresses and ports change outside, nothing inside.

h1: subject 10.7.0.1 ═ 10.99.0.1 eth0 ─── eth0 10.99.0.2, later .3 ═ 10.7.0.2 other: h2
                       10.98.0.1 eth1 ─── eth1 10.98.0.2
"""

import socket

import pytest
from capture import Capture
from lab import connect, wait_until
from traffic import Echo, Numbered
from tunnel import Tunnel, tunnel
from wgpeer import PORT, Peer


def handshakes(t: Tunnel) -> int:
    return t.subject.seen(t.other).latest_handshake


@pytest.mark.parametrize("outside", [4, 6], ids=["ipv4", "ipv6"])
def test_endpoint_follows_a_peer_that_changes_its_address(adjustable: type[Peer], outside: int) -> None:
    with tunnel(adjustable, outside=outside) as t:
        t.subject.ping(t.other.address4)
        before = handshakes(t)
        old, new = ("10.99.0.2/24", "10.99.0.3/24") if outside == 4 else ("fd99::2/64", "fd99::3/64")
        t.h2.add_address("eth0", new)
        t.h2.ip(f"address del {old} dev eth0")
        if outside == 4:  # deleting the first address of a subnet takes the others along
            t.h2.run("ip", "address", "replace", new, "dev", "eth0")
        t.other.wg("peer", t.subject.keys.public, "endpoint", t.subject_endpoint)  # forgets its old source
        t.other.ping(t.subject.address4)
        shown = new.split("/")[0] if outside == 4 else f"[{new.split('/')[0]}]"
        assert t.subject.seen(t.other).endpoint == f"{shown}:{PORT}"
        t.subject.ping(t.other.address4, within=3)
        assert handshakes(t) - before < 30


def test_endpoint_follows_a_port_changed_by_nat(other: type[Peer]) -> None:
    """conntrack forgets, the masquerade picks another port: the next datagram moves the endpoint."""
    with tunnel(other) as t:
        t.h2.nft("table ip nat {\n chain post {\n type nat hook postrouting priority 100;\n}\n}\n")
        rule = "add rule ip nat post udp dport 51820 masquerade to :20000-60000 random"
        seen = set()
        for _ in range(4):
            t.h2.nft(f"flush chain ip nat post\n{rule}\n")
            t.h2.run("conntrack", "-F")
            t.other.ping(t.subject.address4)
            seen.add(t.subject.seen(t.other).endpoint)
        assert len(seen) > 1
        t.subject.ping(t.other.address4, within=3)


def test_own_address_may_change_under_traffic(adjustable: type[Peer]) -> None:
    """The cached source address is gone: we must notice at the send and let the kernel choose again."""
    with tunnel(adjustable) as t:
        t.subject.ping(t.other.address4)
        t.other.ping(t.subject.address4)  # now a source is cached
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=50) as stream:
            wait_until(lambda: len(stream.came_back) > 10, 5, "traffic")
            t.h1.add_address("eth0", "10.99.0.9/24")
            t.h1.ip("address del 10.99.0.1/24 dev eth0")
            t.h1.run("ip", "address", "replace", "10.99.0.9/24", "dev", "eth0")
            moved = len(stream.sent)
            wait_until(lambda: any(n > moved for n in stream.came_back), 3, "traffic from the new address")
        assert t.other.seen(t.subject).endpoint == f"10.99.0.9:{PORT}"


def test_answers_leave_from_the_address_that_was_asked(adjustable: type[Peer]) -> None:
    """A host with two ways: the peer asked eth1's address, though the route back prefers eth0's."""
    with tunnel(adjustable, initiator="other", both=False) as t:
        connect(t.h1, "eth1", t.h2, "eth1")
        t.h1.add_address("eth1", "10.98.0.1/24")
        t.h2.add_address("eth1", "10.98.0.2/24")
        t.h1.add_address("eth1", "10.97.0.1/32")
        t.h2.ip("route add 10.97.0.1/32 via 10.98.0.1")
        t.other.wg("peer", t.subject.keys.public, "endpoint", f"10.97.0.1:{PORT}")
        t.other.ping(t.subject.address4)
        t.subject.ping(t.other.address4, within=3)
        assert t.other.seen(t.subject).endpoint == f"10.97.0.1:{PORT}"


def test_stranger_moves_no_endpoint(other: type[Peer]) -> None:
    """A replayed or garbled datagram from elsewhere is not authenticated and changes nothing."""
    with tunnel(other) as t, Capture(t.h1, "eth0", "udp and dst host 10.99.0.1") as wire:
        t.subject.ping(t.other.address4)
        data = wait_until(lambda: wire.messages(4), 5, "a data message")[-1].udp_payload
        with t.h2.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(data, ("10.99.0.1", PORT))  # replayed
            stranger.sendto(data[:20] + bytes(len(data) - 20), ("10.99.0.1", PORT))
        t.subject.ping(t.other.address4, within=3)
        assert t.subject.seen(t.other).endpoint == t.other_endpoint
