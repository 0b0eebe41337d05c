"""When each peer next has something to do: a heap of moments, where a peer's latest entry counts.

Knows nothing of what is due then. A moment stays where its reason went: the peer is looked at in vain.
"""

import heapq
from collections.abc import Mapping

from wgpy.model import Instant, PeerNumber
from wgpy.peer import Peer

STALE_FACTOR = 4  # entries for each peer ...
STALE_LEAST = 256  # ... and these, before the superseded ones are thrown out


class Agenda:
    """At most one moment per peer, which `Peer.scheduled` has too.

    Args:
        peers: all there are; an entry of one that is gone counts no more.
    """

    def __init__(self, peers: Mapping[PeerNumber, Peer]) -> None:
        self._peers = peers
        self._heap: list[tuple[Instant, PeerNumber]] = []

    def __len__(self) -> int:
        """How many entries there are, superseded ones included."""
        return len(self._heap)

    def note(self, peer: Peer) -> None:
        """Enter the peer's deadline, if it has one and it is another."""
        moment = peer.deadline
        if moment is not None and moment != peer.scheduled:
            peer.scheduled = moment
            heapq.heappush(self._heap, (moment, peer.number))
            if len(self._heap) > STALE_FACTOR * len(self._peers) + STALE_LEAST:
                self.drop_stale()

    def next(self) -> Instant | None:
        """The earliest moment."""
        while self._heap:
            moment, number = self._heap[0]
            peer = self._peers.get(number)
            if peer is not None and peer.scheduled == moment:
                return moment
            heapq.heappop(self._heap)
        return None

    def take_due(self, now: Instant) -> list[PeerNumber]:
        """The peers whose moment has come; it is forgotten."""
        found: list[PeerNumber] = []
        while (moment := self.next()) is not None and moment <= now:
            _, number = heapq.heappop(self._heap)
            self._peers[number].scheduled = None
            found.append(number)
        return found

    def drop_stale(self) -> None:
        """An entry outlives its peer and its reason until its time comes, 540 s for a session's end."""
        self._heap = [
            (peer.scheduled, peer.number) for peer in self._peers.values() if peer.scheduled is not None
        ]
        heapq.heapify(self._heap)
