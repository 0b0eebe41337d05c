"""Fake devices behind real sockets where stock `wg` looks for them, seen by nobody else.

The world is a process in a mount namespace of its own with an empty /run/wireguard; commands are run inside
it. Needs root and `wg`.
"""

import asyncio
import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from wgpy.model import (
    NO_PRESHARED_KEY,
    SECOND,
    DeviceState,
    PeerState,
    PresharedKey,
    PrivateKey,
    PublicKey,
    SocketAddress,
    WallTime,
)
from wgpy.socket_file import socket_path
from wgpy.uapi_socket import UapiServer, open_listener

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.fake_device import FakeDevice

TESTS = Path(__file__).parents[1]


def full_state() -> DeviceState:
    """Every field of the listing in several sizes."""
    now = int(time.time())
    blank = PeerState(PublicKey(b""), NO_PRESHARED_KEY, None, WallTime(0), 0, 0, 0, ())

    def ago(seconds: int) -> WallTime:
        return WallTime((now - seconds) * SECOND + 5)

    return DeviceState(
        PrivateKey(bytes(range(32))),
        51820,
        0xCA6C,
        (
            replace(blank, public_key=PublicKey(b"a" * 32)),
            replace(
                blank,
                public_key=PublicKey(b"b" * 32),
                preshared_key=PresharedKey(b"p" * 32),
                endpoint=SocketAddress(ip_address("192.0.2.1"), 51820),
                last_handshake=ago(3600 * 24 * 400 + 3600 + 61),
                tx_bytes=1023,
                rx_bytes=1 << 60,
                persistent_keepalive=1,
                allowed_ips=(ip_network("10.0.0.0/8"), ip_network("::/0")),
            ),
            replace(
                blank,
                public_key=PublicKey(b"c" * 32),
                endpoint=SocketAddress(ip_address("2001:db8::1"), 0),
                last_handshake=ago(7200),
                tx_bytes=0,
                rx_bytes=1500,
                persistent_keepalive=3725,
                allowed_ips=(ip_network("::ffff:10.0.0.0/104"),),
            ),
            replace(
                blank,
                public_key=PublicKey(b"d" * 32),
                endpoint=SocketAddress(ip_address("fe80::1"), 5, scope_id=1),
                last_handshake=ago(-1000),
                tx_bytes=5 << 20,
                rx_bytes=7 << 30,
                persistent_keepalive=65535,
            ),
            replace(blank, public_key=PublicKey(b"e" * 32), last_handshake=ago(1), tx_bytes=1 << 41),
        ),
    )


def extra_state(name: str, state: DeviceState) -> dict[str, object]:
    """What our daemon says with wgpy=1: `a` idle, `b` resistant, `c` pending, `d` plain, `e` bad."""
    quantum = {
        "a": {"state": "no", "reason": "no session"},
        "b": {"state": "yes", "reason": "", "key_age_s": 34.2, "next_s": 86.9, "since": 1},
        "c": {"state": "pending", "reason": "handshake 2 s ago"},
        "d": {"state": "no", "reason": "policy is off"},
        "e": {"state": "no", "reason": "the peer has no Rosenpass key", "since": 1},
    }
    policies = {"a": "strict", "b": "strict", "c": "permissive", "d": "off", "e": "strict"}
    return {
        "schema": 1,
        "interface": name,
        "mtu": 1420,
        "features": ["tun-gso"],
        "aead": "libcrypto",
        "drops": {"malformed": 3, "mac1": 0},
        "peers": [
            {
                "public_key": base64.b64encode(peer.public_key).decode(),
                "policy": policies[letter],
                "quantum": quantum[letter],
                "session": None if letter == "a" else {"age_s": 3, "psk_kind": "pq", "initiator": True},
                "staged": 2 if letter == "e" else 0,
                "tx_gated": 5 if letter == "e" else 0,
                "rx_gated": 0,
                "rx_dropped": 1,
                "rx_replayed": 0,
                "tx_dropped": 0,
            }
            for peer in state.peers
            for letter in peer.public_key[:1].decode()
        ],
    }


def devices() -> dict[str, FakeDevice]:
    """The world's interfaces; `wgours` and `wgstock` are for comparing effects."""
    full, lonely = FakeDevice(), FakeDevice()
    full.current = full_state()
    full.extra = extra_state("wgfull", full.current)
    lonely.current = replace(full.current, peers=(), fwmark=0)
    return {
        "wgfull": full,
        "wglonely": lonely,
        "wgblank": FakeDevice(0),
        "wgours": FakeDevice(),
        "wgstock": FakeDevice(),
    }


class World:
    """Runs the devices; `run` runs a command among them."""

    def __init__(self) -> None:
        for program in ("wg", "unshare", "nsenter"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        if os.geteuid() != 0:
            pytest.skip("needs root for a mount namespace")
        self._process = subprocess.Popen(
            [
                *("unshare", "-m", "--propagation", "private", "sh", "-c"),
                'mkdir -p /run/wireguard && mount -t tmpfs -o mode=755 none /run/wireguard && exec "$@"',
                *("sh", sys.executable, __file__),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            pytest.skip("mount namespaces are not allowed here")

    def run(
        self, *command: str, text: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "-m", f"--wdns={os.getcwd()}", "-t", str(self._process.pid), *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(env or {})},
            check=False,
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def serve() -> None:
    servers = []
    for name, device in devices().items():
        server = UapiServer(device, open_listener(name), socket_path(name), lambda: None)
        await server.start()
        servers.append(server)
    print("ready", flush=True)  # noqa: T201
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        await server.close()


if __name__ == "__main__":
    asyncio.run(serve())
