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
from wgpeer import wgpy_program

WGPYD = str(wgpy_program("wgpyd"))
FLOWS = 4  # each way
PORTS = range(6000, 6000 + FLOWS)
PER_SECOND, SECONDS = 4000, 3
Hosts = tuple[Namespace, Namespace]


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
        ends = list(zip(hosts, reversed(hosts), ADDRESSES, strict=True))
        receivers = [here.spawn(numbered, "receive", to, port) for port in PORTS for here, _, to in ends]
        for host in hosts:
            wait_until(lambda host=host: bound(host) == FLOWS, 10, "the receivers")
        words = ("send", PER_SECOND, SECONDS)
        senders = [
            there.spawn(numbered, words[0], to, port, *words[1:]) for port in PORTS for _, there, to in ends
        ]
        sent = sum(said(process, SECONDS + 30)["sent"] for process in senders)
        got = [said(process, 30) for process in receivers]
        received = sum(each["received"] for each in got)
        busy = [ticks(plane) for plane in (a, b)]
        print(f"{received:,} of {sent:,} in {2 * FLOWS} flows; busy: {busy}")
        # two outbound workers and one inbound, beside the threads that wait (all flows on one queue: 1 in 8)
        assert all(len([each for each in threads if each > 2]) >= 2 for threads in busy)
        assert [each["reordered"] for each in got] == [0] * 2 * FLOWS
        assert [each["duplicated"] for each in got] == [0] * 2 * FLOWS
        assert received > sent // 2
        for plane in (a, b):
            drops = plane.finish()["drops"]
            assert isinstance(drops, dict)
            assert not {"data_replayed", "data_authentication", "tun_write", "staged"} & set(drops)


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
