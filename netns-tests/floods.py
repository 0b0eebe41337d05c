"""Whoever can reach our port may send what he likes: 200,000 datagrams a second of each kind there is.

    h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
                           10.98.0.1 ─── 10.98.0.2 the stranger: h3, and all of 10.128.0.0/16
                           10.97.0.1 ─── 10.97.0.2 ═ 10.7.1.2 a newcomer: h4

The stranger knows every public key and has recorded what passed on the wire. He sends with flood.c, single
packets on the wire, since nothing between strangers merges them.
"""

import base64
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from handmade import HandmadePeer, Session, junk_initiation, mac1_key, udp, with_macs
from hybrid import End, hybrid, key_pair, up_together, wait_for_yes
from lab import PAGE_SIZE, LabError, Namespace, Process, connect, wait_until
from tunnel import tunnel
from wgpeer import PORT, Peer, Remote

from rosenpass.constants import COOKIE_LEN, DEFAULT_SUITE, MAC_LEN
from rosenpass.identity import KeyHashes
from rosenpass.msgs import TRAILER_LEN, MessageType

PER_SECOND = 200_000
TARGET, STRANGER, NEWCOMER = "10.98.0.1", "10.98.0.2", "10.97.0.2"
SPOOFED, SPOOFED_COUNT = "10.128.0.1", 60_000
EXCHANGE_PORT = 51821
INIT_HELLO_LEN = 904 + 188
GENERATOR = Path(__file__).with_name("flood.c")
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")

Datagrams = Sequence[bytes]


@dataclass(frozen=True)
class Sent:
    """What a flood came to."""

    sent: int
    refused: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.sent / self.seconds


class Flood:
    """The datagrams over and over until the context ends; then `sent` says how many there were.

    Args:
        stranger: the host that sends.
        program: flood.c, built.
        datagrams: equal lengths side by side are cheaper to send.
        spoofed: every datagram has a source of its own, else all have the stranger's.
    """

    def __init__(
        self,
        stranger: Namespace,
        program: Path,
        datagrams: Datagrams,
        *,
        port: int = PORT,
        per_second: int = PER_SECOND,
        spoofed: bool = False,
    ) -> None:
        self._host = stranger
        run, source = ("1", (SPOOFED, str(SPOOFED_COUNT))) if spoofed else ("32", (STRANGER, "1"))
        self._argv = (str(program), TARGET, str(port), str(per_second), "600", run, *source)
        self._datagrams = datagrams
        self._process: Process | None = None
        self.sent = Sent(0, 0, 1.0)

    def __enter__(self) -> Self:
        with tempfile.TemporaryFile() as pool:
            for datagram in self._datagrams:
                pool.write(struct.pack("<H", len(datagram)) + datagram)
            pool.seek(0)
            self._process = self._host.spawn(*self._argv, stdin=pool.fileno())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.stop()
        with suppress(ValueError):
            self.sent = Sent(**json.loads(self._process.output()))


def build_generator(directory: Path) -> Path:
    """flood.c, compiled."""
    program = directory / "flood"
    subprocess.run(["gcc", *FLAGS, "-o", program, GENERATOR], check=True)
    return program


# What goes to a forged source reaches somebody who never asked: no answer, and no load on these processors.
NOBODY_THERE = """
table netdev forged {
    chain arriving { type filter hook ingress device eth0 priority 0; ip daddr 10.128.0.0/16 drop; }
}
"""


