"""Whatever is killed when: `wgpy down`, or the next `wgpy up`, leaves the host as it was.

h1 10.99.0.1 ── eth0 ── eth0 ── 10.99.0.2 h2
"""

import os
import random
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from lab import LabError, Namespace, wait_until
from quickhost import DEVICE, DEVICES, PEER_KEY, WGPY, QuickHost

pytestmark = pytest.mark.netns

FULL = (
    "[Interface]\nAddress = 10.0.0.1/24, fd00::1/64\nDNS = 10.0.0.53\n"
    "PreUp = touch /run/pre-up; while [ -e /run/hold-pre-up ]; do sleep 0.1; done\n"
    "PostUp = echo up >> /run/hooks; touch /run/post-up\n"
    "PostUp = while [ -e /run/hold-post-up ]; do sleep 0.1; done\n"
    "PostDown = echo down >> /run/hooks\n"
    f"[Peer]\nPublicKey = {PEER_KEY}\nEndpoint = 10.99.0.2:51820\nAllowedIPs = 0.0.0.0/0, ::/0, 10.8.0.0/16\n"
)
# Where `up` is killed: after so many lines of its journal (head, device, process, link, then a step each).
LAST_LINE = 20
PROCESS_LINE = 3  # killed before that is written: the device process notices
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> QuickHost:
    h1, _ = hosts
    return QuickHost(h1, tmp_path, DEVICES[DEVICE])


def settled(quick: QuickHost, before: list[str]) -> None:
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before


@pytest.mark.parametrize("again", ["down", "up"])
def test_device_process_killed_while_up(quick: QuickHost, again: str) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    quick.up(path)
    standing = quick.snapshot()
    quick.host.run("kill", "-9", quick.device_pid())
    wait_until(lambda: "wg0" not in quick.host.ip("link"), 5, "the interface to go with its process")
    if again == "up":
        assert "left behind" in quick.up(path).stderr
        assert [line for line in quick.snapshot() if "wg0:" not in line] == [
            line for line in standing if "wg0:" not in line
        ]
    quick.down(path)
    settled(quick, before)
    assert quick.host.run("cat", "/run/hooks").split() == ["up", "down"] * (2 if again == "up" else 1)


def test_down_that_nobody_listens_to_undoes_everything(quick: QuickHost) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    quick.up(path)
    deaf = 'exec 2> >(exit); wait $!; exec "$@"'  # standard error is a pipe whose other end is closed
    quick.host.result("bash", "-c", deaf, "-", *WGPY, "down", path, env=quick.environment)
    settled(quick, before)


def test_interface_that_another_program_made_after_a_crash_is_not_touched(quick: QuickHost) -> None:
    path = quick.write(FULL.replace("[Interface]\n", "[Interface]\nSaveConfig = true\n"))
    before = quick.snapshot()
    quick.up(path)
    quick.host.run("kill", "-9", quick.device_pid())
    wait_until(lambda: "wg0" not in quick.host.ip("link"), 5, "the interface to go with its process")
    quick.host.run("wireguard-go", "wg0")
    quick.host.ip("address add 10.0.0.1/24 dev wg0")
    quick.host.ip("link set wg0 up mtu 1300")
    assert "already exists" in quick.wgpy("up", path).stderr
    assert "10.0.0.1/24" in quick.host.ip("-o address show dev wg0 up")
    assert "mtu 1300" in quick.host.ip("link show dev wg0 up")
    quick.host.run("wg", "show", "wg0")
    assert PEER_KEY in path.read_text()  # another's configuration was not saved as ours
    quick.host.ip("link delete wg0")
    settled(quick, before)


def test_tunnel_of_another_namespace_is_undone_there_or_forgotten_with_it(quick: QuickHost) -> None:
    path = quick.write(FULL)
    servers = quick.host.run("cat", "/etc/resolv.conf")
    quick.up(path)
    quick.host.run("kill", "-9", quick.device_pid())
    wait_until(lambda: "wg0" not in quick.host.ip("link"), 5, "the interface to go with its process")
    elsewhere = ("unshare", "--net", *WGPY, "down", path)
    refused = quick.host.result(*elsewhere, env=quick.environment)
    assert refused.returncode == 1
    assert "cleans up there" in refused.stderr
    gone = 's/"namespace": [0-9]*/"namespace": 1/'
    quick.host.run("sed", "-i", gone, "/run/wgpy/wg0.journal")
    forgotten = quick.host.result(*elsewhere, env=quick.environment)
    assert forgotten.returncode == 0, forgotten.stderr
    assert quick.host.run("cat", "/etc/resolv.conf") == servers
    assert not quick.host.ok("test", "-e", "/run/wgpy/wg0.journal")


@pytest.mark.parametrize("where", ["pre-up", "post-up"])
@pytest.mark.parametrize("again", ["down", "up"])
def test_up_killed_in_a_hook(quick: QuickHost, where: str, again: str) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    quick.host.run("touch", f"/run/hold-{where}")
    process = quick.host.spawn(*WGPY, "up", path, env=quick.environment)
    wait_until(lambda: quick.host.ok("test", "-e", f"/run/{where}"), 10, process.output)
    process.signal(signal.SIGKILL)
    process.wait(5)
    quick.host.run("rm", f"/run/hold-{where}")
    recover(quick, path, again)
    settled(quick, before)


