"""Fifty peers come and go over the UAPI while a stable peer's packets flow.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 stable: h2
                                 ─── 10.99.0.2:random ═ 50 handmade peers 10.20.0.x/32: h2

WGPY_RACE_SECONDS says for how long (6); `make races` takes a minute.
"""

import base64
import os
import random
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from handmade import HandmadePeer, Session, udp
from lab import Namespace
from traffic import ECHO_PORT, Echo, Numbered
from tunnel import Tunnel, tunnel
from wgpeer import PORT, WgpyPeer

SECONDS = float(os.environ.get("WGPY_RACE_SECONDS", "6"))
COUNT = 50
PER_SECOND = 500
GROWTH_MOST = 4 << 20


def hex_key(text: str) -> str:
    return base64.b64decode(text).hex()


class Uapi:
    """One connection, many requests, as a controller holds it."""

    def __init__(self, host: Namespace) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(10)
        self._socket.connect(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")

    def set(self, lines: list[str]) -> None:
        self._socket.sendall(("\n".join(["set=1", *lines]) + "\n\n").encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            answer += self._socket.recv(4096)
        assert answer == b"errno=0\n\n", answer

    def close(self) -> None:
        self._socket.close()


@dataclass
class Wanderer:
    """One of the fifty."""

    number: int
    peer: HandmadePeer
    is_there: bool = False
    session: Session | None = None

    @property
    def inside(self) -> str:
        return f"10.20.0.{self.number}"

    def lines(self, draw: random.Random) -> list[str]:
        """UAPI words that add it, with what a controller might say, or take it away."""
        key = [f"public_key={hex_key(self.peer.keys.public)}"]
        if self.is_there:
            self.is_there, self.session = False, None
            return [*key, "remove=true"]
        self.is_there = True
        port = self.peer.socket.getsockname()[1]
        # Sometimes with the prefix of another: it moves.
        others = [f"allowed_ip=10.20.0.{draw.randrange(COUNT)}/32"] if draw.random() < 0.2 else []
        extra = [f"endpoint=10.99.0.2:{port}", f"persistent_keepalive_interval={draw.choice((0, 1))}"]
        return [*key, "replace_allowed_ips=true", *extra, *others, f"allowed_ip={self.inside}/32"]

    def talk(self) -> None:
        """A handshake, then a packet to the echo."""
        self.session = self.peer.shake_hands()
        self.peer.send(self.session.seal(udp(self.inside, "10.7.0.1", (9, ECHO_PORT), b"here")))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@dataclass
class Churn:
    """Peers that come, talk and go; how often."""

    t: Tunnel
    uapi: Uapi
    crowd: list[Wanderer]
    draw: random.Random
    changes: int = 0
    handshakes: int = 0

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            some = self.draw.sample(self.crowd, 10)
            self.uapi.set([line for one in some for line in one.lines(self.draw)])
            self.changes += len(some)
            for one in some[:3]:
                if one.is_there:
                    one.talk()
                    self.handshakes += 1
            for one in some:  # those that are gone, and those whose keys went with them, try once more
                if one.session is not None:
                    one.peer.send(one.session.seal(b""))

    def remove_all(self) -> None:
        self.uapi.set([line for one in self.crowd if one.is_there for line in one.lines(self.draw)])


def pid_of(peer: WgpyPeer) -> int:
    assert peer.process is not None
    return peer.process.pid


def test_fifty_peers_churning_cost_a_stable_peer_nothing() -> None:
    with tunnel(WgpyPeer) as t, ExitStack() as stack:
        crowd = [
            Wanderer(n, HandmadePeer(t.h2, ("10.99.0.1", PORT), t.subject.keys.public, "10.99.0.2"))
            for n in range(COUNT)
        ]
        for one in crowd:
            stack.callback(one.peer.close)
        uapi = Uapi(t.h1)
        stack.callback(uapi.close)
        churn = Churn(t, uapi, crowd, random.Random(1))
        pid = pid_of(t.subject)
        t.subject.ping(t.other.address4)
        stack.enter_context(Echo(t.h1, "10.7.0.1"))
        stack.enter_context(Echo(t.h2, t.other.address4))
        churn.run(2)  # what grows to its size once
        churn.remove_all()
        memory, files = resident(pid), descriptors(pid)
        with Numbered(t.h1, t.other.address4, per_second=PER_SECOND) as stream:
            curve = []
            for _ in range(4):
                churn.run(SECONDS / 4)
                curve.append(resident(pid) - memory)
        churn.remove_all()
        grown = resident(pid) - memory
        print(
            f"\n{SECONDS:.0f} s: {churn.changes} peers added or removed, {churn.handshakes} handshakes;"
            f" of {len(stream.sent)} packets {len(stream.lost)} lost, longest gap"
            f" {stream.longest_gap() * 1000:.0f} ms; descriptors {descriptors(pid) - files:+d}, memory in KiB"
            f" {', '.join(f'{one / 1024:+.0f}' for one in (*curve, grown))}"
        )
        assert stream.lost == []
        assert stream.duplicates == 0
        assert descriptors(pid) == files
        assert grown < GROWTH_MOST
        assert churn.handshakes > 3 * SECONDS
        dump = t.h1.run("wg", "show", "wg0", "dump").splitlines()
        assert len(dump) == 2, "the device and its stable peer are what is left"
