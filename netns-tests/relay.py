"""A scripted UDP link: every datagram passes a function that says when, how often and whether it arrives.

    a ──► (listen) Relay (upstream) ──► b

`a` is configured with the relay's address as its peer's endpoint; answers of `b` go back to where the last
datagram came from. Needs no privilege; carries some 30,000 datagrams per second.
"""

import heapq
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Self

from lab import Namespace

# How a datagram travels: one delay in seconds per copy that arrives; none loses it, two duplicate it.
Delays = Sequence[float]
ARRIVES: Delays = (0.0,)
LOST: Delays = ()


@dataclass
class Passing:
    """One datagram at the relay."""

    forth: bool  # from the side that listens to the relay, towards upstream
    index: int  # of this direction, from 0
    datagram: bytes

    @property
    def kind(self) -> int:
        """WireGuard's message type."""
        return self.datagram[0] if self.datagram else 0


Script = Callable[[Passing], Delays]


@dataclass
class Relay:
    """Forwards between whoever sends to `listen` and `upstream`, both (address, port), inside `host`."""

    host: Namespace
    listen: tuple[str, int]
    upstream: tuple[str, int]
    script: Script = field(default=lambda _: ARRIVES)
    passed: list[Passing] = field(default_factory=list)  # all seen, in order, the lost ones too

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.listen[0] else socket.AF_INET
        self._near = self.host.socket(family, socket.SOCK_DGRAM)
        self._near.bind(self.listen)
        self._far = self.host.socket(family, socket.SOCK_DGRAM)
        for end in (self._near, self._far):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._far.connect(self.upstream)
        self._client: tuple[str, int] | None = None
        self._waiting: list[tuple[float, int, Passing]] = []
        self._tie = count()
        self._seen = {True: 0, False: 0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._near.close()
        self._far.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._near, selectors.EVENT_READ, True)
            selector.register(self._far, selectors.EVENT_READ, False)
            while not self._ended.is_set():
                pause = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else 0.05
                for key, _ in selector.select(min(pause, 0.05)):
                    self._receive(forth=key.data)
                while self._waiting and self._waiting[0][0] <= time.monotonic():
                    self._send(heapq.heappop(self._waiting)[2])

    def _receive(self, forth: bool) -> None:
        for _ in range(64):
            try:
                datagram, source = (self._near if forth else self._far).recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:  # ICMP unreachable, queued on the connected socket
                continue
            if forth:
                self._client = source
            passing = Passing(forth, self._seen[forth], datagram)
            self._seen[forth] += 1
            self.passed.append(passing)
            now = time.monotonic()
            for delay in self.script(passing):
                if delay:
                    heapq.heappush(self._waiting, (now + delay, next(self._tie), passing))
                else:
                    self._send(passing)

    def _send(self, passing: Passing) -> None:
        try:
            if passing.forth:
                self._far.send(passing.datagram)
            elif self._client is not None:
                self._near.sendto(passing.datagram, self._client)
        except OSError:  # full, or nobody there: a datagram may be lost
            pass
