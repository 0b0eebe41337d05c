"""Randomness that a test can repeat."""

import random
from collections.abc import Callable


def seeded_bytes(seed: int | str) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes
