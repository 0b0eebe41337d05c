"""Small traffic from the test process itself: an echo server and a numbered stream, both threads."""

import socket
import threading
import time
from contextlib import suppress
from itertools import pairwise
from types import TracebackType
from typing import Self

from lab import Namespace
from wgpeer import Peer, WgpyPeer

ECHO_PORT = 7


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Background:
    """A thread that runs `_step` again and again, until the context ends."""

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._step()

    def _step(self) -> None:
        raise NotImplementedError


class Echo(Background):
    """Sends every UDP datagram back; remembers what came in `heard`."""

    def __init__(self, host: Namespace, address: str, port: int = ECHO_PORT) -> None:
        self._socket = host.socket(_family(address), socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((address, port))
        self._socket.settimeout(0.1)
        self.heard: list[bytes] = []

    def _step(self) -> None:
        try:
            data, source = self._socket.recvfrom(65535)
            self.heard.append(data)
            self._socket.sendto(data, source)
        except OSError:
            pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._socket.close()


class Numbered(Background):
    """Numbered datagrams at a steady rate to an echo server; knows which came back and when."""

    def __init__(
        self, host: Namespace, target: str, per_second: int = 500, size: int = 200, port: int = ECHO_PORT
    ) -> None:
        self._socket = host.socket(_family(target), socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setblocking(False)
        self._target, self._interval, self._size = (target, port), 1 / per_second, size
        self._next = time.monotonic()
        self.sent: list[float] = []
        self.came_back: dict[int, float] = {}
        self.duplicates = 0

    def _step(self) -> None:
        self._collect()
        if (ahead := self._next - time.monotonic()) > 0:
            time.sleep(min(ahead, 0.01))
            return
        self._next += self._interval
        with suppress(OSError):
            self._socket.sendto(len(self.sent).to_bytes(8, "big") + bytes(self._size - 8), self._target)
        self.sent.append(time.monotonic())

    def _collect(self) -> None:
        while True:
            try:
                number = int.from_bytes(self._socket.recv(65535)[:8], "big")
            except BlockingIOError:
                return
            except OSError:
                continue
            self.duplicates += number in self.came_back
            self.came_back[number] = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._wait_for_the_last(time.monotonic() + 2)
        self._socket.close()

    def _wait_for_the_last(self, deadline: float) -> None:
        """What is missing when the last one sent is back, and the overtaken had their moment, is lost."""
        while self.lost and time.monotonic() < deadline:
            self._collect()
            if len(self.sent) - 1 in self.came_back:
                deadline = min(deadline, time.monotonic() + 0.2)
            time.sleep(0.01)

    @property
    def lost(self) -> list[int]:
        """Numbers sent and not (yet) echoed."""
        return [number for number in range(len(self.sent)) if number not in self.came_back]

    def longest_gap(self) -> float:
        """Seconds between two successive arrivals, at most."""
        times = sorted(self.came_back.values())
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def lost_by_us(stream: Numbered, far: Peer) -> list[int]:
    """What was lost, unless full queues of a foreign far end account for it: a busy lab has such moments."""
    excused = not isinstance(far, WgpyPeer) and len(stream.lost) <= overflows(far)
    return [] if excused else stream.lost


def overflows(peer: Peer) -> int:
    """Datagrams that found a socket of the peer's host full, and packets its TUN had no room for."""
    snmp = peer.host.run("cat", "/proc/net/snmp").splitlines()
    counts = dict(zip(*(line.split() for line in snmp if line.startswith("Udp:")), strict=True))
    six = dict(line.split() for line in peer.host.run("cat", "/proc/net/snmp6").splitlines())
    dropped = peer.host.run("cat", f"/sys/class/net/{peer.interface}/statistics/tx_dropped")
    return int(counts["RcvbufErrors"]) + int(six["Udp6RcvbufErrors"]) + int(dropped)
