"""The device process: how it starts, what it answers, and that nothing stays when it ends.

h1: wg0, alone; where there is traffic, 10.99.0.1 ─── 10.99.0.2 :h2
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Namespace, Process, wait_until
from wgpeer import Keys, wgpy_program

WGPYD = str(wgpy_program("wgpyd"))
SOCKET = "/run/wireguard/wg0.sock"


@pytest.fixture
def h1() -> Iterator[Namespace]:
    with Namespace("h1") as host:
        yield host


def start(host: Namespace, *arguments: str, **environment: str) -> Process:
    process = host.spawn(WGPYD, "-f", *(arguments or ("wg0",)), env={"LOG_LEVEL": "verbose", **environment})
    wait_until(lambda: host.ok("wg", "show", "wg0") or not process.running, 15, process.report)
    assert process.running, process.report()
    return process


def exists(host: Namespace) -> bool:
    return host.ok("ip", "link", "show", "wg0")


def assert_nothing_left(host: Namespace) -> None:
    assert not exists(host)
    assert not host.ok("test", "-e", SOCKET)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_takes_interface_and_socket_along(h1: Namespace, number: int) -> None:
    process = start(h1)
    process.signal(number)
    assert process.wait(5) == 0
    assert_nothing_left(h1)


def test_deleting_the_interface_ends_it(h1: Namespace) -> None:
    process = start(h1)
    h1.ip("link delete dev wg0")
    assert process.wait(5) == 0
    assert_nothing_left(h1)


def test_deleting_the_socket_ends_it(h1: Namespace) -> None:
    process = start(h1)
    h1.run("rm", SOCKET)
    assert process.wait(5) == 0
    assert_nothing_left(h1)


def test_without_f_it_returns_when_wg_may_follow(h1: Namespace) -> None:
    h1.run(WGPYD, "wg0", timeout=20)
    assert h1.run("wg", "show", "interfaces").split() == ["wg0"]  # at once, not after a while
    assert exists(h1)
    h1.ip("link delete dev wg0")
    wait_until(lambda: not h1.ok("test", "-e", SOCKET), 5, "the socket to go")


def test_a_detached_process_holds_no_terminal(h1: Namespace) -> None:
    done = h1.result("sh", "-c", f"{WGPYD} wg0 2>&1 | cat", timeout=10)  # cat ends when the pipe closes
    assert (done.returncode, done.stdout) == (0, "")
    h1.ip("link delete dev wg0")


@pytest.mark.parametrize("arguments", [[], ["-x", "wg0"], ["wg0", "wg1"], [""]])
def test_a_wrong_command_line_is_refused_in_one_line(h1: Namespace, arguments: list[str]) -> None:
    done = h1.result(WGPYD, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("wgpyd: usage:")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", [[], ["-f"]])
def test_what_goes_wrong_at_the_start_is_said_in_one_line(h1: Namespace, mode: list[str]) -> None:
    for name, words in (("a-name-that-is-too-long", "interface's name"), ("lo", "cannot create")):
        done = h1.result(WGPYD, *mode, name)
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_second_process_for_the_same_interface_is_refused(h1: Namespace) -> None:
    first = start(h1)
    done = h1.result(WGPYD, "-f", "wg0")
    assert done.returncode == 1
    assert "another process" in done.stderr
    assert first.running
    assert h1.ok("wg", "show", "wg0")


def test_without_the_right_it_exits_with_4(h1: Namespace) -> None:
    done = h1.result(
        "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", WGPYD, "-f", "wg0"
    )
    assert done.returncode == 4
    assert "CAP_NET_ADMIN" in done.stderr


def test_the_kernel_may_number_the_interface(h1: Namespace) -> None:
    h1.run(WGPYD, "wg%d", timeout=20)
    assert h1.run("wg", "show", "interfaces").split() == ["wg0"]
    h1.ip("link delete dev wg0")


def test_an_interface_made_beforehand_is_attached_to(h1: Namespace) -> None:
    h1.ip("tuntap add dev wg0 mode tun vnet_hdr")
    process = start(h1)
    process.signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert exists(h1)  # persistent: its maker's to delete
    assert not h1.ok("test", "-e", SOCKET)


def test_the_interface_has_a_tunnels_settings(h1: Namespace) -> None:
    start(h1)
    shown = h1.ip("-d link show wg0")
    assert "mtu 1420" in shown
    assert "addrgenmode none" in shown
    assert "qlen 1000" in shown
    assert "POINTOPOINT" in shown
    assert "NOARP" in shown


def test_ports_are_open_only_while_the_interface_is_up(h1: Namespace) -> None:
    start(h1)
    h1.run("wg", "set", "wg0", "listen-port", "5555")
    assert h1.run("wg", "show", "wg0", "listen-port").strip() == "5555"

    def listening() -> bool:
        return bool(h1.run("ss", "-Hlun", "sport = :5555"))

    assert not listening()
    h1.ip("link set wg0 up")
    wait_until(listening, 5, "the port to open")
    h1.ip("link set wg0 down")
    wait_until(lambda: not listening(), 5, "the port to close")


def test_a_taken_port_is_refused_and_the_old_one_stays(h1: Namespace) -> None:
    start(h1)
    h1.run("wg", "set", "wg0", "listen-port", "5555")
    h1.ip("link set wg0 up")
    wait_until(lambda: h1.run("ss", "-Hlun", "sport = :5555"), 5, "the port to open")
    h1.spawn("python3", "-c", "import socket,time;s=socket.socket(2,2);s.bind(('',6666));time.sleep(60)")
    wait_until(lambda: h1.run("ss", "-Hlun", "sport = :6666"), 5, "the other program")
    done = h1.result("wg", "set", "wg0", "listen-port", "6666")
    assert "Address already in use" in done.stderr
    assert h1.run("wg", "show", "wg0", "listen-port").strip() == "5555"
    assert h1.run("ss", "-Hlun", "sport = :5555")
    h1.run("wg", "set", "wg0", "listen-port", "7777")
    assert h1.run("ss", "-Hlun", "sport = :7777")
    assert not h1.run("ss", "-Hlun", "sport = :5555")


def test_both_families_share_a_port_chosen_by_the_kernel(h1: Namespace) -> None:
    start(h1)
    h1.ip("link set wg0 up")
    port = wait_until(lambda: h1.run("wg", "show", "wg0", "listen-port").strip().lstrip("0"), 5, "a port")
    lines = h1.run("ss", "-Hlun", f"sport = :{port}").splitlines()
    assert len({line.split()[3] for line in lines}) == 2  # several of each where there are more processors


def test_a_keypair_set_twice_and_removed(h1: Namespace) -> None:
    start(h1)
    keys = Keys.generate()
    for _ in range(2):
        h1.run("wg", "set", "wg0", "private-key", "/dev/stdin", stdin=keys.private)
        assert h1.run("wg", "show", "wg0", "public-key").strip() == keys.public
    h1.run("wg", "set", "wg0", "peer", Keys.generate().public, "allowed-ips", "10.0.0.1/32")
    h1.run("wg", "set", "wg0", "private-key", "/dev/stdin", stdin="A" * 43 + "=")
    assert h1.run("wg", "show", "wg0", "public-key").strip() == "(none)"
    assert len(h1.run("wg", "show", "wg0", "peers").split()) == 1


def test_our_own_public_key_as_a_peer_is_ignored_and_becoming_it_removes_it(h1: Namespace) -> None:
    start(h1)
    keys = Keys.generate()
    h1.run("wg", "set", "wg0", "peer", keys.public, "allowed-ips", "10.0.0.1/32")
    h1.run("wg", "set", "wg0", "private-key", "/dev/stdin", stdin=keys.private)
    assert h1.run("wg", "show", "wg0", "peers").strip() == ""
    h1.run("wg", "set", "wg0", "peer", keys.public, "allowed-ips", "10.0.0.1/32")
    assert h1.run("wg", "show", "wg0", "peers").strip() == ""


def test_a_log_of_a_whole_life_holds_no_key(h1: Namespace) -> None:
    keys = Keys.generate()
    psk = Keys.generate().private
    process = start(h1)
    h1.run("wg", "set", "wg0", "private-key", "/dev/stdin", stdin=keys.private)
    peer = Keys.generate().public
    h1.run("wg", "set", "wg0", "peer", peer, "preshared-key", "/dev/stdin", stdin=psk)
    h1.ip("link set wg0 up")
    process.signal(signal.SIGTERM)
    process.wait(5)
    for secret in (keys.private, psk, peer, keys.public):
        assert secret not in process.output()


def test_it_leaves_no_core(h1: Namespace) -> None:
    limits = Path(f"/proc/{start(h1).pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits


def test_wg_quick_takes_it_for_its_userspace_implementation(h1: Namespace) -> None:
    keys, peer = Keys.generate(), Keys.generate()
    config = (
        f"[Interface]\nPrivateKey = {keys.private}\nAddress = 10.7.0.1/24\n"
        f"[Peer]\nPublicKey = {peer.public}\nAllowedIPs = 10.8.0.0/24\n"
    )
    h1.run("sh", "-c", "umask 077; cat > /etc/wireguard/wg0.conf", stdin=config)
    environment = {"WG_QUICK_USERSPACE_IMPLEMENTATION": WGPYD}
    h1.run("wg-quick", "up", "wg0", env=environment, timeout=30)
    assert h1.run("wg", "show", "wg0", "public-key").strip() == keys.public
    assert "10.8.0.0/24 dev wg0" in h1.ip("route")
    h1.run("wg-quick", "down", "wg0", env=environment, timeout=30)
    wait_until(lambda: not h1.ok("test", "-e", SOCKET), 5, "the socket to go")
    assert not exists(h1)


HANDING_OVER = """
import fcntl, os, socket, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"wg0", 0x5001))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 4444))
for fd in (tun, udp.fileno()):
    os.set_inheritable(fd, True)
