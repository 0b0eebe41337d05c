"""Time to post-quantum: from both devices being up to the first user byte at the far end.

    h1: a 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 b: h2

`wgpy up` is started on both ends at once. The clock starts when the later of the two interfaces has its link
up, which is the first moment at which both ends could exchange anything; it stops when a datagram sent into
the tunnel of one end is received by a socket at the other, for the slower of the two directions. The senders
begin before there is an interface and send every two milliseconds. What `wgpy up` itself takes (an
interpreter, key files, addresses, routes) is stated beside it, from typing to returning, and from typing to
that first byte: on two processors both ends' interpreters start at once, which is the machine's time. So it
is also measured with `wgpy up` typed on one end while the other stands, as if each had a machine of its own.
"""

import socket
import statistics
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hybrid import End, hybrid, up_together
from lab import wait_until

RUNS = 11
LOSS_RUNS = 11
STANDS_S = 1.0
PORT = 7001
PAUSE_S = 0.002
LOSS = """
table inet loss {
    chain incoming { type filter hook input priority 0; iifname "eth0" numgen random mod 100 < 20 drop; }
}
"""


class Seen:
    """Notes when a link came up, by looking every millisecond, and when the first datagram arrived."""

    def __init__(self, end: End, target: str) -> None:
        self.up = self.heard = 0.0
        self._ended = threading.Event()
        self._end, self._target = end, target
        self._socket = end.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("0.0.0.0", PORT))
        self._socket.settimeout(0.05)
        self._threads = [threading.Thread(target=work) for work in (self._receive, self._send)]

    def __enter__(self) -> "Seen":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._ended.is_set() and not self.heard:
            try:
                self._socket.recv(100)
                self.heard = time.monotonic()
            except TimeoutError:
                pass

    def _send(self) -> None:
        """An interface that is up has its connected route, and only then does a datagram find a way."""
        with self._end.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not self._ended.is_set():
                try:
                    out.sendto(b"user", (self._target, PORT))
                    self.up = self.up or time.monotonic()
                except OSError:
                    pass
                time.sleep(PAUSE_S)


@dataclass
class Times:
    """Seconds: to the first byte of the slower direction, and to the return of the slower `wgpy up`."""

    from_up: float
    from_typing: float
    returned: float


def first_bytes(directory: Path, loss: bool = False, b_stands: bool = False) -> Times:
    with hybrid(directory) as (a, b), ExitStack() as stack:
        if loss:
            for end in (a, b):
                end.host.nft(LOSS)
        if b_stands:
            b.up()
        seen = [stack.enter_context(Seen(one, other.address4)) for one, other in ((a, b), (b, a))]
        if b_stands:
            time.sleep(STANDS_S)
        typed = time.monotonic()
        up_together(*((a,) if b_stands else (a, b)))
        returned = time.monotonic() - typed
        wait_until(lambda: all(one.heard for one in seen), 30, "the first user byte in both directions")
        heard = max(one.heard for one in seen)
        return Times(heard - max(one.up for one in seen), heard - typed, returned)


def several(directory: Path, runs: int, **how: bool) -> list[Times]:
    found = []
    for number in range(runs):
        (directory / str(number)).mkdir()
        found.append(first_bytes(directory / str(number), **how))
    return found


def report(name: str, found: list[Times]) -> None:
    times = [one.from_up for one in found]
    print(
        f"\n{name}: median {statistics.median(times) * 1000:.0f} ms, at most {max(times) * 1000:.0f} ms"
        f" of {len(times)} runs; from typing `wgpy up`"
        f" {statistics.median([one.from_typing for one in found]):.2f} s,"
        f" which returned after {statistics.median([one.returned for one in found]):.2f} s"
    )


def test_the_first_user_byte_comes_within_half_a_second(tmp_path: Path) -> None:
    found = several(tmp_path, RUNS)
    report("time to post-quantum", found)
    assert statistics.median([one.from_up for one in found]) < 0.5


def test_an_end_that_joins_has_it_as_soon(tmp_path: Path) -> None:
    found = several(tmp_path, RUNS, b_stands=True)
    report("time to post-quantum of an end that joins", found)
    assert statistics.median([one.from_up for one in found]) < 0.5


def test_the_first_user_byte_comes_within_two_seconds_at_20_percent_loss(tmp_path: Path) -> None:
    found = several(tmp_path, LOSS_RUNS, loss=True)
    report("time to post-quantum, a fifth of the datagrams lost each way", found)
    assert statistics.median([one.from_up for one in found]) < 2.0
