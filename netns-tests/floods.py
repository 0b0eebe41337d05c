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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from handmade import HandmadePeer, junk_initiation, mac1_key, udp, with_macs
from lab import Namespace, Process, connect
from tunnel import Tunnel
from wgpeer import PORT, Peer, Remote, WgpyPeer

PER_SECOND = 200_000
TARGET, STRANGER, NEWCOMER = "10.98.0.1", "10.98.0.2", "10.97.0.2"
SPOOFED, SPOOFED_COUNT = "10.128.0.1", 60_000
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
        yield h3


@contextmanager
def newcomer_of(t: Tunnel, kind: type[Peer]) -> Iterator[Peer]:
    """A second peer, configured on the subject and up, that has not been told of the subject yet."""
    with Namespace("h4") as h4:
        connect(t.h1, "eth2", h4, "eth0")
        t.h1.add_address("eth2", "10.97.0.1/24")
        h4.add_address("eth0", f"{NEWCOMER}/24")
        peer = kind(h4, ("10.7.1.2/16",))
        peer.start()
        t.subject.wg("peer", peer.keys.public, "allowed-ips", "10.7.1.2/32")
        t.h1.ip("route replace 10.7.1.2/32 dev wg0")
        yield peer


def shake_hands(newcomer: Peer, t: Tunnel, within: float) -> float:
    """Tell the newcomer of the subject; seconds until the first answer came through."""
    begun = time.monotonic()
    newcomer.configure([Remote(t.subject.keys.public, ["10.7.0.0/24"], f"10.97.0.1:{PORT}")])
    newcomer.ping(t.subject.address4, within=within)
    return time.monotonic() - begun


@dataclass
class Scene:
    """What a flood is made against."""

    t: Tunnel
    stranger: Namespace
    hand: HandmadePeer  # a configured peer, made by hand, at the stranger's address

    @property
    def public(self) -> bytes:
        return base64.b64decode(self.t.subject.keys.public)


@contextmanager
def scene(t: Tunnel, stranger: Namespace) -> Iterator[Scene]:
    with ExitStack() as stack:
        hand = HandmadePeer(stranger, (TARGET, PORT), t.subject.keys.public, STRANGER)
        stack.callback(hand.close)
        t.subject.wg("peer", hand.keys.public, "allowed-ips", "10.7.2.0/24")
        yield Scene(t, stranger, hand)


def random_bytes(_: Scene) -> Datagrams:
    lengths = (1, 31, 32, 64, 92, 148, 400, 1400)
    return [os.urandom(length) for length in lengths for _ in range(64)]


def valid_lengths(_: Scene) -> Datagrams:
    """Types and lengths right, nothing else."""
    lengths = {1: 148, 2: 92, 3: 64, 4: 148}
    return [
        struct.pack("<I", kind) + os.urandom(length - 4)
        for kind, length in lengths.items()
        for _ in range(256)
    ]


def wrong_mac1(scene: Scene) -> Datagrams:
    return [junk_initiation(base64.b64decode(scene.t.other.keys.public), index) for index in range(1024)]


def right_mac1(scene: Scene) -> Datagrams:
    """Nothing behind mac1 is right."""
    return [junk_initiation(scene.public, index) for index in range(1024)]


def strangers(scene: Scene) -> Datagrams:
    """Perfect initiations of somebody who is no peer: the dearest to look at."""
    stranger = HandmadePeer(scene.stranger, (TARGET, PORT), scene.t.subject.keys.public, STRANGER)
    made = [stranger.initiation().message for _ in range(512)]
    stranger.close()
    return made


def replayed_initiations(scene: Scene) -> Datagrams:
    pending = scene.hand.initiation()
    scene.hand.send(pending.message)
    pending.consume(scene.hand.receive(2))
    return [pending.message] * 64


def unknown_indices(_: Scene) -> Datagrams:
    return [struct.pack("<I", 4) + os.urandom(4) + bytes(8) + os.urandom(112) for _ in range(1024)]


def replayed_data(scene: Scene) -> Datagrams:
    session = scene.hand.shake_hands()
    made = [session.seal(udp("10.7.2.1", "10.7.0.1", (9, 9), bytes(72))) for _ in range(256)]
    for message in made:  # once they are new
        scene.hand.send(message)
    return made


def forged_data(scene: Scene) -> Datagrams:
    index = scene.hand.shake_hands().remote_index
    return [struct.pack("<IIQ", 4, index, counter) + os.urandom(112) for counter in range(2, 258)]


def forged_cookie_replies(scene: Scene) -> Datagrams:
    index = scene.hand.shake_hands().remote_index
    return [struct.pack("<II", 3, index) + os.urandom(56) for _ in range(256)]


def forged_responses(scene: Scene) -> Datagrams:
    key, index = mac1_key(scene.public), scene.hand.shake_hands().remote_index
    return [with_macs(struct.pack("<III", 2, 7, index) + os.urandom(48), key) for _ in range(256)]


@dataclass(frozen=True)
class Kind:
    """One flood: how to make it, and the counters that must tell of it."""

    make: Callable[[Scene], Datagrams]
    counters: frozenset[str]
    spoofed: bool = False


def _kind(make: Callable[[Scene], Datagrams], *counters: str, spoofed: bool = False) -> Kind:
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
EXTRA_KINDS = {
    "junk behind mac1": _kind(right_mac1, "handshake_authentication", *UNDER_LOAD),
    "forged data": _kind(forged_data, "data_authentication", "data_replayed"),
    "forged cookie replies": _kind(forged_cookie_replies, "handshake_rate"),
    "forged responses": _kind(forged_responses, "handshake_index"),
}


def drops_of(subject: Peer) -> dict[str, int]:
    """wgpy's counters of what went no further; other programs have none."""
    if not isinstance(subject, WgpyPeer):
        return {}
    said = ask(subject, "wgpy=1").partition("\n")[0]
    return dict(json.loads(said.removeprefix("status="))["drops"])


def ask(subject: Peer, request: str) -> str:
    """One request to the device's own socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(10)
        asking.connect(f"/proc/{subject.host.pid}/root/run/wireguard/{subject.interface}.sock")
        asking.sendall(f"{request}\n\n".encode())
        asking.shutdown(socket.SHUT_WR)
        with asking.makefile("rb") as answer:
            return answer.read().decode()


class LoopWatch:
    """Asks the device over its socket, again and again; the longest wait bounds the loop's longest stall.

    The device's main thread and the one that asks go before others: a moment without a processor is no stall.
    """

    def __init__(self, subject: Peer) -> None:
        assert subject.process is not None
        self._pid = subject.process.pid
        self._subject = subject
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.waits: list[float] = []

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    def __enter__(self) -> Self:
        os.setpriority(os.PRIO_PROCESS, self._pid, -15)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._pid, 0)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        while not self._ended.wait(0.002):
            begun = time.monotonic()
            ask(self._subject, "get=1")
            self.waits.append(time.monotonic() - begun)
