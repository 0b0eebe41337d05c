"""One end goes back to what it was a while ago: user traffic is back, and nothing leaked.

What an end keeps on disk are its configuration and its key files; the ring of preshared keys, counters, time
stamps and biscuit keys are in memory alone. So there are two kinds of snapshots. Of a disk: the files of
then, a process that knows nothing of what came since, and the clock of then, which makes its initiations look
like replays. Of a whole machine: memory too, so that it goes on with sessions that the other end has left.
"""

import shutil
from pathlib import Path

import pytest
from hub import address, hub_and_peers
from hybrid import FAST_ROTATION, hybrid, up_together, wait_for_rotations, wait_for_yes
from hybrid_story import flows, nothing_leaks, traffic
from lab import Namespace
from traffic import Numbered
from wall_clock import WallClock

DAY = 86_400


def test_restored_to_the_files_and_the_clock_of_a_day_ago(tmp_path: Path) -> None:
    """h1: a 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2, fd07::2 b: h2."""
    clock = WallClock(tmp_path)
    with hybrid(tmp_path, environment=FAST_ROTATION) as (a, b), nothing_leaks(a, b), traffic(a, b) as streams:
        a.quick.environment = {**a.quick.environment, **clock.environment}
        up_together(a, b)
        wait_for_yes(a, b)
        flows(streams)
        configuration = a.directory / "wg0.conf"
        shutil.copy2(configuration, tmp_path / "snapshot")
        wait_for_rotations(a, 2, within=40)
        a.kill()
        shutil.copy2(tmp_path / "snapshot", configuration)
        clock.set(-DAY)
        a.quick.up(configuration)
        print(f"\nfiles and clock of a day ago: {flows(streams):.2f} s")
        wait_for_rotations(a, 1, within=20)


@pytest.mark.parametrize(
    "rotations", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow), 3]
)
def test_a_machine_restored_with_its_memory(
    hosts: tuple[Namespace, Namespace], tmp_path: Path, rotations: int
) -> None:
    """h1: hub 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:random ═ light peer 10.20.0.0/32: h2.

    The peer's process is forked for the snapshot, and the fork ended for going back to it. Its wall clock is
    right, as a hypervisor sees to.
    """
    hub = hub_and_peers(hosts, tmp_path, 1, FAST_ROTATION)
    with Numbered(hub.end.host, address(0), 50, port=7) as stream:
        hub.tell("go")
        flows([stream])
        hub.tell("snapshot")
        wait_for_rotations(hub.end, rotations, within=20)
        hub.tell("restore")
        took = flows([stream])
        print(f"\nmemory of {rotations} rotations ago: {took:.2f} s")
        wait_for_rotations(hub.end, 1, within=20)
