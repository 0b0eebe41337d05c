"""Stock wg-quick with our device process: WG_QUICK_USERSPACE_IMPLEMENTATION=wgpyd.

h1 wg0 10.0.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.0.0.2 wg0 h2 (wireguard-go)
"""

from pathlib import Path

import pytest
from lab import Namespace, wait_until
from quickhost import DEVICES, QuickHost, path_with
from wgpeer import Keys, Remote, WireguardGoPeer, wgpy_program

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif("wgpy" not in DEVICES, reason="wgpyd is not here"),
]


def test_stock_wg_quick_brings_a_tunnel_up_and_down(
    hosts: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    h1, h2 = hosts
    keys = Keys.generate()
    peer = WireguardGoPeer(h2, ("10.0.0.2/24",))
    peer.start()
    peer.configure([Remote(keys.public, ["10.0.0.1"])])
    quick = QuickHost(h1, tmp_path)
    path = quick.write(
        f"[Interface]\nPrivateKey = {keys.private}\nAddress = 10.0.0.1/24\n"
        f"[Peer]\nPublicKey = {peer.keys.public}\nEndpoint = 10.99.0.2:51820\nAllowedIPs = 10.0.0.0/24\n"
    )
    before = quick.snapshot()
    environment = {
        "WG_QUICK_USERSPACE_IMPLEMENTATION": "wgpyd",
        "PATH": path_with(wgpy_program("wgpyd").parent),
    }
    h1.run("wg-quick", "up", path, env=environment)
    h1.run("ping", "-n", "-c3", "-i0.2", "-W5", "10.0.0.2")
    assert peer.seen(keys.public).received > 3 * 84
    h1.run("wg-quick", "down", path, env=environment)
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before
