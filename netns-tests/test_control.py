"""The control socket of a running daemon: recorded conversations, stock `wg` beside `wgpy`, garbage, the end.

h1: subject (and wireguard-go, to see that the tests themselves are right)
"""

import socket
import sys
from collections.abc import Iterator

import pytest
from lab import PROJECT, Namespace, wait_until
from support.transcripts import GROUPS, replay
from wgpeer import SUBJECT, Keys, Peer, WgpyPeer, WireguardGoPeer

pytestmark = pytest.mark.netns

WGPY = (sys.executable, "-P", "-m", "wgpy")
ENVIRONMENT = {"PYTHONPATH": str(PROJECT)}
SOCKET = "/run/wireguard/wg0.sock"
GARBAGE = """
import os, random, socket, sys
random.seed(int(sys.argv[2]))
words = [b"get=1", b"set=1", b"wgpy=1", b"", b"public_key=" + b"5e" * 32, b"allowed_ip=10.0.0.0/8",
         b"remove=true", b"fwmark=99999999999", b"endpoint=[::1]:5",
         b"rosenpass={}", b"rosenpass=null", b"=", b"x"]
for _ in range(300):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(0.05)
    client.connect(sys.argv[1])
    lines = [random.choice(words) if random.random() < 0.8 else os.urandom(random.randrange(60))
             for _ in range(random.randrange(12))]
    try:
        client.sendall(b"\\n".join(lines) + random.choice([b"", b"\\n", b"\\n\\n"]))
        if random.random() < 0.2:
            client.recv(65536)
    except OSError:
        pass
    client.close()
"""


@pytest.fixture(params=[SUBJECT, WireguardGoPeer], ids=lambda kind: kind.name)
def device(request: pytest.FixtureRequest, hosts: tuple[Namespace, Namespace]) -> Iterator[Peer]:
    """A daemon that was started and never configured."""
    yield from started(request.param, hosts[0])


@pytest.fixture
def subject(hosts: tuple[Namespace, Namespace]) -> Iterator[Peer]:
    """Ours, for what others do differently."""
    yield from started(SUBJECT, hosts[0])


def started(kind: type[Peer], host: Namespace) -> Iterator[Peer]:
    if missing := kind.missing():
        pytest.skip(f"needs {missing}")
    peer = kind(host, ["10.7.0.1/24"])
    process = peer.process = host.spawn(*peer.command(), env={"LOG_LEVEL": "error"})
    wait_until(lambda: host.ok("wg", "show", "wg0"), 15, lambda: f"an answer\n{process.output()}")
    host.ip("link set wg0 up")  # the port is chosen now
    wait_until(lambda: host.run("wg", "show", "wg0", "listen-port").strip() != "0", 5, "a port")
    yield peer
    peer.stop()


def converse(device: Peer, sent: str) -> tuple[str, bool]:
    """What comes back on a fresh connection, and whether it was closed; a pause ends the reply."""
    reply = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/{device.host.pid}/root{SOCKET}")
        client.settimeout(5)
        client.sendall(sent.encode())
        try:
            while data := client.recv(65536):
                reply += data
                client.settimeout(0.1)
        except TimeoutError:
            return reply.decode(), False
        except ConnectionResetError:
            pass
    return reply.decode(), True


@pytest.mark.parametrize("group", GROUPS)
def test_recorded_conversations_are_answered_alike(subject: Peer, group: str) -> None:
    replay(group, lambda sent: converse(subject, sent), atomic=isinstance(subject, WgpyPeer))


def test_wg_and_wgpy_print_the_same_of_a_running_device(device: Peer) -> None:
    host = device.host
    peers = [Keys.generate() for _ in range(3)]
    text = f"[Interface]\nPrivateKey = {device.keys.private}\nFwMark = 7\n"
    for number, keys in enumerate(peers):
        text += f"[Peer]\nPublicKey = {keys.public}\nAllowedIPs = 10.{number}.0.0/16, fd0{number}::/64\n"
    text += f"Endpoint = 10.99.0.2:9\nPersistentKeepalive = 30\nPresharedKey = {peers[0].private}\n"
    done = host.result(*WGPY, "setconf", "wg0", "-", stdin=text, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for words in (["show", "all", "dump"], ["showconf", "wg0"], ["show", "wg0", "allowed-ips"]):
        stock = host.run("wg", *words)
        assert sorted(host.run(*WGPY, *words, env=ENVIRONMENT).split()) == sorted(stock.split())
    assert len(host.run("wg", "show", "wg0", "peers").split()) == 3


def test_syncconf_of_what_runs_changes_nothing(device: Peer) -> None:
    host = device.host
    device.configure([])
    device.wg("peer", Keys.generate().public, "allowed-ips", "10.0.0.0/8", "endpoint", "10.99.0.2:9")
    before = host.run("wg", "show", "wg0", "dump")
    running = host.run("wg", "showconf", "wg0")
    for program in (("wg",), WGPY):
        host.run(*program, "syncconf", "wg0", "/dev/stdin", stdin=running, env=ENVIRONMENT)
        after = host.run("wg", "show", "wg0", "dump")
        assert [line.split("\t")[:4] for line in after.splitlines()] == [
            line.split("\t")[:4] for line in before.splitlines()
        ]


def test_port_in_use_is_refused_and_the_device_goes_on(device: Peer) -> None:
    host = device.host
    code = "import socket,time; s=socket.socket(2,2); s.bind(('',7777)); print(1,flush=True); time.sleep(60)"
    host.spawn(sys.executable, "-c", code)
    wait_until(lambda: host.run("ss", "-Hlnu", "sport = :7777"), 5, "the port to be taken")
    done = host.result(*WGPY, "set", "wg0", "listen-port", "7777", env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (
        1,
        "wgpy: wg0: the interface refused this: Address already in use; choose another ListenPort\n",
    )
    assert host.ok("wg", "show", "wg0")


def test_deleting_the_socket_ends_the_daemon_and_its_interface(device: Peer) -> None:
    device.host.run("rm", SOCKET)
    wait_until(lambda: device.process is not None and not device.process.running, 10, "the daemon to end")
    assert not device.host.ok("ip", "link", "show", "wg0")


def test_garbage_ends_neither_the_daemon_nor_another_client(subject: Peer) -> None:
    for seed in range(3):
        subject.host.run(sys.executable, "-c", GARBAGE, SOCKET, str(seed))
    assert subject.host.ok("wg", "show", "wg0")
    assert "schema" in subject.host.run(*WGPY, "status", "--json", env=ENVIRONMENT)


def test_ending_removes_the_socket(device: Peer) -> None:
    device.stop()
    assert not device.host.ok("test", "-e", SOCKET)


def test_second_daemon_on_the_same_interface_is_refused(device: Peer) -> None:
    done = device.host.result(*device.command(), timeout=20)
    assert done.returncode != 0
    assert device.host.ok("wg", "show", "wg0")
