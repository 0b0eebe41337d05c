"""wgpyd is there at once and small: processor time, since the machine is seldom ours alone.

The limits are 0.4 s from typing to passing packets and 64 MB idle; bench/start.py measures the wait.
"""

import time

import pytest
from lab import Namespace, wait_until
from wgpeer import wgpy_program

READY_S = 0.4
IDLE_BYTES = 64 << 20
TRIES = 3


def start_once() -> tuple[float, int]:
    """Processor seconds until the socket answers, and resident bytes a moment later."""
    with Namespace("h1") as host:
        daemon = host.spawn(wgpy_program("wgpyd"), "-f", "wg0")
        wait_until(lambda: host.ok("wg", "show", "wg0"), 15, "wgpyd to answer")
        used = daemon.cpu_seconds()
        time.sleep(0.5)
        return used, daemon.resident_bytes()


@pytest.mark.alone
def test_the_daemon_is_ready_at_once_and_small() -> None:
    runs = [start_once() for _ in range(TRIES)]
    seconds, resident = min(used for used, _ in runs), min(size for _, size in runs)
    print(f"\n{seconds:.2f} s of processor time, {resident / 2**20:.1f} MiB")
    assert seconds < READY_S
    assert resident <= IDLE_BYTES
