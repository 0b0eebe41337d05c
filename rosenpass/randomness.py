"""Randomness is handed in: os.urandom at the edge, a recorded or seeded stream in tests."""

from collections.abc import Callable

RandomBytes = Callable[[int], bytes]


def uniform(random: RandomBytes, low: int, high: int) -> int:
    """Return an integer of [low, high), for jitter: the bias of one division is far below a ns."""
    return low + (high - low) * int.from_bytes(random(8), "little") // (1 << 64)
