"""One thread that owns a CryptoServer, so that its public-key work delays no event loop.

The server has no locks; everything reaches it through this thread: datagrams by submit(), everything else by
call(). What it wants done comes out through one callback, on this thread. The slow parts (Classic McEliece,
hashes of half a MiB) release the GIL.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ..actions import Action, KeyExchanged, KeyStale
from ..addresses import Address
from ..constants import SECOND, Instant
from ..erasure import wipe
from ..server import CryptoServer
from .inbox import Inbox

log = logging.getLogger(__name__)

STACK_SIZE = 8 * 1024 * 1024  # Classic McEliece wants more than some libc's threads have

LONGEST_WAIT = 5.0  # s; a sleep of the machine does not count for a condition variable
STUMBLE_PAUSE = 0.1  # s; a bug that returns at each turn shall not fill the disk with its log

T = TypeVar("T")
Command = Callable[[], None]
Clock = Callable[[], int]


def boot_time() -> int:
    """Return ns since boot, sleep included: a key that is old for the peer is old here too."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Worker:
    """Runs a server until stop().

    Args:
        server: handed over; nobody else may touch it from now on.
        deliver: takes the actions, in order, on the worker's thread; must not block.
        clock: ns of the clock that the server's timers run on; by default it counts while the machine sleeps.
    """

    def __init__(
        self,
        server: CryptoServer,
        deliver: Callable[[list[Action]], None],
        clock: Clock = boot_time,
    ) -> None:
        self._server = server
        self._deliver = deliver
        self._clock = clock
        self._inbox = Inbox()
        self._commands: deque[Command] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rosenpass", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        previous = threading.stack_size(STACK_SIZE)
        try:
            self._thread.start()
        finally:
            threading.stack_size(previous)

    def stop(self) -> None:
        """Finish what runs, wipe the server's secrets and end the thread. Harmless when it has ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, datagram: bytes, source: Address) -> None:
        """Hand over a datagram from any thread; never blocks, may drop (see inbox.py)."""
        with self._wake:
            self._inbox.put(datagram, source)
            self._wake.notify()

    def call(self, function: Callable[[CryptoServer, Instant], T]) -> Future[T]:
        """Run `function(server, now)` on the worker's thread; before any datagram that waits."""
        future: Future[T] = Future()

        def command() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(self._server, self._now()))
                except Exception as error:
                    future.set_exception(error)

        with self._wake:
            if self._stopping:
                raise RuntimeError("the worker has stopped")
            self._commands.append(command)
            self._wake.notify()
        return future

    @property
    def dropped(self) -> int:
        """Datagrams that found no room so far."""
        return self._inbox.dropped

    @property
    def refused(self) -> dict[str, int]:
        """Datagrams that the server refused so far, by class of RemoteError; from any thread."""
        return dict(self._server.refused)

    def _now(self) -> Instant:
        return Instant(self._clock())

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            with self._wake:
                self._stopping = True
            self._server.wipe()
            for command in self._commands:
                command()  # answered with UnknownPeer or the like: nobody waits for ever
            self._server.wipe()  # what these brought, a peer with its preshared key

    def _turn(self) -> None:
        try:
            if (work := self._next()) is None:
                return
            work()
            self._tick()
            if actions := self._server.take_actions():
                self._hand_over(actions)
        except Exception:
            # Ours, not the network's: what the network sends cannot raise. Be loud, serve the others.
            log.exception("the exchange stumbled; please report this")
            time.sleep(STUMBLE_PAUSE)

    def _hand_over(self, actions: list[Action]) -> None:
        try:
            self._deliver(actions)
        except Exception:
            wipe(*(action.osk for action in actions if isinstance(action, KeyExchanged | KeyStale)))
            raise

    def _next(self) -> Command | None:
        """Wait for something to do; None when it is time to stop."""
        with self._wake:
            while True:
                if self._stopping:
                    return None
                if self._commands:
                    return self._commands.popleft()
                if (arrival := self._inbox.take()) is not None:
                    return lambda: self._receive(arrival.datagram, arrival.source)
                deadline = self._server.next_deadline()
                wait = LONGEST_WAIT if deadline is None else (deadline - self._clock()) / SECOND
                if wait <= 0:
                    return lambda: None  # _tick follows
                self._wake.wait(min(wait, LONGEST_WAIT))

    def _receive(self, datagram: bytes, source: Address) -> None:
        before, begun = self._server.decapsulations, time.perf_counter_ns()
        self._server.receive(datagram, source, self._now())
        if self._server.decapsulations != before:
            self._server.measured(time.perf_counter_ns() - begun)

    def _tick(self) -> None:
        now = self._now()
        deadline = self._server.next_deadline()
        if deadline is not None and deadline <= now:
            self._server.tick(now)
