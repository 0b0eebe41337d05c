"""What the Rosenpass exchange costs on this machine: handshakes, memory per peer, stalls of an event loop.

python bench/exchange.py [--handshakes 200] [--peers 200]
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from rosenpass.actions import Action, KeyConfirmed, SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import SUITES, Instant, Suite
from rosenpass.identity import Kems, StaticIdentity
from rosenpass.kem import StaticKem, StaticSecretKey
from rosenpass.peers import Initiative, PeerConfig, PeerId
from rosenpass.server import CryptoServer
from rosenpass.standalone.worker import Worker

A, B = Address(IPv4Address("192.0.2.1"), 1), Address(IPv4Address("192.0.2.2"), 2)
PAIRS = [StaticKem(188, os.urandom).keypair() for _ in range(2)]


def server(number: int) -> CryptoServer:
    public, secret = PAIRS[number]
    return CryptoServer(StaticIdentity(public, StaticSecretKey(secret)), os.urandom, Kems.real(os.urandom))


def now() -> Instant:
    return Instant(time.monotonic_ns())


def sent(actions: list[Action]) -> Iterator[bytes]:
    return (action.datagram for action in actions if isinstance(action, SendMessage))


def handshakes(count: int, suite: Suite) -> dict[str, float]:
    """Median ms of each end's part in each message."""
    a, b = server(0), server(1)
    config = {"suite": suite, "initiative": Initiative.NEVER}
    peer = a.add_peer(PeerConfig(PAIRS[1][0], reachable=True, **config), now())
    b.add_peer(PeerConfig(PAIRS[0][0], **config), now())
    taken: dict[str, list[float]] = {}
    for _ in range(count):
        begin = time.perf_counter()
        a.initiate(peer, now())
        taken.setdefault("InitHello sent", []).append(time.perf_counter() - begin)
        ends = [(b, A, "InitHello"), (a, B, "RespHello"), (b, A, "InitConf"), (a, B, "EmptyData")]
        (datagram,) = sent(a.take_actions())
        for end, source, name in ends:
            begin = time.perf_counter()
            end.receive(datagram, source, now())
            taken.setdefault(f"{name} received", []).append(time.perf_counter() - begin)
            datagram = next(sent(end.take_actions()), b"")
    return {name: sorted(times)[len(times) // 2] * 1000 for name, times in taken.items()}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(count: int) -> float:
    """Bytes per peer with a handshake under way, beyond its public key."""
    end = server(0)
    keys = [os.urandom(524160) for _ in range(count)]
    before = resident()
    for key in keys:
        peer = end.add_peer(PeerConfig(key, reachable=True), now())
        end.initiate(peer, now())
        end.take_actions()
    return (resident() - before) / count


async def stall(count: int) -> tuple[float, float]:
    """Longest and median lateness in ms of a loop that wants to wake every ms, beside a busy worker."""
    servers = {A: server(0), B: server(1)}
    workers: dict[Address, Worker] = {}
    keys = 0

    def deliver_from(own: Address, other: Address) -> object:
        def deliver(actions: list[Action]) -> None:
            nonlocal keys
            for action in actions:
                keys += isinstance(action, KeyConfirmed)
            for datagram in sent(actions):
                workers[other].submit(datagram, own)

        return deliver

    workers[A], workers[B] = Worker(servers[A], deliver_from(A, B)), Worker(servers[B], deliver_from(B, A))
    for worker in workers.values():
        worker.start()
    config = {"initiative": Initiative.NEVER}
    workers[B].call(lambda s, at: s.add_peer(PeerConfig(PAIRS[0][0], **config), at)).result()
    peer: PeerId = (
        workers[A]
        .call(lambda s, at: s.add_peer(PeerConfig(PAIRS[1][0], reachable=True, **config), at))
        .result()
    )
    late = []
    for _ in range(count):
        before = keys
        workers[A].call(lambda s, at: s.initiate(peer, at))
        while keys == before:
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - begin - 0.001)
    for worker in workers.values():
        worker.stop()
    return max(late) * 1000, sorted(late)[len(late) // 2] * 1000


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--handshakes", type=int, default=200)
    arguments.add_argument("--peers", type=int, default=200)
    given = arguments.parse_args()
    for name in ("V02", "V03"):
        parts = handshakes(given.handshakes, SUITES[name])
        total = sum(parts.values())
        print(f"suite {name}: {1000 / total:.0f} whole handshakes per second and core, both ends; median ms:")
        for message, ms in parts.items():
            print(f"    {message:20} {ms:7.3f}")
    extra = memory(given.peers)
    whole = 1000 * (524160 + extra) / 1e6
    key = "a public key of 524160 bytes, held once"
    print(f"memory per peer: {key}, and {extra:.0f} more; 1,000 peers: {whole:.0f} MB")
    longest, median = asyncio.run(stall(given.handshakes))
    print(f"event loop beside two workers: longest stall {longest:.1f} ms, median {median:.2f} ms")


if __name__ == "__main__":
    main()
