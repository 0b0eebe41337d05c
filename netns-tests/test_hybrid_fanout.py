"""One hub with many strict peers in one process, all come at the same moment.

    h1: hub 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:random ═ light peers 10.20.x.y/32: h2

The peers are the real cores without a data plane, see light_peers.py; they share the two processors with the
hub, and each exchange costs them as much as it costs the hub. Making two hundred key pairs takes 40 s.
"""

import os
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hub import Hub, hub_and_peers
from hybrid import FAST_ROTATION
from lab import Namespace, cpu_seconds, wait_until

COUNT = int(os.environ.get("WGPY_FANOUT", "200"))
WITHIN_S = 60.0
RENEWED_S = 140.0  # the latest renewal of a first key, and what it takes
A_RENEWAL_S = 60.0  # what replaces a key younger than this was no renewal
MEMORY_MOST = 600 << 20

Hosts = tuple[Namespace, Namespace]


def test_twenty_peers_come_at_once_and_renew_their_keys(hosts: Hosts, tmp_path: Path) -> None:
    hub = hub_and_peers(hosts, tmp_path, 20, FAST_ROTATION)
    start_all(hub, 20)
    births = watch_births(hub, 20, renewals=2, apart=1, within=20)
    print(f"renewed {sum(len(seen) - 1 for seen in births)} times")
    assert hub.count_yes() == 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hub_with_two_hundred_peers(hosts: Hosts, tmp_path: Path) -> None:
    begun = time.monotonic()
    hub = hub_and_peers(hosts, tmp_path, COUNT, {})
    print(f"\nkey pairs made, `wgpy up` with {COUNT} peers: {time.monotonic() - begun:.1f} s")
    device = hub.end.device_process
    before = cpu_seconds(device)
    start_all(hub, COUNT)
    births = watch_births(hub, COUNT, renewals=1, apart=A_RENEWAL_S, within=RENEWED_S)
    report_renewals(births)
    print(f"hub's processor time {cpu_seconds(device) - before:.1f} s, resident {resident(device) >> 20} MiB")
    assert hub.count_yes() == COUNT
    assert resident(device) < MEMORY_MOST


def start_all(hub: Hub, count: int) -> None:
    device = hub.end.device_process
    processor, start = cpu_seconds(device), time.monotonic()
    hub.tell("go")
    wait_until(
        lambda: hub.count_yes() == count,
        WITHIN_S,
        lambda: f"{count} post-quantum, not {hub.count_yes()}",
        every=0.25,
    )
    print(
        f"\nall {count} post-quantum after {time.monotonic() - start:.1f} s, hub's processor time"
        f" {cpu_seconds(device) - processor:.1f} s, resident {resident(device) >> 20} MiB"
    )


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def watch_births(hub: Hub, count: int, renewals: int, apart: float, within: float) -> list[list[int]]:
    """For each peer the seconds (of boot time) in which its keys were agreed, in order.

    Until each key was replaced so many times that was at least `apart` seconds old.
    """
    births: list[list[int]] = [[] for _ in range(count)]

    def all_renewed() -> bool:
        state, now = hub.end.state(), time.clock_gettime(time.CLOCK_BOOTTIME)
        for seen, peer in zip(births, state["peers"], strict=True):
            born = round(now - (peer["quantum"]["key_age_s"] or 0) - 0.5)
            if not seen or born > seen[-1] + 1:
                seen.append(born)
        return all(sum(gap >= apart for gap in gaps(seen)) >= renewals for seen in births)

    wait_until(all_renewed, within, "every key to be renewed", every=0.5)
    return births


def gaps(seen: list[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(seen)]


def report_renewals(births: list[list[int]]) -> None:
    renewed = Counter(
        later for seen in births for earlier, later in pairwise(seen) if later - earlier >= A_RENEWAL_S
    )
    lives = [gap for seen in births for gap in gaps(seen)]
    again = [life for life in lives if life < A_RENEWAL_S]
    busiest, span = max(renewed.values()), max(renewed) - min(renewed)
    print(
        f"renewals: {sum(renewed.values())} within {span} s, at most {busiest} in one second, of keys"
        f" {min(life for life in lives if life >= A_RENEWAL_S)} to {max(lives)} s old; {len(again)} keys were"
        f" replaced at the start, when {sorted(again)} s old"
    )
    assert busiest <= len(births) / 8
