"""Writes uapi_transcripts.json: what wireguard-go answers on its control socket, step by step.

Run it as root: `PYTHONPATH=netns-tests python tests/vectors/make_uapi_transcripts.py [PROGRAM]`, else it asks
the wireguard-go in PATH. Keys are made from labels. The file is in the tree.
"""

import json
import shutil
import subprocess
import sys
from hashlib import blake2s
from pathlib import Path

from lab import Namespace, wait_until

SOCKET = "/run/wireguard/wg0.sock"
CLIENT = """
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(0.3)
client.connect(sys.argv[1])
client.sendall(sys.stdin.buffer.read())
reply, closed = b"", False
try:
    while data := client.recv(65536):
        reply += data
    closed = True
except (ConnectionResetError, TimeoutError) as end:
    closed = isinstance(end, ConnectionResetError)
print(json.dumps([reply.decode(), closed]))
"""


def key(label: str) -> str:
    scalar = bytearray(blake2s(b"wgpy uapi " + label.encode()).digest())
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return scalar.hex()


ANNA, BERTA, CARLA = key("anna"), key("berta"), key("carla")
GET = ("what it says now", "get=1\n")
Step = tuple[str, str]


def settings(name: str, *lines: str) -> Step:
    return name, "\n".join(("set=1", *lines)) + "\n"


def of(peer: str, *lines: str) -> tuple[str, ...]:
    return (f"public_key={peer}", *lines)


GROUPS: dict[str, list[Step]] = {
    "device and peers": [
        GET,
        settings("nothing set"),
        settings("identity", f"private_key={key('ours')}", "listen_port=23456", "fwmark=51820"),
        GET,
        settings(
            "a peer with all there is",
            *of(ANNA, f"preshared_key={key('psk')}", "endpoint=192.0.2.7:3000"),
            "persistent_keepalive_interval=25",
            "allowed_ip=10.1.0.0/16",
            "allowed_ip=fd01::/32",
        ),
        GET,
        settings(
            "another, IPv6 outside, host bits in its prefix",
            *of(BERTA, "endpoint=[2001:db8::9]:3001"),
            "allowed_ip=10.2.3.4/8",
            "allowed_ip=fd02::5/16",
        ),
        GET,
        settings("a prefix changes hands", *of(BERTA, "allowed_ip=10.1.0.0/16")),
        GET,
        settings(
            "all of a peer's prefixes replaced",
            *of(BERTA, "replace_allowed_ips=true", "allowed_ip=0.0.0.0/0"),
        ),
        GET,
        settings("only an update, of nobody", *of(CARLA, "update_only=true", "allowed_ip=10.9.0.0/16")),
        settings("removal of nobody", *of(CARLA, "remove=true")),
        GET,
        settings(
            "keepalive off, preshared key gone",
            *of(ANNA, "persistent_keepalive_interval=0", f"preshared_key={bytes(32).hex()}"),
        ),
        GET,
        settings(
            "two peers in one breath, one leaves",
            *of(CARLA, "allowed_ip=10.3.0.0/16"),
            *of(ANNA, "remove=true"),
        ),
        GET,
        settings("mark and identity taken away", "fwmark=0", f"private_key={bytes(32).hex()}"),
        GET,
        settings("peers replaced by one", "replace_peers=true", *of(ANNA, "allowed_ip=192.0.2.0/24")),
        GET,
        settings("peers replaced by none", "replace_peers=true"),
        GET,
    ],
    "refused": [
        *(
            settings(f"refused: {line}", line)
            for line in (
                "private_key=",
                "private_key=zz",
                f"private_key={key('ours')[:-2]}",
                f"private_key={key('ours')}00",
                "listen_port=65536",
                "listen_port=-1",
                "listen_port=x",
                "fwmark=4294967296",
                "fwmark=-1",
                "replace_peers=1",
                "nonsense=1",
                "nonsense",
                "=",
                "allowed_ip=10.0.0.0/8",
                "endpoint=192.0.2.1:1",
                "public_key=",
                f"public_key={ANNA}00",
            )
        ),
        *(
            settings(f"refused of a peer: {line}", *of(ANNA, "update_only=true"), *of(ANNA, line))
            for line in (
                "allowed_ip=10.0.0.0/33",
                "allowed_ip=fd00::/129",
                "allowed_ip=10.0.0.0/",
                "allowed_ip=host/8",
                "endpoint=host.example:1",
                "endpoint=192.0.2.1",
                "endpoint=192.0.2.1:65536",
                "endpoint=[fd00::1:1",
                "persistent_keepalive_interval=65536",
                "persistent_keepalive_interval=-1",
                "preshared_key=00",
                "protocol_version=0",
                "remove=1",
                "update_only=yes",
                "replace_allowed_ips=0",
            )
        ),
    ],
}


def record(program: str, steps: list[Step]) -> list[dict[str, object]]:
    with Namespace("h1") as host:
        host.spawn(program, "-f", "wg0", env={"LOG_LEVEL": "silent"})
        wait_until(lambda: host.ok("wg", "show", "wg0"), 10, "the control socket")
        host.ip("link set wg0 up")  # the port is chosen now
        port = wait_until(
            lambda: host.run("wg", "show", "wg0", "listen-port").strip().lstrip("0"), 5, "a port"
        )
        told = []
        for name, lines in steps:
            sent = f"{lines}\n"
            reply, closed = json.loads(host.run(sys.executable, "-c", CLIENT, SOCKET, stdin=sent))
            reply = reply.replace(f"listen_port={port}\n", "listen_port=<port>\n")
            told.append({"name": name, "send": sent, "receive": reply, "server_closed": closed})
        return told


def main() -> None:
    program = sys.argv[1] if len(sys.argv) > 1 else shutil.which("wireguard-go")
    assert program, "no wireguard-go here"
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    groups = {name: record(program, steps) for name, steps in GROUPS.items()}
    file = Path(__file__).with_name("uapi_transcripts.json")
    file.write_text(json.dumps({"source": f"wireguard-go {version}", **groups}, indent=1) + "\n")


if __name__ == "__main__":
    main()
