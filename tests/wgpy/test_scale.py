"""Ten thousand peers with four allowed IPs each on one device.

Times are the thread's own, for the machine is seldom ours alone; bench/peers.py measures what a person waits.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network

from support.pair_tun import PairTun

from wgpy import crypto
from wgpy.device import Device, Options
from wgpy.dispatch import boot_time
from wgpy.model import AllowedIpChange, DeviceUpdate, PeerUpdate, PrivateKey, PublicKey, SocketAddress
from wgpy.uapi import RequestParser, SetRequest
from wgpy.uapi_ask import format_set, parse_get

PEERS = 10_000
CONFIGURED_WITHIN_S = 5
TICK_MS = 2
PIECE_MS = 40  # of the event loop's time at once


def everybody() -> DeviceUpdate:
    made = []
    for number in range(PEERS):
        a, b = divmod(number, 250)
        prefixes = (f"10.{a}.{b}.1/32", f"11.{a}.{b}.0/24", f"fd00:{number:x}::/64", f"fd01::{number:x}/128")
        made.append(
            PeerUpdate(
                PublicKey(number.to_bytes(4) * 8),
                endpoint=SocketAddress(ip_address("192.0.2.1"), 1024 + number),
                allowed_ips=tuple(AllowedIpChange(ip_network(prefix)) for prefix in prefixes),
            )
        )
    return DeviceUpdate(private_key=PrivateKey(crypto.clamp(bytes(32))), peers=tuple(made))


def milliseconds(action: Callable[[], object]) -> float:
    began = time.thread_time()
    action()
    return (time.thread_time() - began) * 1000


def pieces_of(answer: Callable[[], Iterable[bytes]]) -> tuple[bytes, float]:
    """A whole reply, and the longest that one of its pieces took; the better of three runs."""
    longest = []
    for _ in range(3):
        pieces, taken = [], []
        walk = iter(answer())
        while True:
            began = time.thread_time()
            piece = next(walk, None)
            taken.append((time.thread_time() - began) * 1000)
            if piece is None:
                break
            pieces.append(piece)
        longest.append(max(taken))
    return b"".join(pieces), min(longest)


def test_ten_thousand_peers_are_configured_watched_and_shown_in_time() -> None:
    asyncio.run(crowd())


async def crowd() -> None:
    tun = PairTun()
    device = Device(tun, Options(), None, lambda: None)
    device.start()
    try:
        update = everybody()
        text = format_set(update)
        took = milliseconds(lambda: configure(device, text))
        assert took < CONFIGURED_WITHIN_S * 1000

        assert min(milliseconds(lambda: device._tick_peers(boot_time())) for _ in range(40)) < TICK_MS

        reply, longest = pieces_of(device.answer_get)
        assert longest < PIECE_MS
        state = parse_get(reply.decode())
        assert [peer.public_key for peer in state.peers] == [peer.public_key for peer in update.peers]
        for peer, wanted in zip(state.peers[::97], update.peers[::97], strict=True):
            assert peer.endpoint == wanted.endpoint
            assert peer.allowed_ips == tuple(change.prefix for change in wanted.allowed_ips)

        reply, longest = pieces_of(device.answer_status)
        assert longest < PIECE_MS
        assert len(json.loads(reply.splitlines()[0].removeprefix(b"status="))["peers"]) == PEERS
    finally:
        device.close()
        tun.__dict__["kernel"].close()


def configure(device: Device, text: bytes) -> None:
    (request,) = RequestParser().feed(text)
    assert isinstance(request, SetRequest)
    device.apply(request.update)


async def removals_between_pieces() -> None:
    tun = PairTun()
    device = Device(tun, Options(), None, lambda: None)
    device.start()
    try:
        device.apply(everybody())
        walk = device.answer_status()
        pieces = [next(walk), next(walk)]
        device.apply(DeviceUpdate(replace_peers=True))
        pieces += walk
        assert len(json.loads(b"".join(pieces).splitlines()[0].removeprefix(b"status="))["peers"]) == 256
    finally:
        device.close()
        tun.__dict__["kernel"].close()


def test_peers_removed_while_a_reply_is_written_are_left_out() -> None:
    asyncio.run(removals_between_pieces())
