"""`wgpy up -f`: the parent in the foreground, signals, systemd's words, descriptors handed in.

h1 10.99.0.1 ── eth0 ── eth0 ── 10.99.0.2 h2
"""

import re
import signal
import sys
from pathlib import Path

import pytest
from lab import Namespace, Process, wait_until
from quickhost import DEVICE, DEVICES, OTHER_PEER_KEY, PEER_KEY, PRIVATE_KEY, WGPY, QuickHost

pytestmark = pytest.mark.netns

PEER = f"[Peer]\nPublicKey = {PEER_KEY}\nEndpoint = 10.99.0.2:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
FULL = (
    f"[Interface]\nAddress = 10.0.0.1/24, fd00::1/64\nDNS = 10.0.0.53\nPreDown = ip link show dev %i\n{PEER}"
)

# Passes on what arrives at a notification socket, then runs a command under it.
NOTIFIED = """
import os, socket, subprocess, sys, threading
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/run/notify")
os.environ["NOTIFY_SOCKET"] = "/run/notify"
def listen():
    while True:
        print("NOTIFIED", listener.recv(100).decode(), flush=True)
threading.Thread(target=listen, daemon=True).start()
os.execv(sys.argv[1], sys.argv[1:]) if os.fork() else listen()
"""


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> QuickHost:
    h1, _ = hosts
    return QuickHost(h1, tmp_path, DEVICES[DEVICE])


def stands(quick: QuickHost, process: Process) -> None:
    def complete() -> bool:
        assert process.running, process.report()
        return quick.host.ok("grep", "-q", "complete", "/run/wgpy/wg0.journal")

    wait_until(complete, 15, process.report)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_takes_it_down(quick: QuickHost, number: signal.Signals) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    process = quick.host.spawn(*WGPY, "up", "-f", path, env=quick.environment)
    stands(quick, process)
    process.signal(number)
    assert process.wait(10) == 0, process.output()
    assert "state UNKNOWN" in process.output()  # PreDown still saw the interface
    assert quick.snapshot() == before
    assert quick.processes() == []


DAWDLING = """
import sys, time
from wgpy.quick import foreground
listen = foreground._arriving_signals
foreground._arriving_signals = lambda: time.sleep(1.5) or listen()
from wgpy.cli import run
sys.exit(run(sys.argv[1:]))
"""


def test_signal_between_up_and_listening_is_not_lost(quick: QuickHost) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    process = quick.host.spawn(sys.executable, "-c", DAWDLING, "up", "-f", path, env=quick.environment)
    stands(quick, process)
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 0, process.output()
    assert quick.snapshot() == before
    assert quick.processes() == []


def test_down_from_elsewhere_ends_it(quick: QuickHost) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    process = quick.host.spawn(*WGPY, "up", "-f", path, env=quick.environment)
    stands(quick, process)
    quick.down(path)
    assert process.wait(10) == 0, process.output()
    assert quick.snapshot() == before


def test_device_process_that_dies_is_cleaned_up_after(quick: QuickHost) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    process = quick.host.spawn(*WGPY, "up", "-f", path, env=quick.environment)
    stands(quick, process)
    quick.host.run("kill", "-9", quick.device_pid())
    assert process.wait(10) == 1
    assert "the device process ended (signal 9)" in process.output()
    assert quick.snapshot() == before


def test_hangup_re_reads_the_file(quick: QuickHost) -> None:
    path = quick.write(FULL)
    process = quick.host.spawn(*WGPY, "up", "-f", path, env=quick.environment)
    stands(quick, process)
    mark = quick.host.run("wg", "show", "wg0", "fwmark")
    port = quick.host.run("wg", "show", "wg0", "listen-port")
    quick.write(FULL + f"[Peer]\nPublicKey = {OTHER_PEER_KEY}\nAllowedIPs = 10.9.0.0/16\n")
    process.signal(signal.SIGHUP)
    wait_until(lambda: OTHER_PEER_KEY in quick.host.run("wg", "show", "wg0", "peers"), 5, process.output)
    assert PEER_KEY in quick.host.run("wg", "show", "wg0", "peers")
    assert quick.host.run("wg", "show", "wg0", "fwmark") == mark
    assert quick.host.run("wg", "show", "wg0", "listen-port") == port
    path.write_text("[Interface]\nNonsense\n")
    process.signal(signal.SIGHUP)
    wait_until(lambda: "going on as before" in process.output(), 5, process.output)
    assert OTHER_PEER_KEY in quick.host.run("wg", "show", "wg0", "peers")
    process.stop()


def test_signal_does_not_wait_for_a_name_server_that_a_reload_asks(quick: QuickHost) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    impatient = {**quick.environment, "RES_OPTIONS": "timeout:1 attempts:1"}
    process = quick.host.spawn(*WGPY, "up", "-f", path, env=impatient)
    stands(quick, process)
    path.write_text(path.read_text().replace("10.99.0.2:51820", "vpn.example.org:51820"))
    process.signal(signal.SIGHUP)
    wait_until(lambda: "trying again" in process.output(), 30, process.report)
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 0, process.output()
    assert quick.snapshot() == before


def test_service_manager_hears_of_every_turn(quick: QuickHost) -> None:
    path = quick.write(FULL)
    process = quick.host.spawn("python3", "-c", NOTIFIED, *WGPY, "up", "-f", path, env=quick.environment)
    wait_until(lambda: "NOTIFIED READY=1" in process.output(), 15, process.report)
    process.signal(signal.SIGHUP)
    wait_until(lambda: process.output().count("NOTIFIED READY=1") == 2, 5, process.output)
    assert "NOTIFIED RELOADING=1" in process.output()
    process.signal(signal.SIGTERM)
    wait_until(lambda: "STOPPING=1" in process.output(), 5, process.output)
    wait_until(lambda: "wg0" not in quick.host.ip("link"), 5, process.output)


