"""A tunnel between `wgpy up` with Rosenpass keys and wireguard-go with another program's Rosenpass.

h1: wgpy up wg0, 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 wireguard-go + rosenpass | go-rosenpass: h2

The other end is put together the way its users do it; the commands are those of docs/interop.md.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Namespace, Process, wait_until
from quickhost import QuickHost
from rosenpass_programs import Foreign
from wgpeer import PORT, Keys, NewestWireguardGoPeer, Remote

from wgpy.psk_ring import netbird_seed

OURS, THEIRS = "10.7.0.1", "10.7.0.2"
OUR_HOST, THEIR_HOST = "10.99.0.1", "10.99.0.2"
EXCHANGE_PORT = 51821


@dataclass(frozen=True)
class RosenpassPair:
    """Paths of a key pair that both ends may read."""

    public: Path
    secret: Path

    def __lt__(self, other: "RosenpassPair") -> bool:
        return self.public.read_bytes() < other.public.read_bytes()


@dataclass
class OurEnd:
    """`wgpy up wg0` in one namespace."""

    host: Namespace
    directory: Path
    pair: RosenpassPair
    environment: Mapping[str, str] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys.generate)

    def up(self, their_wireguard_key: str, **lines: str) -> None:
        """Write wg0.conf, `lines` at its end (the peer's section), and bring it up."""
        self.directory.mkdir(exist_ok=True)
        quick = QuickHost(self.host, self.directory, self.environment)
        policy = lines.pop("policy", "strict")
        text = f"""[Interface]
PrivateKey = {self.keys.private}
Address = {OURS}/24
ListenPort = {PORT}
RosenpassPublicKey = {self.pair.public}
RosenpassSecretKey = {self.pair.secret}
RosenpassPolicy = {policy}

[Peer]
PublicKey = {their_wireguard_key}
AllowedIPs = {THEIRS}/32
Endpoint = {THEIR_HOST}:{PORT}
"""
        text += "".join(f"{key} = {value}\n" for key, value in lines.items())
        quick.up(quick.write(text))
        self._quick = quick

    def peer(self) -> dict[str, Any]:
        """The peer's part of `wgpy status --json`."""
        done = self._quick.wgpy("status", "wg0", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)["interfaces"][0]["peers"][0]
        return found

    def quantum(self) -> dict[str, Any]:
        found: dict[str, Any] = self.peer()["quantum"]
        return found


@dataclass
class TheirEnd:
    """wireguard-go, and a Rosenpass program of another make that hands it keys."""

    host: Namespace
    directory: Path
    program: Foreign
    pair: RosenpassPair
    wireguard: NewestWireguardGoPeer = field(init=False)
    exchange: Process | None = None
    uses_own_output: bool = False  # go-rosenpass talks to the interface itself
    calls: bool = True  # the Rust tool knows where our exchange is; else it waits for us

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.wireguard = NewestWireguardGoPeer(self.host, (f"{THEIRS}/24",))

    def start_wireguard(self, our_wireguard_key: str, preshared: str | None) -> None:
        """The interface with one peer, as `wg setconf` makes it."""
        self.wireguard.start()
        self.wireguard.configure([Remote(our_wireguard_key, (OURS,), f"{OUR_HOST}:{PORT}", preshared)])

    def kill_wireguard(self) -> None:
        """SIGKILL; the interface goes with its process."""
        assert self.wireguard.process is not None
        self.wireguard.process.kill()
        wait_until(lambda: not self.host.ok("ip", "link", "show", "wg0"), 5, "wg0 to be gone")

    def start_go(
        self, our_public: Path, our_wireguard_key: str, endpoint: str | None, psk: Path | None
    ) -> None:
        """go-rosenpass inside the tunnel; each new key goes through `wg set`, or its own output."""
        lines = [
            f'public_key = "{self.pair.public}"',
            f'secret_key = "{self.pair.secret}"',
            f'listen = ["{THEIRS}:{EXCHANGE_PORT}"]',
            'verbosity = "Verbose"',
            "[[peers]]",
            f'public_key = "{our_public}"',
            *([f'endpoint = "{endpoint}"'] if endpoint else []),
            *([f'pre_shared_key = "{psk}"'] if psk else []),
        ]
        if self.uses_own_output:
            lines += ["[peers.wireguard]", 'interface = "wg0"', f'public_key = "{our_wireguard_key}"']
        else:
            wg_set = ["wg", "set", "wg0", "peer", our_wireguard_key, "preshared-key", "/dev/stdin"]
            lines.append(f"exchange_command = {json.dumps(wg_set)}")
        config = self.directory / "rosenpass.toml"
        config.write_text("\n".join(lines) + "\n")
        self.exchange = self.host.spawn(self.program.path, "exchange-config", config)

    def start_rust(
        self, our_public: Path, our_wireguard_key: str, endpoint: str | None, psk: Path | None
    ) -> None:
        """`rosenpass` outside the tunnel; it runs `wg set` itself.

        On the command line of 0.2.2 `endpoint` and `preshared-key` exclude each other, so with a secret it
        gets a file.
        """
        listen = f"{THEIR_HOST}:9999"
        if psk is None:
            words = ["exchange", "public-key", self.pair.public, "secret-key", self.pair.secret]
            words += ["listen", listen, "verbose"]
            words += ["peer", "public-key", our_public, *(["endpoint", endpoint] if endpoint else [])]
            words += ["wireguard", "wg0", our_wireguard_key]
        else:
            config = self.directory / "rosenpass.toml"
            config.write_text(f"""public_key = "{self.pair.public}"
secret_key = "{self.pair.secret}"
listen = ["{listen}"]
verbosity = "Verbose"
[[peers]]
public_key = "{our_public}"
endpoint = "{endpoint}"
pre_shared_key = "{psk}"
device = "wg0"
peer = "{our_wireguard_key}"
""")
            words = ["exchange-config", config]
        self.exchange = self.host.spawn(self.program.path, *words)

    def preshared_key(self) -> str:
        """What its WireGuard has now."""
        return self.host.run("wg", "show", "wg0", "preshared-keys").split()[1]

    def log(self) -> str:
        return self.exchange.output()[-3000:] if self.exchange is not None else "(no exchange runs)"


@dataclass
class Mixed:
    """Both ends of it."""

    we: OurEnd
    they: TheirEnd

    def seed(self) -> str:
        """The interim key, as NetBird derives it."""
        return interim_key(self.we.keys.public, self.they.wireguard.keys.public)

    def await_quantum(self, within: float) -> float:
        """Until our status says yes; returns the seconds it took."""
        began = time.monotonic()
        wait_until(
            lambda: self.we.quantum()["state"] == "yes",
            within,
            lambda: f"quantum resistance: {self.we.peer()}\n{self.they.log()}",
        )
        return time.monotonic() - began

    def await_renewal(self, within: float) -> float:
        """Until the other end has a further key and our session carries it; returns the seconds it took."""
        before, began = self.they.preshared_key(), time.monotonic()
        wait_until(
            lambda: self.they.preshared_key() != before, within, lambda: f"a new key\n{self.they.log()}"
        )
        came = time.monotonic()

        def carries() -> bool:
            quantum = self.we.quantum()
            age = quantum["key_age_s"]
            return quantum["state"] == "yes" and age is not None and age <= time.monotonic() - came + 1

        wait_until(
            carries, within, lambda: f"a session with the new key: {self.we.peer()}\n{self.they.log()}"
        )
        return time.monotonic() - began


def interim_key(one: str, other: str) -> str:
    """NetBird's seed of two WireGuard public keys, all in base64."""
    seed = netbird_seed(*(base64.b64decode(key) for key in (one, other)))  # type: ignore[arg-type]
    return base64.b64encode(seed).decode()
