"""One hub with two hundred strict peers in one process.

    h1: hub 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:random ═ 200 light peers 10.20.x.y/32: h2

The peers are the real cores without a data plane, see light_peers.py; they share the two processors with the
hub, and each exchange costs them as much as it costs the hub. Making their key pairs takes 40 s beforehand.
"""

import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hybrid import End, Far, key_pair, program
from lab import PROJECT, Namespace, cpu_seconds, wait_until
from wgpeer import PORT, Keys

COUNT = int(os.environ.get("WGPY_FANOUT", "200"))
WITHIN_S = 60.0
WATCHED_S = 150.0  # beyond the first renewals of all
MEMORY_MOST = 600 << 20


def address(number: int) -> str:
    return f"10.20.{number >> 8}.{number & 255}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hub_with_two_hundred_peers(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    h1, h2 = hosts
    with ThreadPoolExecutor(2) as pool:
        pairs = list(pool.map(key_pair, range(1, COUNT + 2)))
    hub = End(h1, 1, tmp_path / "hub", pair=pairs[0])
    keys = [Keys.generate() for _ in range(COUNT)]
    hub.peers = [
        Far(one, (f"{address(number)}/32",), rosenpass=pairs[number + 1] / "pqpk")
        for number, one in enumerate(keys)
    ]
    story = {
        "hub": ["10.99.0.1", PORT],
        "inside": hub.address4,
        "public_key": hub.keys.public,
        "rosenpass": str(pairs[0] / "pqpk"),
        "peers": [
            {"private_key": one.private, "pair": str(pairs[number + 1]), "inside": address(number)}
            for number, one in enumerate(keys)
        ],
    }
    (tmp_path / "story.json").write_text(json.dumps(story))
    begun = time.monotonic()
    hub.up()
    print(f"\n`wgpy up` with {COUNT} peers: {time.monotonic() - begun:.1f} s")
    peers = h2.spawn(
        *program("light_peers.py"), tmp_path / "story.json", env={"PYTHONPATH": f"{PROJECT}"}, stdin=-1
    )
    wait_until(lambda: "ready" in peers.output(), 60, lambda: f"the peers to be ready: {peers.output()}")
    device = hub.device_process
    processor, start = cpu_seconds(device), time.monotonic()
    peers.tell(b"go\n")
    wait_until(
        lambda: count_yes(hub) == COUNT, WITHIN_S, lambda: f"{COUNT} post-quantum, not {count_yes(hub)}"
    )
    print(
        f"all {COUNT} post-quantum after {time.monotonic() - start:.1f} s, hub's processor time"
        f" {cpu_seconds(device) - processor:.1f} s, resident {resident(device) >> 20} MiB"
    )
    births = watch_births(hub, start + WATCHED_S)
    report_renewals(births, cpu_seconds(device) - processor)
    assert count_yes(hub) == COUNT
    assert resident(device) < MEMORY_MOST


def count_yes(hub: End) -> int:
    return sum(peer["quantum"]["state"] == "yes" for peer in hub.state().get("peers", []))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def watch_births(hub: End, until: float) -> list[list[int]]:
    """For each peer the seconds (of boot time) in which its keys were agreed, in order."""
    births: list[list[int]] = [[] for _ in range(COUNT)]
    while time.monotonic() < until:
        state, now = hub.state(), time.clock_gettime(time.CLOCK_BOOTTIME)
        for seen, peer in zip(births, state["peers"], strict=True):
            born = round(now - (peer["quantum"]["key_age_s"] or 0) - 0.5)
            if not seen or born > seen[-1] + 5:
                seen.append(born)
        time.sleep(0.5)
    return births


def report_renewals(births: list[list[int]], processor: float) -> None:
    renewed = Counter(born for seen in births for born in seen[1:])
    apart = [later - earlier for seen in births for earlier, later in pairwise(seen)]
    assert sum(renewed.values()) >= COUNT
    busiest, span = max(renewed.values()), max(renewed) - min(renewed)
    print(
        f"renewals: {sum(renewed.values())} within {span} s, at most {busiest} in one second, each"
        f" {min(apart)} to {max(apart)} s after the one before; processor time so far {processor:.1f} s"
    )
    assert busiest <= COUNT / 4
