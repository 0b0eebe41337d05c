"""The machine fails: no space, no descriptors, a port in other hands. The tunnel goes on, or says why.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
"""

import socket
import subprocess
import time
from pathlib import Path

import pytest
from lab import Namespace, wait_until
from quickhost import PEER_KEY, PRIVATE_KEY, QuickHost
from tunnel import tunnel
from wgpeer import PORT, SUBJECT, WgpyPeer, WireguardGoPeer

pytestmark = [pytest.mark.netns, pytest.mark.skipif(SUBJECT is not WgpyPeer, reason="about ourselves")]

SMALL = Path("/run/small")
CONFIG = (
    f"[Interface]\nPrivateKey = {PRIVATE_KEY}\nAddress = 10.7.0.1/24\nSaveConfig = true\n"
    f"[Peer]\nPublicKey = {PEER_KEY}\nAllowedIPs = 10.7.0.2/32\n"
)


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> QuickHost:
    """A host with a file system that holds the configuration and not a byte more."""
    h1, _ = hosts
    h1.run("sh", "-c", f"mkdir {SMALL} && mount -t tmpfs -o size=64k tmpfs {SMALL}")
    h1.run("sh", "-c", f"umask 077; cat > {SMALL}/wg0.conf", stdin=CONFIG)
    h1.result("sh", "-c", f"cat /dev/zero > {SMALL}/filler")
    return QuickHost(h1, tmp_path)


def files(quick: QuickHost) -> list[str]:
    return quick.host.run("ls", "-A", SMALL).split()


def test_a_full_disk_costs_no_configuration_and_no_tunnel(quick: QuickHost) -> None:
    path = SMALL / "wg0.conf"
    before = quick.snapshot()
    quick.up(path)
    for word in ("save", "down"):
        refused = quick.wgpy(word, path)
        assert refused.returncode == 1
        assert "No space left on device" in refused.stderr.splitlines()[-1]
        assert quick.host.run("cat", path) == CONFIG
        assert files(quick) == ["filler", "wg0.conf"]
        assert quick.host.ok("wg", "show", "wg0")
    quick.host.run("rm", SMALL / "filler")
    quick.down(path)
    assert "ListenPort" in quick.host.run("cat", path)
    assert quick.snapshot() == before


def test_keys_are_not_half_written_on_a_full_disk(quick: QuickHost) -> None:
    done = quick.wgpy("rosenpass", "gen-keys", "-s", SMALL / "pqsk", "-p", SMALL / "pqpk")
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert files(quick) == ["filler", "wg0.conf"]


def test_without_descriptors_packets_flow_on_and_the_control_socket_comes_back() -> None:
    with tunnel(WireguardGoPeer) as t:
        t.subject.ping(t.other.address4)
        assert t.subject.process is not None
        pid = t.subject.process.pid
        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        limit(pid, open_now)
        busy = t.subject.process.cpu_seconds()
        waiting = [asking(t.h1) for _ in range(3)]
        time.sleep(1)  # what is refused must not be tried without end
        assert t.subject.process.cpu_seconds() - busy < 0.5
        t.other.ping(t.subject.address4, within=3)
        for client in waiting:
            client.close()
        limit(pid, 4096)
        wait_until(lambda: t.h1.ok("wg", "show", "wg0"), 10, "the control socket")
        t.subject.ping(t.other.address4)


def limit(pid: int, descriptors: int) -> None:
    """Of a process, by its number on the host."""
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={descriptors}:4096"], check=True)


def asking(host: Namespace) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.setblocking(False)
    client.connect(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")
    return client


def test_a_port_stolen_while_the_interface_is_down_is_taken_as_soon_as_it_is_free() -> None:
    with tunnel(WireguardGoPeer) as t:
        t.subject.ping(t.other.address4)
        t.h1.ip("link set dev wg0 down")
        wait_until(lambda: str(PORT) not in t.h1.run("ss", "-lun"), 5, "the port to be let go")
        with t.h1.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
            thief.bind(("0.0.0.0", PORT))
            t.h1.ip("link set dev wg0 up")
            assert not t.h1.ok("ping", "-n", "-c1", "-W1", t.other.address4)
            assert t.subject.process is not None
            assert t.subject.process.running
        t.subject.ping(t.other.address4)
        t.other.ping(t.subject.address4)


def test_the_tun_removed_under_a_tunnel_that_up_made_leaves_no_route(quick: QuickHost) -> None:
    quick.host.run("rm", SMALL / "filler")
    path, before = SMALL / "wg0.conf", quick.snapshot()
    quick.host.run("sed", "-i", "s#10.7.0.2/32#0.0.0.0/0, ::/0#; /SaveConfig/d", path)
    quick.up(path)
    quick.host.ip("link delete dev wg0")
    wait_until(lambda: not quick.host.ok("pgrep", "-f", "wgpy.daemon"), 10, "the device process to end")
    quick.wgpy("down", path)
    wait_until(lambda: quick.snapshot() == before, 5, lambda: "\n".join(quick.snapshot()))