os.environ["WG_TUN_FD"], os.environ["WG_UDP_FD"] = str(tun), str(udp.fileno())
os.execv(sys.argv[1], [sys.argv[1], "-f", "ignored"])
"""


def test_descriptors_may_be_handed_in(h1: Namespace) -> None:
    process = h1.spawn("python3", "-c", HANDING_OVER, WGPYD)
    wait_until(lambda: h1.ok("wg", "show", "wg0") or not process.running, 15, process.report)
    assert process.running, process.report()
    assert h1.run("wg", "show", "wg0", "listen-port").strip() == "4444"
    for state in ("up", "down", "up"):
        h1.ip(f"link set wg0 {state}")
    assert h1.run("ss", "-Hlun", "sport = :4444")
    process.signal(signal.SIGTERM)
    assert process.wait(5) == 0


STRANGER = """
import os, socket, sys
os.setresuid(65534, 65534, 65534)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    client.settimeout(5)
    try:
        client.sendall(b"get=1\\n\\n")
        print("heard", client.recv(999))
    except (BrokenPipeError, ConnectionResetError):
        print("heard", b"")
"""


def test_the_control_socket_is_roots_and_hears_nobody_else_even_with_its_mode_loosened(h1: Namespace) -> None:
    start(h1)
    assert h1.run("stat", "-c", "%a %u %g", SOCKET).split() == ["600", "0", "0"]
    refused = h1.result(sys.executable, "-c", STRANGER, SOCKET)
    assert "PermissionError" in refused.stderr
    h1.run("chmod", "0777", SOCKET)
    assert h1.run(sys.executable, "-c", STRANGER, SOCKET).strip() == "heard b''"
