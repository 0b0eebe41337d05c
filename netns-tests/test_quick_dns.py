"""Who is told about name servers by `up`, and told again by `down`.

h1 10.99.0.1 ── eth0 ── eth0 ── 10.99.0.2 h2
"""

from pathlib import Path

import pytest
from lab import PROJECT, Namespace
from quickhost import DEVICE, DEVICES, WGPY, QuickHost, fake, path_with

pytestmark = pytest.mark.netns

TEXT = "[Interface]\nAddress = 10.0.0.1/24\nDNS = 10.0.0.53, example.org\nDNS = fd00::53\n"
RESOLVED = """
import signal, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/systemd/resolve/io.systemd.Resolve")
listener.listen()
signal.pause()
"""


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> QuickHost:
    return QuickHost(hosts[0], tmp_path, DEVICES[DEVICE])


def recording(quick: QuickHost, name: str, log: Path) -> dict[str, str]:
    """A PATH on which `name` writes down how it was called and what it read."""
    script = f'echo "{name} $*" >> {log}\n[ -t 0 ] || cat >> {log}'
    return {"PATH": path_with(fake(quick.directory / "bin", name, script))}


def test_file_is_replaced_and_brought_back(quick: QuickHost) -> None:
    path = quick.write(TEXT)
    before = quick.snapshot()
    quick.up(path)
    lines = quick.host.run("cat", "/etc/resolv.conf").splitlines()
    assert lines[1:] == ["nameserver 10.0.0.53", "nameserver fd00::53", "search example.org"]
    quick.down(path)
    assert quick.snapshot() == before


def test_file_that_somebody_else_wrote_meanwhile_is_left_alone(quick: QuickHost) -> None:
    path = quick.write(TEXT)
    quick.up(path)
    quick.host.run("sh", "-c", "echo nameserver 192.0.2.9 > /etc/resolv.conf")
    quick.down(path)
    assert quick.host.run("cat", "/etc/resolv.conf") == "nameserver 192.0.2.9\n"


def test_file_that_cannot_be_written_stops_up_and_nothing_stays(quick: QuickHost) -> None:
    quick.host.run("mount", "-o", "remount,ro,bind", "/etc/resolv.conf")
    path = quick.write(TEXT)
    before = quick.snapshot()
    refused = quick.wgpy("up", path)
    assert refused.returncode == 1
    assert "/etc/resolv.conf: Read-only file system" in refused.stderr
    assert quick.snapshot() == before


def test_resolvconf_hears_what_wg_quick_tells_it(quick: QuickHost, tmp_path: Path) -> None:
    path = quick.write(TEXT)
    logs = []
    for command in (list(WGPY), ["wg-quick"]):
        log = tmp_path / command[-1]
        environment = recording(quick, "resolvconf", log)
        environment |= {"WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go", "PYTHONPATH": str(PROJECT)}
        environment |= quick.environment
        before = quick.host.run("cat", "/etc/resolv.conf")
        for verb in ("up", "down"):
            quick.host.run(*command, verb, path, env=environment)
        assert quick.host.run("cat", "/etc/resolv.conf") == before
        logs.append(log.read_text().splitlines())
    ours, theirs = logs
    assert ours == [
        "resolvconf -a wg0 -m 0 -x",
        "nameserver 10.0.0.53",
        "nameserver fd00::53",
        "search example.org",
        "resolvconf -d wg0 -f",
    ]
    assert ours == theirs[: len(ours)]


def test_resolvconf_that_fails_stops_up_and_nothing_stays(quick: QuickHost) -> None:
    path = quick.write(TEXT)
    environment = {"PATH": path_with(fake(quick.directory / "bin", "resolvconf", "echo no >&2; [ $1 = -d ]"))}
    before = quick.snapshot()
    refused = quick.wgpy("up", path, **environment)
    assert refused.returncode == 1
    assert refused.stderr.endswith("exit 1: no\n")
    assert quick.snapshot() == before


def test_running_resolved_is_told_when_there_is_no_resolvconf(quick: QuickHost, tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = recording(quick, "resolvectl", log)
    quick.host.run("mkdir", "-p", "/run/systemd/resolve")
    path = quick.write(TEXT)
    resolved = quick.host.spawn("python3", "-c", RESOLVED)
    quick.host.run("sh", "-c", "until [ -e /run/systemd/resolve/io.systemd.Resolve ]; do sleep 0.05; done")
    before = quick.snapshot()
    quick.up(path, **environment)
    assert quick.wgpy("down", path, **environment).returncode == 0
    assert quick.snapshot() == before
    resolved.kill()
    assert log.read_text().splitlines() == [
        "resolvectl dns wg0 10.0.0.53 fd00::53",
        "resolvectl domain wg0 example.org ~.",
        "resolvectl default-route wg0 true",
        "resolvectl revert wg0",
    ]


def test_resolvconf_that_is_resolvectl_is_not_asked_while_resolved_is_not_running(
    quick: QuickHost, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    environment = recording(quick, "resolvectl", log)
    (quick.directory / "bin" / "resolvconf").symlink_to("resolvectl")
    path = quick.write(TEXT)
    quick.up(path, **environment)
    assert not log.exists()
    assert "nameserver 10.0.0.53" in quick.host.run("cat", "/etc/resolv.conf")
    quick.down(path)
