"""Who hands out sender indices. At the edge it is the data plane, whose table is the only one."""

from typing import Protocol

from wgpy.crypto import RandomBytes
from wgpy.model import PeerNumber


class IndexAllocator(Protocol):
    """Unused random 32-bit indices; a handshake's index becomes its keypair's when that is installed."""

    def reserve(self, peer: PeerNumber) -> int:
        """A fresh index that now belongs to the peer."""

    def release(self, index: int) -> None:
        """Give back the index of a handshake that came to nothing; an unknown one is ignored."""


class SeededIndices:
    """An allocator for tests and simulations."""

    def __init__(self, random: RandomBytes) -> None:
        self._random = random
        self.owners: dict[int, PeerNumber] = {}

    def reserve(self, peer: PeerNumber) -> int:
        """A fresh index that now belongs to the peer."""
        index = int.from_bytes(self._random(4))
        while index in self.owners:
            index = int.from_bytes(self._random(4))
        self.owners[index] = peer
        return index

    def release(self, index: int) -> None:
        """Forget the index."""
        self.owners.pop(index, None)