@contextmanager
def stranger_of(h1: Namespace) -> Iterator[Namespace]:
    """A third host joined to h1 that may claim any source of 10.128.0.0/16; nobody merges its packets."""
    with Namespace("h3") as h3:
        connect(h1, "eth1", h3, "eth0")
        h1.add_address("eth1", f"{TARGET}/24")
        h3.add_address("eth0", f"{STRANGER}/24")
        h1.ip(f"route add 10.128.0.0/16 via {STRANGER}")
        h3.ip("route add local 10.128.0.0/16 dev lo")
        h3.run("ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "gso", "off")
        h3.nft(NOBODY_THERE)
        yield h3


@dataclass
class Attacked:
    """What a flood is made against: a tunnel's end on h1, and who shall get in meanwhile.

    Attributes:
        own, target: the two ends' addresses inside the tunnel.
        pid: the attacked process.
        ask: puts one request to its socket.
        join: starts the newcomer's first handshake; it is through when `joined`. After `leave` once more.
        port: where the flood goes.
        public: the attacked end's WireGuard key.
        other_public: a key that is not the attacked end's.
        hand: a configured peer made by hand, at the stranger's address.
    """

    h1: Namespace
    h2: Namespace
    stranger: Namespace
    own: str
    target: str
    pid: int
    ask: Callable[[str], str]
    join: Callable[[], object]
    joined: Callable[[], bool]
    leave: Callable[[], object]
    port: int
    public: bytes
    other_public: bytes
    hand: HandmadePeer | None = None

    def drops(self) -> dict[str, int]:
        """wgpy's counters of what went no further; other programs have none."""
        first = self.ask("wgpy=1").partition("\n")[0]
        return dict(json.loads(first.removeprefix("status="))["drops"]) if "status=" in first else {}

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_SIZE

    def time_to_join(self, within: float) -> float:
        """Seconds until the newcomer's first answer came through."""
        begun = time.monotonic()
        self.join()
        wait_until(self.joined, within, "the newcomer's session")
        return time.monotonic() - begun


@contextmanager
def _newcomer_host(h1: Namespace) -> Iterator[Namespace]:
    with Namespace("h4") as h4:
        connect(h1, "eth2", h4, "eth0")
        h1.add_address("eth2", "10.97.0.1/24")
        h4.add_address("eth0", f"{NEWCOMER}/24")
        yield h4


@contextmanager
def attacked(kind: type[Peer]) -> Iterator[Attacked]:
    """A tunnel between two of this kind, and a newcomer that its subject knows but not the place of."""
    with (
        tunnel(kind, subject=kind) as t,
        stranger_of(t.h1) as stranger,
        _newcomer_host(t.h1) as h4,
        closing(HandmadePeer(stranger, (TARGET, PORT), t.subject.keys.public, STRANGER)) as hand,
    ):
        newcomer = kind(h4, ("10.7.1.2/16",))
        newcomer.start()
        for public, inside in ((newcomer.keys.public, "10.7.1.2/32"), (hand.keys.public, "10.7.2.0/24")):
            t.subject.wg("peer", public, "allowed-ips", inside)
            t.h1.ip(f"route replace {inside} dev wg0")
        t.subject.ping(t.other.address4)
        known = [Remote(t.subject.keys.public, ["10.7.0.0/24"], f"10.97.0.1:{PORT}")]
        assert t.subject.process is not None
        yield Attacked(
            h1=t.h1,
            h2=t.h2,
            stranger=stranger,
            own=t.subject.address4,
            target=t.other.address4,
            pid=t.subject.process.pid,
            ask=lambda request: ask(t.h1, request),
            join=lambda: newcomer.configure(known),
            joined=lambda: h4.ok("ping", "-n", "-c1", "-W1", t.subject.address4),
            leave=lambda: newcomer.configure([]),
            port=PORT,
            public=base64.b64decode(t.subject.keys.public),
            other_public=base64.b64decode(t.other.keys.public),
            hand=hand,
        )


@contextmanager
def attacked_hybrid(directory: Path) -> Iterator[Attacked]:
    """The same with Rosenpass outside the tunnel; the attacked end only answers the newcomer."""
    with (
        hybrid(directory) as (a, b),
        stranger_of(a.host) as stranger,
        _newcomer_host(a.host) as h4,
    ):
        c = End(h4, 3, directory / "end3", pair=key_pair(3))
        c.peers = [a.far(f"10.97.0.1:{PORT}")]
        a.peers.append(c.far())
        a.peers[0].extra = f"RosenpassEndpoint = 10.99.0.2:{EXCHANGE_PORT}"
        a.peers[1].extra = "RosenpassEndpoint = none"
        b.peers[0].extra = f"RosenpassEndpoint = 10.99.0.1:{EXCHANGE_PORT}"
        c.peers[0].extra = f"RosenpassEndpoint = 10.97.0.1:{EXCHANGE_PORT}"
        up_together(a, b)
        wait_for_yes(a, b)
        yield Attacked(
            h1=a.host,
            h2=b.host,
            stranger=stranger,
            own=a.address4,
            target=b.address4,
            pid=a.device_process,
            ask=a.ask,
            join=c.up,
            joined=lambda: c.quantum() == "yes",
            leave=c.kill,
            port=EXCHANGE_PORT,
            public=(key_pair(1) / "pqpk").read_bytes(),
            other_public=(key_pair(2) / "pqpk").read_bytes(),
        )


def random_bytes(_: Attacked) -> Datagrams:
    lengths = (1, 31, 32, 64, 92, 148, 400, 1400)
    return [os.urandom(length) for length in lengths for _ in range(64)]


def valid_lengths(_: Attacked) -> Datagrams:
    """Types and lengths right, nothing else."""
    lengths = {1: 148, 2: 92, 3: 64, 4: 148}
    return [
        struct.pack("<I", kind) + os.urandom(length - 4)
        for kind, length in lengths.items()
        for _ in range(256)
    ]


def wrong_mac1(at: Attacked) -> Datagrams:
    return [junk_initiation(at.other_public, index) for index in range(1024)]


def right_mac1(at: Attacked) -> Datagrams:
    """Nothing behind mac1 is right."""
    return [junk_initiation(at.public, index) for index in range(1024)]


def strangers(at: Attacked) -> Datagrams:
    """Perfect initiations of somebody who is no peer: the dearest to look at."""
    public = base64.b64encode(at.public).decode()
    with closing(HandmadePeer(at.stranger, (TARGET, PORT), public, STRANGER)) as stranger:
        return [stranger.initiation().message for _ in range(512)]


def replayed_initiations(at: Attacked) -> Datagrams:
    assert at.hand is not None
    hand = at.hand

    def accepted() -> bytes | None:
        pending = hand.initiation()
        hand.send(pending.message)
        with suppress(LabError):  # the flood before may have left it under load
            pending.consume(hand.receive(2, within=1))
            return pending.message
        return None

    return [wait_until(accepted, 10, "an answer")] * 64


def unknown_indices(_: Attacked) -> Datagrams:
    return [struct.pack("<I", 4) + os.urandom(4) + bytes(8) + os.urandom(112) for _ in range(1024)]


def _session(at: Attacked) -> Session:
    assert at.hand is not None
    hand = at.hand

    def shake_hands() -> Session | None:
        with suppress(LabError):
            return hand.shake_hands(within=1)
        return None

    return wait_until(shake_hands, 10, "a session")  # type: ignore[return-value]


def replayed_data(at: Attacked) -> Datagrams:
    session = _session(at)
    made = [session.seal(udp("10.7.2.1", "10.7.0.1", (9, 9), bytes(72))) for _ in range(256)]
    assert at.hand is not None
    for message in made:  # once they are new
        at.hand.send(message)
    return made


def forged_data(at: Attacked) -> Datagrams:
    index = _session(at).remote_index
    return [struct.pack("<IIQ", 4, index, counter) + os.urandom(112) for counter in range(2, 258)]


def forged_cookie_replies(at: Attacked) -> Datagrams:
    index = _session(at).remote_index
    return [struct.pack("<II", 3, index) + os.urandom(56) for _ in range(256)]


def forged_responses(at: Attacked) -> Datagrams:
    key, index = mac1_key(at.public), _session(at).remote_index
    return [with_macs(struct.pack("<III", 2, 7, index) + os.urandom(48), key) for _ in range(256)]


def init_hellos(at: Attacked) -> Datagrams:
    """Of nobody, with a valid mac. What has no exchange gets them at its own port."""
    hashes = KeyHashes(at.public, DEFAULT_SUITE.hash)
    made = []
    for _ in range(512):
        body = bytes([MessageType.INIT_HELLO, 0, 0, 0]) + os.urandom(INIT_HELLO_LEN - TRAILER_LEN - 4)
        made.append(body + hashes.domains.hash(hashes.mac_key, body)[:MAC_LEN] + bytes(COOKIE_LEN))
    return made


@dataclass(frozen=True)
class Kind:
    """One flood: how to make it, and the counters that must tell of it."""

    make: Callable[[Attacked], Datagrams]
    counters: frozenset[str]
    spoofed: bool = False

    @property
    def joins_within_s(self) -> float:
        """Of an honest newcomer, who tries every 5 s.

        A flood from forged sources takes its share of the cookies as well: nothing tells a newcomer from it.
        """
        return 60.0 if self.spoofed else 10.0


def _kind(make: Callable[[Attacked], Datagrams], *counters: str, spoofed: bool = False) -> Kind:
    return Kind(make, frozenset(counters), spoofed)


UNDER_LOAD = ("handshake_cookie", "handshake_rate")
KINDS = {
    "random bytes": _kind(random_bytes, "udp_malformed"),
    "valid lengths": _kind(
        valid_lengths, "handshake_mac1", "handshake_index", "handshake_rate", "data_index"
    ),
    "wrong mac1": _kind(wrong_mac1, "handshake_mac1"),
    "strangers' initiations": _kind(strangers, "handshake_stranger", *UNDER_LOAD),
    "the same, spoofed": _kind(strangers, "handshake_stranger", *UNDER_LOAD, spoofed=True),
    "replayed initiations": _kind(replayed_initiations, "handshake_replay", *UNDER_LOAD),
    "unknown indices": _kind(unknown_indices, "data_index"),
    "replayed data": _kind(replayed_data, "data_replayed"),
}
INIT_HELLO = "InitHello, right mac"
HYBRID_KINDS = {
    INIT_HELLO: _kind(init_hellos, "exchange_overflow", "exchange_full", "exchange_authentication"),
}
EXTRA_KINDS = {
    "junk behind mac1": _kind(right_mac1, "handshake_authentication", *UNDER_LOAD),
    "forged data": _kind(forged_data, "data_authentication", "data_replayed"),
    "forged cookie replies": _kind(forged_cookie_replies, "handshake_rate"),
    "forged responses": _kind(forged_responses, "handshake_index"),
}


def ask(host: Namespace, request: str, interface: str = "wg0") -> str:
    """One request to the device's own socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(10)
        asking.connect(f"/proc/{host.pid}/root/run/wireguard/{interface}.sock")
        asking.sendall(f"{request}\n\n".encode())
        asking.shutdown(socket.SHUT_WR)
        with asking.makefile("rb") as answer:
            return answer.read().decode()


def _without_processor(pid: int, thread: int) -> float:
    """Seconds in all that this thread wanted a processor and had none."""
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1]) / 1e9


class LoopWatch:
    """Asks the device over its socket, again and again; the longest wait bounds the loop's longest stall.

    The device's main thread and the one that asks go before others, and what either has waited for a
    processor is taken off: that is no stall.
    """

    def __init__(self, at: Attacked) -> None:
        self._at = at
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.waits: list[float] = []

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    def __enter__(self) -> Self:
        os.setpriority(os.PRIO_PROCESS, self._at.pid, -15)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._at.pid, 0)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        while not self._ended.wait(0.002):
            begun = self._moment()
            self._at.ask("get=1")
            self.waits.append(max(0.0, self._moment() - begun))

    def _moment(self) -> float:
        """A clock that stands still while either thread waits for a processor."""
        pid, main = os.getpid(), threading.get_native_id()
        waited = _without_processor(pid, main) + _without_processor(self._at.pid, self._at.pid)
        return time.monotonic() - waited
