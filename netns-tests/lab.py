"""Network namespaces, processes inside them, and waiting for conditions.

A `Namespace` is one small machine: its own network, mounts and process numbers. Nothing in it has a name on
the host, so nothing can be left behind: when the test process ends, however it ends, the kernel ends every
process inside and takes the interfaces with them. /run is private, so /run/wireguard is too; /etc/resolv.conf
and /etc/wireguard are private copies.

    with Namespace("h1") as h1, Namespace("h2") as h2:
        join(h1, h2)                                # eth0 to eth0: 10.99.0.1/.2 and fd99::1/::2
        daemon = h1.spawn("wireguard-go", "-f", "wg0")
        wait_until(lambda: h1.ok("wg", "show", "wg0"), within=5, what="the UAPI socket")

This file knows no WireGuard: peers are in wgpeer.py, the lossy link in relay.py, captures in capture.py.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

PROJECT = Path(__file__).resolve().parent.parent
T = TypeVar("T")
CLONE_NEWNET = 0x40000000
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

UNSHARE = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
]

# The first process of a namespace: private mounts, then it waits until our end of its stdin closes.
HOLDER = r"""
set -e
mount -t sysfs sysfs /sys
cp -L /etc/resolv.conf "$1/resolv.conf" 2>/dev/null || : > "$1/resolv.conf"
mkdir -p "$1/etc-wireguard"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/wireguard /run/netns /run/lock
[ ! -e /etc/resolv.conf ] || mount --bind "$1/resolv.conf" /etc/resolv.conf
[ ! -d /etc/wireguard ] || mount --bind "$1/etc-wireguard" /etc/wireguard
ip link set dev lo up
echo ready
exec cat
"""


class LabError(AssertionError):
    """A command of the lab failed, or a condition did not come true in time."""


def missing_prerequisites() -> list[str]:
    """What this machine lacks for namespace tests; empty when all is there."""
    missing = []
    if os.geteuid() != 0:
        missing.append("root")
    if not Path("/dev/net/tun").exists():
        missing.append("/dev/net/tun")
    missing += [tool for tool in ("ip", "wg", "unshare", "nsenter", "ping") if shutil.which(tool) is None]
    if (
        not missing
        and subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0
    ):
        missing.append("the right to create network namespaces")
    return missing


def wait_until(
    condition: Callable[[], T], within: float, what: str | Callable[[], str], every: float = 0.02
) -> T:
    """Poll until `condition` is truthy and return its value; LabError naming `what` if it stays false."""
    deadline = time.monotonic() + within
    while True:
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"not within {within} s: {what() if callable(what) else what}")
        time.sleep(every)


class Process:
    """A long-lived program inside a namespace; its output goes to a file that `output` reads."""

    def __init__(self, popen: "subprocess.Popen[bytes]", argv: tuple[str, ...], log: IO[bytes]) -> None:
        self.argv = argv
        self._popen = popen
        self._log = log

    @property
    def pid(self) -> int:
        """The program's process number as the host sees it (nsenter's only child)."""
        children = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
        return int(wait_until(lambda: self.running and children.read_text().split(), 5, self.report)[0])

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        """Everything written to stdout and stderr so far."""
        return os.pread(self._log.fileno(), 64 << 20, 0).decode(errors="replace")

    def report(self) -> str:
        """Whether it runs, or with which exit status or signal it ended, and all it wrote."""
        status = self._popen.poll()
        if status is None:
            how = "runs"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with exit status {status}"
        return f"{self} {how}; its output:\n{self.output() or '(nothing)'}"

    def tell(self, line: bytes) -> None:
        """Write to its standard input, which must have been spawned as a pipe."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line)
        self._popen.stdin.flush()

    def wait(self, within: float) -> int:
        """The exit status; LabError when it does not end in time."""
        try:
            return self._popen.wait(within)
        except subprocess.TimeoutExpired:
            raise LabError(f"not within {within} s: {self.report()}") from None

    def signal(self, number: int) -> None:
        with suppress(LabError, ProcessLookupError):
            os.kill(self.pid, number)

    def stop(self, within: float = 5) -> int:
        """SIGTERM, then SIGKILL for who does not listen; the exit status."""
        if self.running:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(within)
        self.kill()
        return self._popen.returncode

    def kill(self) -> None:
        """SIGKILL to the program and everything of its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_SIZE

    def __str__(self) -> str:
        return " ".join(self.argv)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads, from /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


class Namespace:
    """One small machine; see the module's text. Use as a context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._processes: list[Process] = []
        self._cleanup = ExitStack()
        self.pid = 0  # of the holder, as the host sees it: what `ip link ... netns PID` wants

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            directory = undo.enter_context(tempfile.TemporaryDirectory(prefix=f"wgpy-lab-{self.name}-"))
            holder = subprocess.Popen(
                [*UNSHARE, "sh", "-c", HOLDER, "holder", directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            undo.callback(self._end, holder)
            assert holder.stdout is not None
            if holder.stdout.readline() != b"ready\n":
                _, error = holder.communicate()
                raise LabError(f"cannot make namespace {self.name}: {error.decode()}")
            self.pid = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
            self._cleanup = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for process in self._processes:
                print(f"--- {self.name}: {process.report()[-4000:]}")
        for process in reversed(self._processes):
            process.stop()
        self._cleanup.close()

    @staticmethod
    def _end(holder: "subprocess.Popen[bytes]") -> None:
        for pipe in (holder.stdin, holder.stdout, holder.stderr):
            assert pipe is not None
            pipe.close()
        try:
            holder.wait(5)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()

    def command(self, *argv: str) -> list[str]:
        """The host's command line that runs `argv` in here."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *argv]

    def result(
        self,
        *argv: object,
        stdin: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run to the end; the completed process whatever its status, stdout and stderr as text."""
        words = tuple(str(word) for word in argv)
        try:
            return subprocess.run(
                self.command(*words),
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(
                f"{self.name}: {' '.join(words)}: still running after {timeout} s: {late.stdout}"
            ) from late

    def run(
        self,
        *argv: object,
        stdin: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run to the end and return stdout; LabError with all its output unless the status is 0."""
        done = self.result(*argv, stdin=stdin, timeout=timeout, env=env)
        if done.returncode != 0:
            words = " ".join(str(word) for word in argv)
            raise LabError(f"{self.name}: {words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ok(self, *argv: object, timeout: float = 60) -> bool:
        """Whether the command ends with status 0."""
        return self.result(*argv, timeout=timeout).returncode == 0

    def spawn(
        self, *argv: object, env: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
    ) -> Process:
        """Start a long-lived program; it is stopped at the latest when the namespace ends."""
        words = tuple(str(word) for word in argv)
        log = self._cleanup.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  (closed by the stack)
        popen = subprocess.Popen(
            self.command(*words),
            stdin=stdin,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONFAULTHANDLER": "1", **(env or {})},
        )
        process = Process(popen, words, log)
        self._processes.append(process)
        return process

    def ip(self, arguments: str) -> str:
        """`ip ARGUMENTS` in here, the arguments as one line."""
        return self.run("ip", *arguments.split())

    def add_address(self, interface: str, *addresses: str) -> None:
        """Addresses with prefix length, usable at once (IPv6 without duplicate address detection)."""
        for address in addresses:
            self.ip(f"address add {address} dev {interface}{' nodad' if ':' in address else ''}")

    def sysctl(self, name: str, value: object) -> None:
        self.run("sh", "-c", 'echo "$1" > "/proc/sys/$0"', name.replace(".", "/"), value)

    def nft(self, rules: str) -> None:
        """Load nftables rules given as text."""
        self.run("nft", "-f", "-", stdin=rules)

    def give_interface(self, interface: str, other: "Namespace") -> None:
        """Move an interface from here to another namespace."""
        argv = ["nsenter", f"--target={self.pid}", "--net", "ip", "link", "set", "dev", interface, "netns"]
        subprocess.run([*argv, str(other.pid)], check=True, capture_output=True)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this process that lives in here: it keeps the namespace of its birth."""
        made: list[socket.socket | OSError] = []

        def make() -> None:
            try:
                enter_network(self.pid)
                made.append(socket.socket(family, kind, protocol))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"


def enter_network(pid: int) -> None:
    """Move the calling thread, alone, into the network namespace of `pid`."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def connect(left: Namespace, left_name: str, right: Namespace, right_name: str, mtu: int = 1500) -> None:
    """A veth pair between two namespaces, up on both sides, without addresses."""
    ends = (f"{left_name} mtu {mtu} netns {left.pid}", f"{right_name} mtu {mtu} netns {right.pid}")
    command = f"ip link add {ends[0]} type veth peer name {ends[1]}"
    subprocess.run(command.split(), check=True, capture_output=True)
    for namespace, name in ((left, left_name), (right, right_name)):
        namespace.ip(f"link set dev {name} mtu {mtu} up")


def join(left: Namespace, right: Namespace, network: int = 99, mtu: int = 1500) -> None:
    """Join eth0 to eth0: left is 10.NETWORK.0.1/24 and fdNETWORK::1/64, right is .2 and ::2."""
    connect(left, "eth0", right, "eth0", mtu)
    left.add_address("eth0", f"10.{network}.0.1/24", f"fd{network}::1/64")
    right.add_address("eth0", f"10.{network}.0.2/24", f"fd{network}::2/64")


@contextmanager
def two_hosts(mtu: int = 1500) -> Iterator[tuple[Namespace, Namespace]]:
    """h1 (10.99.0.1, fd99::1) eth0 ─ eth0 h2 (10.99.0.2, fd99::2)."""
    with Namespace("h1") as h1, Namespace("h2") as h2:
        join(h1, h2, mtu=mtu)
        yield h1, h2
