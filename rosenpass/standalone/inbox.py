"""What waits for the worker: bounded, and a flood of InitHello pushes out nothing but InitHello.

An InitHello costs its receiver a few ms and its sender nothing, so it waits in a queue of its own, is taken
only when nothing else waits, and the oldest makes room. Anything longer than the longest message is not kept
at all.
"""

from collections import deque
from dataclasses import dataclass

from ..addresses import Address
from ..constants import MAX_DATAGRAM_LEN
from ..msgs import MessageType

INIT_HELLO_SLOTS = 64
OTHER_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Arrival:
    """One datagram and where it came from."""

    datagram: bytes
    source: Address


class Inbox:
    """Two queues; not thread-safe, the worker holds its lock. `dropped` counts what found no room."""

    def __init__(self) -> None:
        self.dropped = 0
        self._init_hellos: deque[Arrival] = deque()
        self._others: deque[Arrival] = deque()

    def put(self, datagram: bytes, source: Address) -> None:
        """Keep a datagram, or count it as dropped."""
        if not 0 < len(datagram) <= MAX_DATAGRAM_LEN:
            self.dropped += 1
            return
        is_init_hello = datagram[0] == MessageType.INIT_HELLO
        queue, slots = (self._init_hellos, INIT_HELLO_SLOTS) if is_init_hello else (self._others, OTHER_SLOTS)
        if len(queue) >= slots:
            queue.popleft()
            self.dropped += 1
        queue.append(Arrival(datagram, source))

    def take(self) -> Arrival | None:
        """Return the oldest datagram that is no InitHello, else the oldest InitHello, else None."""
        for queue in (self._others, self._init_hellos):
            if queue:
                return queue.popleft()
        return None
