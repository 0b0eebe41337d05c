"""A full tunnel carries everything but itself, under strict reverse-path filtering too.

h1 wg0 10.0.0.1, fd00::1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ 10.0.0.2, fd00::2 wg0 h2
                                                            lo: 203.0.113.1, 2001:db8:1::1 ("the internet")
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Namespace
from quickhost import DEVICE, DEVICES, QuickHost
from wgpeer import Keys, Remote, WireguardGoPeer

pytestmark = pytest.mark.netns

KEYS = Keys.generate()
INTERNET = ("203.0.113.1", "2001:db8:1::1")
ENDPOINTS = {4: "10.99.0.2:51820", 6: "[fd99::2]:51820"}


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> Iterator[QuickHost]:
    h1, h2 = hosts
    h1.ip("route add default via 10.99.0.2")
    h1.ip("-6 route add default via fd99::2")
    h2.add_address("lo", *(f"{address}/{128 if ':' in address else 32}" for address in INTERNET))
    return QuickHost(h1, tmp_path, DEVICES[DEVICE])


def gateway(h2: Namespace) -> WireguardGoPeer:
    peer = WireguardGoPeer(h2, ("10.0.0.2/24", "fd00::2/64"))
    peer.start()
    peer.configure([Remote(KEYS.public, ["10.0.0.1", "fd00::1"])])
    return peer


def text(peer: WireguardGoPeer, version: int) -> str:
    return (
        f"[Interface]\nPrivateKey = {KEYS.private}\nAddress = 10.0.0.1/24, fd00::1/64\n"
        f"[Peer]\nPublicKey = {peer.keys.public}\nEndpoint = {ENDPOINTS[version]}\n"
        "AllowedIPs = 0.0.0.0/0, ::/0\n"
    )


@pytest.mark.parametrize("outside", [4, 6])
@pytest.mark.parametrize("rp_filter", [1, 0])
def test_everything_goes_through_the_tunnel_but_the_tunnel(
    quick: QuickHost, hosts: tuple[Namespace, Namespace], outside: int, rp_filter: int
) -> None:
    h1, h2 = hosts
    for name in ("all", "default", "eth0"):
        h1.sysctl(f"net.ipv4.conf.{name}.rp_filter", rp_filter)
    peer = gateway(h2)
    path = quick.write(text(peer, outside))
    before = quick.snapshot()
    quick.up(path)
    for address in INTERNET:
        h1.run("ping", "-n", "-c3", "-i0.2", "-W5", address)
        assert "dev wg0" in h1.ip(f"route get {address}")
    # What is better than a default route stays where it was.
    assert "dev eth0" in h1.ip("route get 10.99.0.2")
    seen = peer.seen(KEYS.public)
    assert seen.received > 6 * 84
    assert seen.endpoint.startswith("10.99.0.1:" if outside == 4 else "[fd99::1]:")
    quick.down(path)
    assert quick.snapshot() == before
    h1.run("ping", "-n", "-c1", "-W5", INTERNET[0])


def test_neighbour_cannot_reach_the_tunnel_address_from_outside(
    quick: QuickHost, hosts: tuple[Namespace, Namespace]
) -> None:
    h1, h2 = hosts
    path = quick.write(text(gateway(h2), 4))
    h2.run("wg", "set", "wg0", "peer", KEYS.public, "remove")
    h2.ip("route delete 10.0.0.0/24")
    h2.ip("route add 10.0.0.1/32 via 10.99.0.1 dev eth0")
    h1.ip("address add 10.0.0.1/32 dev lo")
    assert h2.ok("ping", "-n", "-c1", "-W2", "10.0.0.1")
    h1.ip("address delete 10.0.0.1/32 dev lo")
    quick.up(path)
    assert not h2.ok("ping", "-n", "-c2", "-i0.2", "-W1", "10.0.0.1")
