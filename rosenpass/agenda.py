"""Which peer has something to do next: a heap of moments, where a peer's latest entry counts."""

import heapq

from .constants import Instant
from .peers import Peer


class Agenda:
    """At most one moment per peer. Superseded entries stay in the heap until they surface or crowd it."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Peer]] = []
        self._serial = 0
        self._live = 0

    def set(self, peer: Peer, at: Instant | None) -> None:
        """Replace the peer's moment; None removes it."""
        if peer.scheduled == at:
            return
        self._live += (at is not None) - (peer.scheduled is not None)
        peer.scheduled = at
        if at is not None:
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, peer))
        if len(self._heap) > 4 * self._live + 64:
            self._heap = [entry for entry in self._heap if entry[2].scheduled == entry[0]]
            heapq.heapify(self._heap)

    def next(self) -> Instant | None:
        """Return the earliest moment."""
        while self._heap and self._heap[0][2].scheduled != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, until: Instant) -> list[Peer]:
        """Return the peers whose moment is not after `until`, and forget those moments."""
        due = []
        while (at := self.next()) is not None and at <= until:
            peer = heapq.heappop(self._heap)[2]
            peer.scheduled = None
            self._live -= 1
            due.append(peer)
        return due
