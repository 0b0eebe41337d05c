"""`wgpy bench`: what this machine can do, in three short tables.

Crypto and system calls are single calls in a loop, on one core. The tunnel is two of our own daemons in two
namespaces made for it, with TCP from this process through it; it needs root and a TUN device and is left out
without. Comparisons with other implementations are not made here: `make bench` in the source tree does that.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

import click

Figures = dict[str, str]
PACKET_LEN: Final = 1420
SEGMENTS: Final = 45
UDP_SEGMENT: Final = 103
PARTS: Final = ("crypto", "syscalls", "tunnel")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option(
    "--seconds", type=click.FloatRange(0.05, 60), default=1.0, show_default=True, help="Per figure."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench(parts: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Measure crypto, syscalls and a tunnel on this machine; without PARTS all three."""
    measure = {"crypto": crypto, "syscalls": syscalls, "tunnel": tunnel}
    said = {part: measure[part](seconds) for part in parts or PARTS}
    if as_json:
        print(json.dumps({"schema": 1, **said}, indent=1))
        return
    for part, figures in said.items():
        print(click.style(part, bold=True))
        for name, figure in figures.items():
            print(f"  {name:42} {figure:>16}")


def microseconds(call: Callable[[], object], seconds: float) -> str:
    """The best of five batches: what the call costs when nobody else is running."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds / 10 or not count:
        call()
        count += 1
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - start) / count)
    return f"{best * 1e6:,.2f} us"


def crypto(seconds: float) -> Figures:
    """The handshake as a whole and its primitives; what Rosenpass adds."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from rosenpass.kem import EphemeralKem, StaticKem
    from wgpy import crypto as wireguard

    private, public = bytes(range(32)), wireguard.public_key(bytes(range(1, 33)))
    aead, packet = ChaCha20Poly1305(private), bytes(PACKET_LEN)
    figures = {
        "X25519": microseconds(lambda: wireguard.dh(private, public), seconds),
        "BLAKE2s, 64 bytes": microseconds(lambda: wireguard.hash_(bytes(64)), seconds),
        "ChaCha20-Poly1305, 1420 bytes (libcrypto)": microseconds(
            lambda: aead.encrypt(bytes(12), packet, b""), seconds
        ),
        "WireGuard handshake, both sides": microseconds(_handshake(), seconds),
    }
    kyber, mceliece = EphemeralKem(), StaticKem(188, os.urandom)
    for name, kem in (("Kyber512", kyber), ("Classic McEliece 460896", mceliece)):
        public_key, secret = kem.keypair()
        ciphertext, _ = kem.encaps(public_key)
        figures[f"{name}, encapsulate"] = microseconds(lambda k=kem, p=public_key: k.encaps(p), seconds)  # type: ignore[misc]
        figures[f"{name}, decapsulate"] = microseconds(
            lambda k=kem, s=secret, c=ciphertext: k.decaps(s, c),  # type: ignore[misc]
            seconds,
        )
    return figures


def _handshake() -> Callable[[], object]:
    from wgpy import noise
    from wgpy.crypto import clamp
    from wgpy.model import NO_PRESHARED_KEY

    alice, bob = (noise.StaticIdentity.from_private(os.urandom(32)) for _ in "ab")
    shared = alice.shared_with(bob.public_key)
    assert shared is not None

    def handshake() -> None:
        one, two = (bytearray(clamp(os.urandom(32))) for _ in "ab")
        sent, initiation = noise.create_initiation(alice, bob.public_key, shared, one, 1, bytes(12))
        received = noise.consume_initiation(noise.open_initiation(bob, initiation), shared)
        _, response = noise.create_response(received, two, NO_PRESHARED_KEY, 2)
        noise.consume_response(alice, sent, response, [NO_PRESHARED_KEY])

    return handshake


def syscalls(seconds: float) -> Figures:
    """What the kernel charges for datagrams over loopback, alone and in batches (UDP_SEGMENT)."""
    figures = {"clock_gettime": microseconds(lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME), seconds)}
    with ExitStack() as stack:
        ends = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in "ab"]
        out, into = ends
        into.bind(("127.0.0.1", 0))
        into.setblocking(False)
        out.connect(into.getsockname())
        one, many = bytes(PACKET_LEN), bytes(PACKET_LEN * SEGMENTS)

        def drain() -> None:
            with suppress(BlockingIOError):
                while True:
                    into.recv(65535)

        def send_one() -> None:
            out.send(one)
            into.recv(65535)

        def send_many() -> None:
            out.send(many)
            drain()

        figures["send and receive one datagram"] = microseconds(send_one, seconds)
        with suppress(OSError):
            out.setsockopt(socket.SOL_UDP, UDP_SEGMENT, PACKET_LEN)
            figures[f"send {SEGMENTS} with one call, receive each"] = microseconds(send_many, seconds)
    return figures


def tunnel(seconds: float) -> Figures:
    """TCP through two daemons of ours, one stream; why not, where that is not possible."""
    from wgpy.cli.bench_tunnel import Unavailable, throughput

    try:
        bits, cpu = throughput(max(1.0, seconds))
    except Unavailable as error:
        return {"left out": str(error)}
    return {
        "TCP, one stream": f"{bits / 1e9:,.2f} Gbit/s",
        "processor time of both daemons": f"{cpu:,.2f} s/GB",
    }