KILLED_AT = """
import os, runpy, signal, sys
from wgpy.quick import journal
lines, write = 0, journal._write
def dying(path, text, flag):
    global lines
    lines += 1
    if lines == {line} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, text, flag)
    if lines == {line}:
        os.kill(os.getpid(), signal.SIGKILL)
journal._write = dying
sys.argv = ["wgpy", "up", {path!r}]
runpy.run_module("wgpy", run_name="__main__")
"""


@pytest.mark.parametrize("line", range(1, LAST_LINE + 1))
def test_up_killed_between_any_two_steps(quick: QuickHost, line: int) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    program = KILLED_AT.format(line=line, before=line % 2 == 0 or line == PROCESS_LINE, path=str(path))
    killed = quick.host.result(WGPY[0], "-P", "-c", program, env=quick.environment)
    assert killed.returncode in KILLED, killed.stderr
    recover(quick, path, "up" if line % 3 == 0 else "down")
    settled(quick, before)


def test_down_before_the_device_process_has_begun(quick: QuickHost, tmp_path: Path) -> None:
    """It was told to go, `up` was killed, and `down` has deleted what there was when it creates the rest."""
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\nsleep 2\nexec {sys.executable} -P -m wgpy.daemon "$@"\n')
    slow.chmod(0o755)
    path = quick.write(FULL)
    before = quick.snapshot()
    process = quick.host.spawn(
        *WGPY, "up", path, env={**quick.environment, "WGPY_USERSPACE_IMPLEMENTATION": str(slow)}
    )
    wait_until(lambda: quick.host.ok("grep", "-q", '"pid"', "/run/wgpy/wg0.journal"), 10, process.output)
    process.signal(signal.SIGKILL)
    process.wait(5)
    recover(quick, path, "down")
    settled(quick, before)


def test_wgpyd_by_its_own_name_is_told_everything_that_ours_is(quick: QuickHost) -> None:
    """The program that waits before another implementation is started keeps nothing from it."""
    path = quick.write(FULL)
    before = quick.snapshot()
    quick.up(path, WGPY_USERSPACE_IMPLEMENTATION=f"{sys.executable} -P -m wgpy.daemon")
    status = quick.host.run("cat", f"/proc/{quick.device_pid()}/status")
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)  # it heard that the host is set up
    quick.host.run("kill", quick.device_pid())
    settled(quick, before)


def recover(quick: QuickHost, path: Path, again: str) -> None:
    """What a person does next; the device process may have cleaned up by itself already."""
    if again == "up":
        done = quick.wgpy("up", path)
        assert done.returncode == 0, done.stderr
    done = quick.wgpy("down", path)
    assert done.returncode == 0 or "is not up" in done.stderr, done.stderr


def test_down_killed_and_run_again(quick: QuickHost) -> None:
    path = quick.write(FULL.replace("PostDown = ", "PreDown = kill -9 $PPID\nPostDown = "))
    before = quick.snapshot()
    quick.up(path)
    assert quick.wgpy("down", path).returncode in KILLED
    done = quick.wgpy("down", path)
    assert done.returncode in KILLED
    quick.host.run("sed", "-i", 's/"pre_down": \\["[^"]*"\\]/"pre_down": []/', "/run/wgpy/wg0.journal")
    quick.down(path)
    settled(quick, before)


def test_two_at_once_do_not_get_in_each_others_way(quick: QuickHost) -> None:
    path = quick.write(FULL)
    before = quick.snapshot()
    both = [quick.host.spawn(*WGPY, "up", path, env=quick.environment) for _ in range(2)]
    assert sorted(process.wait(20) for process in both) == [0, 1]
    quick.down(path)
    settled(quick, before)


ROUNDS = int(os.environ.get("WGPY_KILL_ROUNDS", "12"))
SEED = int(os.environ.get("WGPY_KILL_SEED", str(time.time_ns() % 1_000_000)))
UP_TAKES_S = 1.6  # killed at some moment within it, on a machine like ours


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_up_and_down_killed_at_random_moments(quick: QuickHost) -> None:
    """The command, the device process, or both at once; then `down` or the next `up` has to manage."""
    chance = random.Random(SEED)
    path = quick.write(FULL.replace("[ -e /run/hold", "[ -e /run/never"))
    before = quick.snapshot()
    for number in range(ROUNDS):
        what = chance.choice(("up", "down", "device"))
        again = chance.choice(("up", "down"))
        moment = chance.uniform(0, UP_TAKES_S if what != "down" else UP_TAKES_S / 2)
        print(f"seed {SEED} round {number}: {what} killed after {moment:.3f} s, then {again}")
        if what == "down":
            quick.up(path)
        process = quick.host.spawn(*WGPY, "up" if what != "down" else "down", path, env=quick.environment)
        time.sleep(moment)
        if what == "device":
            quick.host.result("pkill", "-9", "-f", "wgpy.daemon -f wg0")  # in its own process namespace
            with suppress(LabError):
                process.wait(20)
        process.kill()
        stands = quick.host.ok("grep", "-q", '"complete"', "/run/wgpy/wg0.journal")
        alive = quick.host.ok("wg", "show", "wg0")
        recover(quick, path, "down" if stands and alive else again)  # it came up before it was to die
        settled(quick, before)
