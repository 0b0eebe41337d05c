"""Two daemons of ours in two namespaces, for `wgpy bench`: the namespaces end with the processes in them.

near: wg0 10.0.0.1 ═ 192.0.2.1 ─── 192.0.2.2 ═ wg0 10.0.0.2 :far
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wgpy.errors import WgpyError

CHUNK: Final = 256 << 10
PORT: Final = 5001
UNSHARE: Final = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
HOLDER: Final = (
    "mount -t tmpfs tmpfs /run && mkdir -p /run/wireguard && ip link set dev lo up && echo ready && exec cat"
)
SINK: Final = (
    "import socket,sys,time\n"
    f"s=socket.create_server(('10.0.0.2',{PORT})); print('ready',flush=True); c,_=s.accept()\n"
    f"b=bytearray({CHUNK}); n=0; t=time.monotonic()\n"
    "while r:=c.recv_into(b): n+=r\n"
    "print(n/(time.monotonic()-t)*8,n,flush=True)\n"
)
SOURCE: Final = (
    "import socket,sys,time\n"
    f"c=socket.create_connection(('10.0.0.2',{PORT}),10); b=bytes({CHUNK})\n"
    "e=time.monotonic()+float(sys.argv[1])\n"
    "while time.monotonic()<e: c.sendall(b)\n"
)


class Unavailable(WgpyError):  # noqa: N818  (reads as the sentence it is)
    """No root, no TUN device or a tool missing: the tunnel cannot be measured here."""


def throughput(seconds: float) -> tuple[float, float]:
    """Bits per second of one TCP stream, and the processor seconds both daemons spent per 10^9 bytes.

    Raises:
        Unavailable: what is missing.
    """
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        raise Unavailable("needs root and /dev/net/tun")
    try:
        with ExitStack() as stack:
            near, far = (_Host(stack) for _ in range(2))
            near.join(far)
            daemons = _start(stack, near, far)
            return _measure(stack, near, far, daemons, seconds)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None)
        raise Unavailable(said.strip() if isinstance(said, str) and said.strip() else str(error)) from error


class _Host:
    """A namespace with private /run and processes of its own; it ends when `stack` unwinds."""

    def __init__(self, stack: ExitStack) -> None:
        self._holder = subprocess.Popen(
            [*UNSHARE, "sh", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(self._end)
        _expect_ready(self._holder.stdout)
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
        self.pid = children.split()[0]

    def _end(self) -> None:
        for pipe in (self._holder.stdin, self._holder.stdout):
            if pipe is not None:
                pipe.close()
        self._holder.wait(10)

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *words]

    def run(self, *words: str, stdin: str = "") -> None:
        argv = self.command(*words)
        subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True, timeout=30)

    def join(self, other: "_Host") -> None:
        """eth0 to eth0: 192.0.2.1 here, .2 there."""
        words = f"ip link add eth0 netns {self.pid} type veth peer name eth0 netns {other.pid}"
        subprocess.run(words.split(), capture_output=True, text=True, check=True)
        for number, host in enumerate((self, other), 1):
            host.run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            host.run("ip", "link", "set", "dev", "eth0", "up")


def _start(stack: ExitStack, near: _Host, far: _Host) -> list[int]:
    """Configured and up on both; the daemons' process numbers."""
    keys = {host: X25519PrivateKey.generate() for host in (near, far)}
    pids = []
    for mine, other, me, peer in ((far, near, 2, 1), (near, far, 1, 2)):
        wgpyd = str(Path(sys.executable).with_name("wgpyd"))
        daemon = subprocess.Popen(mine.command(wgpyd, "-f", "wg0"), start_new_session=True)
        stack.callback(daemon.wait, 10)
        stack.callback(daemon.terminate)
        _wait_for_socket(mine, daemon)
        text = (
            f"private_key={keys[mine].private_bytes_raw().hex()}\nlisten_port=51820\n"
            f"public_key={keys[other].public_key().public_bytes_raw().hex()}\n"
            f"endpoint=192.0.2.{peer}:51820\nallowed_ip=10.0.0.{peer}/32\n"
        )
        _configure(mine, text)
        mine.run("ip", "address", "add", f"10.0.0.{me}/24", "dev", "wg0")
        mine.run("ip", "link", "set", "dev", "wg0", "mtu", "1420", "up")
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text()
        pids.append(int(children.split()[0]))
    return pids


def _wait_for_socket(host: _Host, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 15
    path = Path(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")
    while not path.exists():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise Unavailable("wgpyd did not start")
        time.sleep(0.02)


def _configure(host: _Host, text: str) -> None:
    """One UAPI set, over the socket as seen from outside the namespace."""
    import socket

    with socket.socket(socket.AF_UNIX) as control:
        control.connect(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")
        control.sendall(f"set=1\n{text}\n".encode())
        if control.recv(4096) != b"errno=0\n\n":
            raise Unavailable("wgpyd refused its configuration")


def _measure(
    stack: ExitStack, near: _Host, far: _Host, daemons: list[int], seconds: float
) -> tuple[float, float]:
    sink = subprocess.Popen(far.command(sys.executable, "-c", SINK), stdout=subprocess.PIPE, text=True)
    stack.callback(sink.wait, 10)
    _expect_ready(sink.stdout)
    before = sum(map(_cpu_seconds, daemons))
    subprocess.run(near.command(sys.executable, "-c", SOURCE, str(seconds)), check=True, timeout=seconds + 30)
    assert sink.stdout is not None
    bits, count = sink.stdout.readline().split()
    sink.stdout.close()
    return float(bits), (sum(map(_cpu_seconds, daemons)) - before) / (int(count) / 1e9)


def _expect_ready(pipe: IO[str] | None) -> None:
    assert pipe is not None
    if pipe.readline() != "ready\n":
        raise Unavailable("cannot make a network namespace")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