def test_first_process_of_a_container_buries_orphans(quick: QuickHost) -> None:
    hook = "PostUp = (sleep 0.2 &)\n"
    path = quick.write(FULL.replace("[Interface]\n", f"[Interface]\n{hook}"))
    alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    process = quick.host.spawn(*alone, *WGPY, "up", "-f", path, env=quick.environment)
    stands(quick, process)

    def no_zombie() -> bool:
        return not any(
            line.startswith("Z") for line in quick.host.run("ps", "-eo", "stat=,args=").splitlines()
        )

    wait_until(no_zombie, 5, lambda: quick.host.run("ps", "-e", "f"))
    assert process.running
    process.stop()


HANDING = """
import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"wg0", 0x1001 | {flags}))
os.set_inheritable(tun, True)
os.environ["WG_TUN_FD"] = str(tun)
os.execv(sys.argv[1], sys.argv[1:])
"""


def without_queueing(snapshot: list[str]) -> list[str]:
    """An interface that was up once keeps the queue that the kernel gave it then."""
    return [re.sub("qdisc [a-z_]*", "", line) for line in snapshot]


def test_tun_handed_in_is_used_and_kept(quick: QuickHost) -> None:
    quick.host.ip("tuntap add dev wg0 mode tun")
    path = quick.write(FULL)
    before = without_queueing(quick.snapshot())
    done = quick.host.result(
        "python3", "-c", HANDING.format(flags=0), *WGPY, "up", path, env=dict(quick.environment)
    )
    assert done.returncode == 0, done.stderr
    assert PEER_KEY in quick.host.run("wg", "show", "wg0")
    assert "10.0.0.1/24" in quick.host.ip("address show dev wg0")
    quick.down(path)
    assert without_queueing(quick.snapshot()) == before
    wait_until(lambda: quick.processes() == [], 8, lambda: f"{quick.processes()} to end")


def test_tun_of_another_name_handed_in_is_refused(quick: QuickHost) -> None:
    path = quick.write(FULL, "wg1")
    refused = quick.host.result(
        "python3", "-c", HANDING.format(flags=0), *WGPY, "up", path, env=quick.environment
    )
    assert refused.returncode == 3
    assert "call the file wg0.conf" in refused.stderr


SAVED = f"[Interface]\nAddress = 10.0.0.1/24\nMTU = 1400\nSaveConfig = true\nPostUp = true # kept\n{PEER}"


def test_save_writes_the_running_state_back(quick: QuickHost) -> None:
    path = quick.write(
        SAVED.replace("SaveConfig = true\n", "Table = off\nSearch = x\n").replace("Search = x\n", "")
    )
    quick.up(path)
    quick.host.run(
        "wg", "set", "wg0", "peer", OTHER_PEER_KEY, "allowed-ips", "10.9.0.0/16", "persistent-keepalive", 7
    )
    quick.host.ip("address add 10.3.0.1/32 dev wg0")
    quick.host.ip("link set dev wg0 mtu 1390")
    assert quick.wgpy("save", path).returncode == 0
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    for line in (
        "Address = 10.0.0.1/24",
        "Address = 10.3.0.1/32",
        "MTU = 1390",
        "Table = off",
        "PostUp = true # kept",
        f"PrivateKey = {PRIVATE_KEY}",
        f"PublicKey = {OTHER_PEER_KEY}",
        "PersistentKeepalive = 7",
        "Endpoint = 10.99.0.2:51820",
    ):
        assert line in text.splitlines(), text
    quick.down(path)
    assert path.read_text() == text
    quick.up(path)
    assert OTHER_PEER_KEY in quick.host.run("wg", "show", "wg0", "peers")
    assert quick.wgpy("save", path).returncode == 0
    assert sorted(path.read_text().splitlines()) == sorted(text.splitlines())


def test_save_config_saves_on_the_way_down(quick: QuickHost) -> None:
    path = quick.write(SAVED)
    quick.up(path)
    quick.host.run("wg", "set", "wg0", "peer", OTHER_PEER_KEY, "allowed-ips", "10.9.0.0/16")
    quick.down(path)
    assert f"PublicKey = {OTHER_PEER_KEY}" in path.read_text()
    assert "SaveConfig = true" in path.read_text()


def test_a_link_local_address_of_the_file_is_saved_too(quick: QuickHost) -> None:
    path = quick.write(SAVED.replace("10.0.0.1/24", "10.0.0.1/24, fe80::7/64"))
    quick.up(path)
    quick.down(path)
    assert "Address = fe80::7/64" in path.read_text().splitlines()


def test_state_that_cannot_be_saved_keeps_the_tunnel_up(quick: QuickHost) -> None:
    path = quick.write(SAVED)
    quick.up(path)
    before = quick.snapshot()
    path.write_text("[Interface]\nNonsense = 1\n")
    refused = quick.wgpy("down", path)
    assert refused.returncode == 1
    assert "stays up" in refused.stderr
    assert quick.snapshot() == before


def test_signal_ends_the_device_process_too_where_down_fails(quick: QuickHost) -> None:
    path = quick.write("[Interface]\nAddress = 10.0.0.1/24\n")
    before = quick.snapshot()
    process = quick.host.spawn(*WGPY, "up", "-f", path, env=quick.environment)
    stands(quick, process)
    quick.host.run("rm", "/run/wgpy/wg0.journal")
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 1, process.output()
    assert quick.snapshot() == before
    assert quick.processes() == []
