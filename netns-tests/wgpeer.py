"""WireGuard implementations at work: each `Peer` is one interface of one of them in one namespace.

All of them start as `PROGRAM -f INTERFACE` and are configured through stock `wg`. The tests speak of a
*subject* (wgpy) and an *other*; which program stands behind a name is decided here and nowhere else.
"""

import base64
import os
import secrets
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from lab import Namespace, Process, wait_until

PEERS = Path(__file__).resolve().parent / "peers" / "build" / "bin"
PORT = 51820


@dataclass(frozen=True)
class Keys:
    """A static key pair, base64 as `wg` speaks."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def generate(cls) -> "Keys":
        key = X25519PrivateKey.generate()
        return cls(_text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw()))


def preshared_key() -> str:
    return _text(secrets.token_bytes(32))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@dataclass(frozen=True)
class Remote:
    """One [Peer] section."""

    public_key: str
    allowed_ips: Sequence[str]
    endpoint: str | None = None
    preshared_key: str | None = None
    keepalive: int | None = None

    def section(self) -> str:
        allowed = ", ".join(self.allowed_ips)
        lines = ["[Peer]", f"PublicKey = {self.public_key}", f"AllowedIPs = {allowed}"]
        if self.endpoint:
            lines.append(f"Endpoint = {self.endpoint}")
        if self.preshared_key:
            lines.append(f"PresharedKey = {self.preshared_key}")
        if self.keepalive is not None:
            lines.append(f"PersistentKeepalive = {self.keepalive}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Seen:
    """One peer line of `wg show INTERFACE dump`."""

    endpoint: str
    allowed_ips: str
    latest_handshake: int
    received: int
    sent: int


class Peer(ABC):
    """One implementation on one interface. After `start` call `configure`, which replaces all peers."""

    name: ClassVar[str]
    adjustable: ClassVar[bool] = True  # a peer that is already configured can be changed

    def __init__(
        self,
        host: Namespace,
        addresses: Sequence[str],
        interface: str = "wg0",
        mtu: int = 1420,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.addresses = tuple(addresses)
        self.interface = interface
        self.mtu = mtu
        self.environment = dict(environment or {})
        self.keys = Keys.generate()
        self.process: Process | None = None

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """What is not there to run this implementation; empty when all is."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program with its arguments, staying in the foreground."""

    def start(self, port: int = PORT) -> None:
        """Run the program, give it identity, addresses and MTU, and bring the interface up."""
        self.process = self.host.spawn(*self.command(), env={"LOG_LEVEL": "error", **self.environment})
        process = self.process

        def answers() -> bool:
            assert process.running, process.report()
            return self._listens() and self.host.ok("wg", "show", self.interface)

        wait_until(answers, within=15, what=lambda: f"an answer to `wg show`: {process.report()}")
        self.configure([], port=port)
        self.host.add_address(self.interface, *self.addresses)
        self.host.ip(f"link set dev {self.interface} mtu {self.mtu} up")

    def _listens(self) -> bool:
        """Asked of the kernel: `wg` deletes a stale file under the hands of a program about to replace it."""
        return f"{self.interface}." in self.host.run("ss", "-Hxl")

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def configure(self, remotes: Sequence[Remote], port: int = PORT) -> None:
        """`wg setconf` with exactly these peers."""
        text = f"[Interface]\nPrivateKey = {self.keys.private}\nListenPort = {port}\n"
        text += "".join(remote.section() for remote in remotes)
        self.host.run("wg", "setconf", self.interface, "/dev/stdin", stdin=text)

    def wg(self, *arguments: object, stdin: str | None = None) -> str:
        """`wg set INTERFACE ARGUMENTS`."""
        return self.host.run("wg", "set", self.interface, *arguments, stdin=stdin)

    def seen(self, remote: "Peer | str") -> Seen:
        """What `wg show dump` says of a peer, given as Peer or as its public key."""
        public = remote if isinstance(remote, str) else remote.keys.public
        for line in self.host.run("wg", "show", self.interface, "dump").splitlines()[1:]:
            columns = line.split("\t")
            if columns[0] == public:
                return Seen(columns[2], columns[3], int(columns[4]), int(columns[5]), int(columns[6]))
        raise LookupError(public)

    @property
    def address4(self) -> str:
        return next(a for a in self.addresses if ":" not in a).split("/")[0]

    @property
    def address6(self) -> str:
        return next(a for a in self.addresses if ":" in a).split("/")[0]

    def ping(self, target: str, within: float = 15, size: int = 56) -> None:
        """Until one echo comes back; LabError after `within` seconds."""
        argv = ("ping", "-n", "-c1", "-W1", "-s", str(size), target)
        wait_until(lambda: self.host.ok(*argv), within, f"{self.name}: an answer from {target}")


class WgpyPeer(Peer):
    """Our daemon, as wg-quick starts it; WGPY_TIMINGS in its environment shortens the paper's constants."""

    name = "wgpy"

    @classmethod
    def missing(cls) -> str:
        there = wgpy_program("wgpyd").exists() and find_spec("wgpy.daemon") is not None
        return "" if there else "wgpyd (make build)"

    def command(self) -> list[str]:
        return [str(wgpy_program("wgpyd")), "-f", self.interface]


def wgpy_program(name: str) -> Path:
    """wgpy or wgpyd of the environment the tests run in."""
    return Path(sys.executable).with_name(name)


class WireguardGoPeer(Peer):
    """Debian's wireguard-go, of 2022: no offloads."""

    name = "wireguard-go-debian"
    program: ClassVar[str] = "/usr/bin/wireguard-go"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which(cls.program) else cls.program

    def command(self) -> list[str]:
        return [self.program, "-f", self.interface]


class NewestWireguardGoPeer(WireguardGoPeer):
    """The version pinned in peers/wireguard-go/go.mod."""

    name = "wireguard-go"
    program = str(PEERS / "wireguard-go")


class BoringtunPeer(Peer):
    """Cloudflare's boringtun. A change of a peer it has ends it; it binds a connected socket per peer."""

    name = "boringtun"
    adjustable = False

    @classmethod
    def missing(cls) -> str:
        return "" if (PEERS / "boringtun-cli").exists() else "boringtun-cli"

    def command(self) -> list[str]:
        return [str(PEERS / "boringtun-cli"), "-f", "--disable-drop-privileges", self.interface]


ALL: tuple[type[Peer], ...] = (WgpyPeer, WireguardGoPeer, NewestWireguardGoPeer, BoringtunPeer)


def by_name(name: str) -> type[Peer]:
    """A peer of `ALL`.

    "wgpy@DIRECTORY" is our daemon of another checkout, built in place there; "wgpy+WGPY_WORKERS=2" our daemon
    with that in its environment.
    """
    kind, _, setting = name.partition("+")
    kind, _, directory = kind.partition("@")
    found = next(each for each in ALL if each.name == kind)
    variables = {"PYTHONPATH": str(Path(directory).resolve())} if directory else {}
    if setting:
        variable, _, value = setting.partition("=")
        variables[variable] = value
    if not variables:
        return found

    class Elsewhere(found):  # type: ignore[misc, valid-type]
        def start(self, port: int = PORT) -> None:
            self.environment.update(variables)
            super().start(port)

    Elsewhere.name = name
    return Elsewhere


# The tests are about wgpy. To see that a test itself is right, run it with another subject.
SUBJECT = by_name(os.environ.get("WGPY_LAB_SUBJECT", "wgpy"))
