"""Several pairs of workers: no flow is reordered, and settings and interfaces made before us hold.

left: wg0 10.0.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ wg0 10.0.0.2: right        h1: wg0, alone
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Namespace, Process, wait_until
from planes import ADDRESSES, Plane, planes
from quickhost import QuickHost
from tunnel import FAST_REKEY, tunnel
from wgpeer import by_name, wgpy_program

WGPYD = str(wgpy_program("wgpyd"))
FLOWS = 4  # each way
PORTS = range(6000, 6000 + FLOWS)
PER_SECOND, SECONDS = 4000, 3
Hosts = tuple[Namespace, Namespace]
Flows = tuple[int, list[dict[str, int]]]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = tmp_path_factory.mktemp("numbered") / "numbered"
    source = Path(__file__).with_name("numbered.c")
    flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", *flags, "-o", program, source], check=True)
    return str(program)


@pytest.fixture
def h1() -> Iterator[Namespace]:
    with Namespace("h1") as host:
        yield host


def send_numbered(program: str, hosts: Hosts, addresses: tuple[str, str], rate: int, seconds: int) -> Flows:
    """FLOWS flows each way at once; how many datagrams left, and what each receiver says."""
    ends = list(zip(hosts, reversed(hosts), addresses, strict=True))
    receivers = [here.spawn(program, "receive", to, port) for port in PORTS for here, _, to in ends]
    for host in hosts:
        wait_until(lambda host=host: bound(host) == FLOWS, 10, "the receivers")
    senders = [
        there.spawn(program, "send", to, port, rate, seconds) for port in PORTS for _, there, to in ends
    ]
    sent = sum(said(process, seconds + 30)["sent"] for process in senders)
    return sent, [said(process, 30) for process in receivers]


def assert_in_order(flows: Flows) -> None:
    sent, got = flows
    assert [each["reordered"] for each in got] == [0] * 2 * FLOWS
    assert [each["duplicated"] for each in got] == [0] * 2 * FLOWS
    assert sum(each["received"] for each in got) > sent // 2


def ticks(plane: Plane) -> list[int]:
    """Processor time of each thread, in hundredths of a second."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{plane.pid}/task").iterdir()]
    return sorted(sum(int(number) for number in stat.rpartition(")")[2].split()[11:13]) for stat in stats)


def said(process: Process, within: float) -> dict[str, int]:
    assert process.wait(within) == 0, process.report()
    result: dict[str, int] = json.loads(process.output())
    return result


def bound(host: Namespace) -> int:
    return sum(len(host.run("ss", "-Hlun", f"sport = :{port}").splitlines()) for port in PORTS)


@pytest.mark.netns
def test_numbered_flows_are_not_reordered_by_two_pairs_of_workers(hosts: Hosts, numbered: str) -> None:
    """Four flows each way at once, so that the queues of both ends are busy at once."""
    with planes(*hosts, options=("0x7f", "0", "2")) as (a, b):
        sent, got = send_numbered(numbered, hosts, ADDRESSES, PER_SECOND, SECONDS)
        received = sum(each["received"] for each in got)
        busy = [ticks(plane) for plane in (a, b)]
        print(f"{received:,} of {sent:,} in {2 * FLOWS} flows; busy: {busy}")
        # two outbound workers and one inbound, beside the threads that wait (all flows on one queue: 1 in 8)
        assert all(len([each for each in threads if each > 2]) >= 2 for threads in busy)
        assert_in_order((sent, got))
        for plane in (a, b):
            drops = plane.finish()["drops"]
            assert isinstance(drops, dict)
            assert not {"data_replayed", "data_authentication", "tun_write", "staged"} & set(drops)


@pytest.mark.netns
def test_sessions_are_renewed_under_two_pairs_of_workers_without_reordering(numbered: str) -> None:
    kind = by_name("wgpy")
    with tunnel(kind, subject=kind, environment={**FAST_REKEY, "WGPY_WORKERS": "2"}) as t:
        t.subject.ping(t.other.address4)
        first = t.h1.run("wg", "show", "wg0", "latest-handshakes")
        flows = send_numbered(numbered, (t.h1, t.h2), (t.subject.address4, t.other.address4), 500, 5)
        assert_in_order(flows)
        lost = flows[0] - sum(each["received"] for each in flows[1])
        print(f"{flows[0]:,} sent, {lost} lost")
        assert t.h1.run("wg", "show", "wg0", "latest-handshakes") != first


