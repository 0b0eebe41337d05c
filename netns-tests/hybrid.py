"""Ends of a hybrid tunnel: hosts with both kinds of keys, their configuration, `wgpy up`, and what they say.

    h1: a 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2, fd07::2 b: h2

Rosenpass key pairs are made once a test run. Status is read from the device's socket without a program of its
own, so that it can be polled every few milliseconds.
"""

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Namespace, two_hosts, wait_until
from quickhost import QuickHost
from wgpeer import PORT, Keys

from rosenpass.fingerprint import fingerprint
from rosenpass.kem import StaticKem
from rosenpass.keyfile import save_key_pair

INTERFACE = "wg0"
# A rotation every three to four seconds instead of 120; sessions as in earnest.
FAST_ROTATION = {
    "WGPY_ROSENPASS_TIMERS": "rekey_after_responder=3,rekey_after_initiator=3.5,overdue=3,reject_after=30"
}
CONSENT = {"WGPY_KEY_LOG_DESTROYS_SECRECY": "yes"}


_HOME = tempfile.TemporaryDirectory(prefix="wgpy-rosenpass-keys-")


@functools.cache
def key_pair(number: int) -> Path:
    """The directory with pqpk and pqsk of the pair of that number; the same for the whole test run."""
    directory = Path(_HOME.name) / str(number)
    directory.mkdir()
    public, secret = StaticKem(188, os.urandom).keypair()
    save_key_pair(directory / "pqpk", directory / "pqsk", public, secret)
    return directory


def fingerprint_of(pair: Path) -> str:
    return fingerprint((pair / "pqpk").read_bytes())


@dataclass
class Far:
    """What an end is told of another."""

    keys: Keys
    allowed: Sequence[str]
    endpoint: str | None = None
    rosenpass: Path | None = None  # its public key
    extra: str = ""

    def section(self) -> str:
        lines = ["[Peer]", f"PublicKey = {self.keys.public}", f"AllowedIPs = {', '.join(self.allowed)}"]
        lines += [f"Endpoint = {self.endpoint}"] * (self.endpoint is not None)
        lines += [f"RosenpassPublicKey = {self.rosenpass}"] * (self.rosenpass is not None)
        return "\n".join([*lines, self.extra]) + "\n"


@dataclass
class End:
    """One end of the tunnel; `number` 1 or 2 is the last part of its addresses."""

    host: Namespace
    number: int
    directory: Path
    policy: str | None = "strict"  # None: no word of it
    environment: Mapping[str, str] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys.generate)
    pair: Path | None = None
    peers: list[Far] = field(default_factory=list)
    addresses: str = ""  # others than IPv4 and IPv6
    extra: str = ""  # of [Interface]

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.key_log = self.directory / "keys.log"
        self.quick = QuickHost(self.host, self.directory, self.environment)

    @property
    def address4(self) -> str:
        return f"10.7.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd07::{self.number}"

    def far(self, endpoint: str | None = None) -> Far:
        """This end, as another is told of it."""
        rosenpass = self.pair / "pqpk" if self.pair is not None else None
        return Far(self.keys, (f"{self.address4}/32", f"{self.address6}/128"), endpoint, rosenpass)

    def write(self) -> Path:
        """The configuration as it is now."""
        lines = ["[Interface]", f"PrivateKey = {self.keys.private}", f"ListenPort = {PORT}"]
        lines += [f"Address = {self.addresses or f'{self.address4}/24, {self.address6}/64'}"]
        if self.pair is not None:
            lines += [f"RosenpassSecretKey = {self.pair}/pqsk", f"RosenpassPublicKey = {self.pair}/pqpk"]
        lines += [f"RosenpassPolicy = {self.policy}"] * (self.policy is not None)
        text = "\n".join([*lines, self.extra]) + "\n" + "".join(peer.section() for peer in self.peers)
        return self.quick.write(text, INTERFACE)

    def log_keys(self) -> None:
        """From the next `up` on."""
        self.quick.environment = {**self.quick.environment, **CONSENT, "WGPY_KEY_LOG": str(self.key_log)}

    def up(self) -> "subprocess.CompletedProcess[str]":
        return self.quick.up(self.write())

    def kill(self) -> None:
        """SIGKILL to the device, and wait until its interface is gone."""
        self.host.run("kill", "-9", self.quick.device_pid(INTERFACE))
        wait_until(lambda: not self.host.ok("ip", "link", "show", INTERFACE), 5, "the interface to go")

    def signal(self, name: str) -> None:
        self.host.run("kill", f"-{name}", self.quick.device_pid(INTERFACE))

    @property
    def device_process(self) -> int:
        """The device's process number as this test sees it."""
        inside = self.quick.device_pid(INTERFACE)
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            except OSError:
                continue
            numbers = lines.get("NSpid", "").split()
            if len(numbers) > 1 and int(numbers[-1]) == inside and _same_pid_space(status, self.host.pid):
                return int(numbers[0])
        raise LookupError(inside)

    def ask(self, request: str = "wgpy=1") -> str:
        """One request to the device's own socket."""
        path = f"/proc/{self.host.pid}/root/run/wireguard/{INTERFACE}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(10)
            asking.connect(path)
            asking.sendall(f"{request}\n\n".encode())
            asking.shutdown(socket.SHUT_WR)
            with asking.makefile("rb") as answer:
                return answer.read().decode()

    def state(self) -> dict[str, Any]:
        """What `wgpy status` is made from; empty while there is no device."""
        try:
            return dict(json.loads(self.ask().partition("\n")[0].removeprefix("status=")))
        except (OSError, ValueError):
            return {}

    def peer(self, index: int = 0) -> dict[str, Any]:
        """The state of one peer; empty while there is none."""
        peers = self.state().get("peers", [])
        return dict(peers[index]) if index < len(peers) else {}

    def quantum(self, index: int = 0) -> str:
        """yes, pending, no; empty without a device."""
        return str(self.peer(index).get("quantum", {}).get("state", ""))

    def reason(self, index: int = 0) -> str:
        return str(self.peer(index).get("quantum", {}).get("reason", ""))

    def status_json(self) -> dict[str, Any]:
        """`wgpy status --json` of the interface."""
        done = self.quick.wgpy("status", INTERFACE, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout)["interfaces"][0])

    def check(self) -> int:
        """The exit status of `wgpy status --check`."""
        return self.quick.wgpy("status", INTERFACE, "--check").returncode

    def reaches(self, target: str, timeout: float = 1) -> bool:
        return self.host.ok("ping", "-n", "-c1", "-i0.2", f"-W{timeout}", target)


