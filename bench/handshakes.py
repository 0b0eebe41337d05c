"""Handshakes per second of processor time that a responder completes, beside wireguard-go.

    python bench/handshakes.py [--handshakes 10000] [--peers 1000] [--rounds 3] [--contestants A,B]

One process plays all the peers from one address: its initiations are computed before the clock runs, then a
fixed number of them is kept under way, so that neither responder comes under load and asks for cookies. A
handshake counts when its first data packet was sent. What is measured is the responder's processor time, the
kernel's part included: the figure is of one core, whatever else the machine does.
"""

import argparse
import base64
import json
import os
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: E402
from foreign import TOLERATED, ForeignLoad  # noqa: E402
from lab import Namespace, two_hosts  # noqa: E402
from report import machine, results, table, write  # noqa: E402
from wgpeer import Peer, by_name  # noqa: E402

from wgpy import crypto, tai64n  # noqa: E402
from wgpy.constants import LABEL_MAC1  # noqa: E402
from wgpy.messages import Response  # noqa: E402
from wgpy.model import NO_PRESHARED_KEY, PublicKey, WallTime  # noqa: E402
from wgpy.noise import SentInitiation, StaticIdentity  # noqa: E402
from wgpy.noise_native import NativeNoise  # noqa: E402

UNDER_WAY = 64  # half of what either takes for load
LOST_AFTER_S = 0.5
RESPONDER = ("10.99.0.1", 51820)


# ---- the flood, a process of its own in the second namespace


def make_initiations(
    noise: NativeNoise, identities: list[StaticIdentity], responder: PublicKey, count: int
) -> list[tuple[bytes, SentInitiation, StaticIdentity]]:
    """Whole messages with what is to be kept of each; the peers take turns."""
    mac1_key = crypto.hash_(LABEL_MAC1, responder)
    shared = [identity.shared_with(responder) for identity in identities]
    made = []
    stamp = tai64n.ZERO
    for number in range(count):
        identity = identities[number % len(identities)]
        stamp = tai64n.stamp_after(WallTime(time.time_ns()), stamp)
        sent, message = noise.create_initiation(
            identity,
            responder,
            shared[number % len(identities)] or b"",
            crypto.generate_private_key(os.urandom),
            number,
            stamp,
        )
        body = message.pack()
        made.append((body + crypto.mac(mac1_key, body) + bytes(16), sent, identity))
    return made


def flood(story: dict) -> None:
    """Line by line on stdout: "ready", then after the go on stdin a JSON of what came of it."""
    noise = NativeNoise()
    identities = [StaticIdentity.from_private(base64.b64decode(key)) for key in story["private_keys"]]
    responder = PublicKey(base64.b64decode(story["responder"]))
    made = make_initiations(noise, identities, responder, story["count"])
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    out.connect(tuple(story["target"]))
    print("ready", flush=True)
    sys.stdin.readline()
    began, done, lost, following = time.monotonic(), 0, 0, 0
    under_way: dict[int, float] = {}
    out.settimeout(0.1)
    while following < len(made) or under_way:
        while len(under_way) < UNDER_WAY and following < len(made):
            out.send(made[following][0])
            under_way[following] = time.monotonic()
            following += 1
        try:
            datagram = out.recv(2048)
        except TimeoutError:
            late = [number for number, at in under_way.items() if time.monotonic() - at > LOST_AFTER_S]
            for number in late:
                del under_way[number]
            lost += len(late)
            continue
        if datagram[0] != 2 or under_way.pop(int.from_bytes(datagram[8:12], "little"), None) is None:
            continue
        response = Response.unpack(datagram)
        _, sent, identity = made[response.receiver_index]
        _, keys = noise.consume_response(identity, sent, response, [NO_PRESHARED_KEY])
        header = struct.pack("<IIQ", 4, keys.remote_index, 0)
        out.send(header + ChaCha20Poly1305(bytes(keys.send_key)).encrypt(bytes(12), b"", b""))
        done += 1
    print(json.dumps({"done": done, "lost": lost, "seconds": time.monotonic() - began}), flush=True)


# ---- the measurement


@dataclass
class Run:
    rate: float  # handshakes per second of processor time
    wall_rate: float
    lost: int
    foreign: float


def measure(kind: type[Peer], peers: int, count: int) -> Run:
    with two_hosts() as (host, other):
        responder = kind(host, ("10.7.0.1/24",))
        responder.start()
        assert responder.process is not None
        keys = [os.urandom(32) for _ in range(peers)]
        text = f"[Interface]\nPrivateKey = {responder.keys.private}\nListenPort = {RESPONDER[1]}\n"
        for number, key in enumerate(keys):
            public = base64.b64encode(crypto.public_key(crypto.clamp(key))).decode()
            text += f"[Peer]\nPublicKey = {public}\nAllowedIPs = 10.8.{number >> 8}.{number & 255}/32\n"
        host.run("wg", "setconf", "wg0", "/dev/stdin", stdin=text)
        story = {
            "private_keys": [base64.b64encode(key).decode() for key in keys],
            "responder": responder.keys.public,
            "target": RESPONDER,
            "count": count,
        }
        return run_flood(other, responder, story)


def run_flood(other: Namespace, responder: Peer, story: dict) -> Run:
    assert responder.process is not None
    argv = other.command(sys.executable, str(Path(__file__).resolve()), "--flood")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flooding:
        assert flooding.stdin is not None
        assert flooding.stdout is not None
        flooding.stdin.write(json.dumps(story) + "\n")
        flooding.stdin.flush()
        assert flooding.stdout.readline() == "ready\n"
        with ForeignLoad() as load:
            before = responder.process.cpu_seconds()
            flooding.stdin.write("go\n")
            flooding.stdin.flush()
            found = json.loads(flooding.stdout.readline())
            used = responder.process.cpu_seconds() - before
    assert found["done"], responder.process.output()
    return Run(found["done"] / used, found["done"] / found["seconds"], found["lost"], load.cores)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--handshakes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", default="wgpy,wireguard-go")
    parser.add_argument("--flood", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        flood(json.loads(sys.stdin.readline()))
        return 0
    names = options.contestants.split(",")
    found, foreign = results(), [0.0]
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            run = measure(by_name(name), options.peers, options.handshakes)
            found["handshakes", "a CPU second"][name].append(run.rate)
            found["handshakes", "a second"][name].append(run.wall_rate)
            foreign.append(run.foreign)
            noise = f", others used {run.foreign:.2f} cores" if run.foreign > TOLERATED else ""
            print(
                f"{number + 1}/{options.rounds} {name:14} {run.rate:7.0f} per CPU second "
                f"({run.wall_rate:.0f} per second, {run.lost} lost{noise})",
                flush=True,
            )
    about = machine() | {"foreign load": f"at most {max(foreign):.2f} cores"}
    print("\n" + table(found, names, about))
    write("handshakes", found, names, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