@pytest.mark.netns
def test_the_files_workers_reach_the_device(h1: Namespace, tmp_path: Path) -> None:
    quick = QuickHost(h1, tmp_path)
    path = quick.write("[Interface]\nAddress = 10.0.0.1/24\nListenPort = 4444\nWorkers = 2\nUser = nobody\n")
    quick.up(path)
    assert json.loads(quick.wgpy("status", "--json", "wg0").stdout)["interfaces"][0]["workers"] == 2
    assert sockets(h1, 4444) == 4
    h1.run("wg", "set", "wg0", "listen-port", "5555")
    assert sockets(h1, 5555) == 4
    quick.down(path)


HANDING_OVER = """
import os, socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 4444))
os.set_inheritable(udp.fileno(), True)
os.environ["WG_UDP_FD"] = str(udp.fileno())
os.execv(sys.argv[1], [sys.argv[1], "-f", "wg0"])
"""


@pytest.mark.netns
def test_a_socket_that_was_handed_in_is_read_by_one_of_two_workers(h1: Namespace) -> None:
    process = h1.spawn("python3", "-c", HANDING_OVER, WGPYD, env={"WGPY_WORKERS": "2"})
    wait_until(lambda: h1.ok("wg", "show", "wg0") or not process.running, 15, process.report)
    assert process.running, process.report()
    for state in ("up", "down", "up"):
        h1.ip(f"link set wg0 {state}")
    assert sockets(h1, 4444) == 1
    assert queues(process) == 4
    process.signal(signal.SIGTERM)
    assert process.wait(5) == 0


def start(host: Namespace, **environment: str) -> Process:
    process = host.spawn(WGPYD, "-f", "wg0", env={"LOG_LEVEL": "verbose", **environment})
    wait_until(lambda: host.ok("wg", "show", "wg0") or not process.running, 15, process.report)
    return process


def queues(process: Process) -> int:
    links = (path.readlink() for path in Path(f"/proc/{process.pid}/fd").iterdir())
    return sum(str(link) == "/dev/net/tun" for link in links)


def sockets(host: Namespace, port: int) -> int:
    return len(host.run("ss", "-Hlun", f"sport = :{port}").splitlines())


@pytest.mark.netns
def test_ports_and_marks_change_under_two_pairs_of_workers(h1: Namespace) -> None:
    process = start(h1, WGPY_WORKERS="2")
    assert process.running, process.report()
    h1.ip("link set wg0 up")
    for port in (4444, 5555):
        h1.run("wg", "set", "wg0", "listen-port", str(port), "fwmark", str(port))
        wait_until(lambda port=port: sockets(h1, port) == 4, 5, "two sockets of each family")
    assert sockets(h1, 4444) == 0
    h1.run("wg", "set", "wg0", "listen-port", "0")
    port = int(h1.run("wg", "show", "wg0", "listen-port"))
    assert port not in (0, 5555)
    assert sockets(h1, port) == 4
    h1.ip("link set wg0 down")
    wait_until(lambda: sockets(h1, port) == 0, 5, "no sockets while down")
    h1.ip("link set wg0 up")
    wait_until(lambda: sockets(h1, port) == 4, 5, "the sockets again")
    assert queues(process) == 4  # two to read, two to write
    process.signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert not h1.ok("ip", "link", "show", "wg0")


@pytest.mark.netns
def test_a_persistent_interface_of_the_other_kind_is_named_with_the_remedy(h1: Namespace) -> None:
    h1.ip("tuntap add wg0 mode tun")
    process = start(h1, WGPY_WORKERS="2")
    assert process.wait(5) == 1
    assert "wg0 was made for one queue" in process.output()
    h1.ip("link delete wg0")
    h1.ip("tuntap add wg0 mode tun multi_queue")
    process = start(h1, WGPY_WORKERS="1")
    assert process.wait(5) == 1
    assert "wg0 was made with multi_queue" in process.output()
    process = start(h1, WGPY_WORKERS="2")
    assert process.running, process.report()
    process.signal(signal.SIGTERM)
    assert process.wait(5) == 0