def _same_pid_space(status: Path, holder: int) -> bool:
    try:
        return os.readlink(status.parent / "ns/pid") == os.readlink(f"/proc/{holder}/ns/pid")
    except OSError:
        return False


@contextmanager
def hybrid(
    directory: Path,
    policies: tuple[str | None, str | None] = ("strict", "strict"),
    *,
    environment: Mapping[str, str] | None = None,
    endpoints: tuple[str | None, str | None] = (f"10.99.0.1:{PORT}", f"10.99.0.2:{PORT}"),
    log_keys: bool = False,
) -> Iterator[tuple[End, End]]:
    """Two ends with keys of both kinds that know each other; nothing is up yet.

    `endpoints[0]` is where the first end is, as the second is told.
    """
    with two_hosts() as (h1, h2):
        a, b = (
            End(host, number, directory / f"end{number}", policy, environment or {}, pair=key_pair(number))
            for host, number, policy in ((h1, 1, policies[0]), (h2, 2, policies[1]))
        )
        a.peers, b.peers = [b.far(endpoints[1])], [a.far(endpoints[0])]
        if log_keys:
            a.log_keys()
            b.log_keys()
        yield a, b


def up_together(*ends: End) -> None:
    """`wgpy up` on all at once, typed at the same moment."""
    with ThreadPoolExecutor(len(ends)) as pool:
        for done in [pool.submit(end.up) for end in ends]:
            done.result()


def wait_for_yes(*ends: End, within: float = 15) -> None:
    """Until the status of every end says that its traffic is post-quantum."""
    wait_until(
        lambda: all(end.quantum() == "yes" for end in ends),
        within,
        lambda: f"quantum resistance: {[(end.quantum(), end.reason()) for end in ends]}",
    )


def wait_for_rotations(end: End, count: int, within: float) -> float:
    """Until the key in use was replaced so many times; the seconds it took. Keys must live over a second.

    Each look costs the device a millisecond, ten times a rotation's if it is taken too often.
    """
    start, seen, last = time.monotonic(), 0, -1

    def replaced() -> bool:
        nonlocal seen, last
        age = end.peer().get("quantum", {}).get("key_age_s")
        if age is not None:
            seen += age < last
            last = age
        return seen >= count

    wait_until(
        replaced, within, lambda: f"{count} rotations, not {seen}: {end.quantum()} {end.reason()}", every=0.2
    )
    return time.monotonic() - start


def program(name: str) -> tuple[str, ...]:
    """A program of this directory, run by this Python."""
    return (sys.executable, str(Path(__file__).with_name(name)))
