"""Long life: rekeys and rotations every few seconds, fault after fault, and nothing grows or slows down.

    h1: a 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 (and .3) ═ 10.7.0.2 b: h2

`a` lives from beginning to end and is measured; `b` is killed now and then. `make soak` runs this an hour, or
SOAK_MINUTES; the gate for two minutes. The faults' order is random, its seed printed.
"""

import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hybrid import INTERFACE, End, hybrid, up_together, wait_for_yes
from hybrid_story import HEAL_S, cut, mend
from lab import wait_until
from wall_clock import WallClock

MINUTES = float(os.environ.get("WGPY_SOAK_MINUTES", "2"))
pytestmark = [pytest.mark.netns, pytest.mark.timeout(MINUTES * 60 + 240)]
SEED = int(os.environ.get("WGPY_SOAK_SEED", str(time.time_ns() % 1_000_000)))
REST_S = 5.0 if MINUTES >= 5 else 0.0  # of a round, for renewals that nothing disturbs
SHORTENED = {
    "WGPY_TIMINGS": "rekey_after_time=4,reject_after_time=12,rekey_timeout=1.5,keepalive_timeout=2",
    "WGPY_ROSENPASS_TIMERS": "rekey_after_responder=3,rekey_after_initiator=3.5,overdue=3,reject_after=30",
}
LOSS = """
table inet loss {
    chain incoming { type filter hook input priority 0; udp dport 51820 numgen random mod 100 < 25 drop; }
    chain outgoing { type filter hook output priority 0; udp sport 51820 numgen random mod 100 < 25 drop; }
}
"""


@dataclass(frozen=True)
class Sample:
    """One round's figures of `a`."""

    at_s: float
    fault: str
    healed_s: float
    mbit_s: float
    anonymous_kib: int  # memory of its own; pages of files come and go
    descriptors: int
    threads: int


class Story:
    """Two ends and what befalls them. Each fault is over when its method returns; the healing is timed."""

    def __init__(self, a: End, b: End, clock: WallClock, chance: random.Random) -> None:
        self.a, self.b, self._clock, self._chance = a, b, clock, chance
        self.faults: list[Callable[[], None]] = [
            *(self.loss, self.cut_cable, self.kill_and_restart, self.interface_down_and_up),
            *(self.clock_step, self.roam),
        ]

    def loss(self) -> None:
        self.b.host.nft(LOSS)
        time.sleep(3)
        self.b.host.nft("delete table inet loss")

    def cut_cable(self) -> None:
        cut(self.b)
        time.sleep(3)
        mend(self.b)

    def kill_and_restart(self) -> None:
        self.b.kill()
        self.b.up()

    def interface_down_and_up(self) -> None:
        end = self._chance.choice((self.a, self.b))
        end.host.ip(f"link set dev {INTERFACE} down")
        time.sleep(1)
        end.host.ip(f"link set dev {INTERFACE} up")
        end.host.ip(f"route replace {(self.b if end is self.a else self.a).address4}/32 dev {INTERFACE}")

    def clock_step(self) -> None:
        self._clock.set(self._chance.choice((-86_400, -60, 0, 60, 86_400)))

    def roam(self) -> None:
        host = self.b.host
        old, new = ("2", "3") if "10.99.0.2/24" in host.ip("-4 address show dev eth0") else ("3", "2")
        host.sysctl("net.ipv4.conf.eth0.promote_secondaries", 1)  # else the old one takes the new one along
        host.ip(f"address add 10.99.0.{new}/24 dev eth0")
        host.ip(f"address del 10.99.0.{old}/24 dev eth0")

    def round(self, fault: Callable[[], None], start: float, pid: int) -> Sample:
        fault()
        broken = time.monotonic()
        wait_until(self._flows, HEAL_S, lambda: f"traffic after {fault.__name__} (seed {SEED})")
        healed = time.monotonic() - broken
        rate = self._rate()
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        return Sample(
            time.monotonic() - start,
            fault.__name__,
            healed,
            rate,
            int(fields["RssAnon"].split()[0]),
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
            int(fields["Threads"]),
        )

    def _flows(self) -> bool:
        return all([self.b.reaches(self.a.address4), self.a.reaches(self.b.address4)])

    def _rate(self) -> float:
        """Of a TCP stream of a second, Mbit/s; one lost beginning is tried again."""
        argv = ("iperf3", "-J", "-t", "1", "--connect-timeout", "3000", "-c", self.b.address4)
        for _ in range(3):
            # The exit code does not tell: iperf3 -J ends with 0 after some of its errors too.
            report = json.loads(self.a.host.result(*argv, timeout=30).stdout)
            if "error" not in report:
                return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6
            print(f"no transfer: {report['error']}")
            time.sleep(1)  # the last farewell may have been in what the fault took: then the server is busy
        raise AssertionError(f"no transfer: {report['error']} (seed {SEED})")


def test_nothing_grows_and_nothing_slows_down(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    clock = WallClock(tmp_path)
    with hybrid(tmp_path, environment=SHORTENED | clock.environment) as (a, b):
        story = Story(a, b, clock, chance)
        up_together(a, b)
        wait_for_yes(a, b)
        b.host.spawn("iperf3", "-s", "-B", "0.0.0.0")
        pid, start = a.device_process, time.monotonic()
        samples = [story.round(no_fault, start, pid)]
        print(f"\nseed {SEED}, {MINUTES:g} minutes; of the end that is never killed:")
        while time.monotonic() - start < MINUTES * 60:
            for fault in chance.sample(story.faults, len(story.faults)):
                samples.append(story.round(fault, start, pid))
                print(line(samples[-1]), flush=True)
                time.sleep(REST_S)
                if time.monotonic() - start >= MINUTES * 60:
                    break
        wait_for_yes(a, b, within=30)
        assert a.device_process == pid
    judge(samples)


def no_fault() -> None:
    """The first round."""


def line(sample: Sample) -> str:
    return (
        f"{sample.at_s:7.0f} s  {sample.fault:22} healed {sample.healed_s:5.2f} s"
        f"  {sample.mbit_s:6.0f} Mbit/s  {sample.anonymous_kib} KiB"
        f"  {sample.descriptors} descriptors  {sample.threads} threads"
    )


def judge(samples: list[Sample]) -> None:
    """Figures first, then what they must be; the first sixth of the rounds is for warming up."""
    warm = samples[len(samples) // 6 :]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]
    hours = max(warm[-1].at_s - warm[0].at_s, 1) / 3600
    slope = slope_per_hour(warm)
    print(f"{len(samples)} rounds, {samples[-1].at_s:.0f} s")
    for name in ("mbit_s", "anonymous_kib", "descriptors", "threads", "healed_s"):
        early, late = (
            statistics.median(float(getattr(each, name)) for each in part) for part in (first, last)
        )
        print(f"{name:13} first third {early:10.2f}  last third {late:10.2f}")
    print(f"memory: {slope:+.0f} KiB an hour by least squares, over {hours * 60:.1f} minutes")
    assert slope * hours < 1024, "memory grows"
    assert max(each.descriptors for each in last) <= max(each.descriptors for each in first), (
        "descriptors leak"
    )
    assert max(each.threads for each in last) <= max(each.threads for each in first), "threads leak"
    early, late = (statistics.median(each.mbit_s for each in part) for part in (first, last))
    assert late > 0.5 * early, "throughput falls"


def slope_per_hour(samples: list[Sample]) -> float:
    if len(samples) < 3:
        return 0.0
    fit = statistics.linear_regression(
        [each.at_s / 3600 for each in samples], [float(each.anonymous_kib) for each in samples]
    )
    return fit.slope
