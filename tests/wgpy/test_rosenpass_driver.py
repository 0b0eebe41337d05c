"""The exchange of a real device outside its tunnel, with real keys; needs no privilege."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from support.pair_tun import PairTun

from rosenpass.kem import StaticKem
from rosenpass.keyfile import save_key_pair
from wgpy import crypto
from wgpy.config_values import HostPort, RosenpassVia
from wgpy.device import Device, Options
from wgpy.errors import WgpyError
from wgpy.model import (
    DeviceUpdate,
    Instant,
    PeerNumber,
    PeerUpdate,
    Policy,
    PrivateKey,
    PskKind,
    PublicKey,
    SocketAddress,
)
from wgpy.rosenpass_settings import PeerSettings, RosenpassSettings

ALICE, BOB = (PrivateKey(crypto.clamp(bytes([n]) * 32)) for n in (1, 2))
BOB_PUBLIC = PublicKey(crypto.public_key(BOB))
AT_ONCE = {"start_delay": 0.001, "retransmit_begin": 0.05, "retransmit_end": 0.05}
INIT_HELLO = 0x81


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for name in ("alice", "bob"):
        directory = tmp_path_factory.mktemp(name)
        public, secret = StaticKem(188, os.urandom).keypair()
        save_key_pair(directory / "pqpk", directory / "pqsk", public, secret)
        found.append(directory)
    return found


@pytest.fixture
def partner() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        yield bound


@contextmanager
def device_up() -> Iterator[Device]:
    tun = PairTun()
    device = Device(tun, Options(max_peers=16, rosenpass_seconds=AT_ONCE), None, lambda: None)
    device.start()
    try:
        yield device
    finally:
        device.close()
        tun.__dict__["kernel"].close()


def settings(pairs: list[Path], partner: socket.socket, port: int = 0) -> RosenpassSettings:
    bob = PeerSettings(
        BOB_PUBLIC,
        Policy.STRICT,
        str(pairs[1] / "pqpk"),
        RosenpassVia.OUTSIDE,
        outside=HostPort(*partner.getsockname()),
    )
    own = pairs[0]
    return RosenpassSettings(
        str(own / "pqsk"), str(own / "pqpk"), port or free_port(), Policy.STRICT, (), (bob,)
    )


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


ADD = DeviceUpdate(peers=(PeerUpdate(BOB_PUBLIC),))
REMOVE = DeviceUpdate(peers=(PeerUpdate(BOB_PUBLIC, remove=True),))


async def init_hello(partner: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(partner, 2048)


def test_a_peer_removed_and_added_again_in_one_breath_takes_part(
    pairs: list[Path], partner: socket.socket
) -> None:
    async def run() -> None:
        with device_up() as device:
            await device.configure_rosenpass(settings(pairs, partner))
            for update in (ADD, REMOVE, ADD):
                device.apply(update)
            assert (await init_hello(partner))[0] == INIT_HELLO

    asyncio.run(run())


def test_a_peer_removed_before_the_worker_had_it_is_left_in_peace(
    pairs: list[Path], partner: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        with device_up() as device:
            await device.configure_rosenpass(settings(pairs, partner))
            device.apply(ADD)
            device.apply(REMOVE)
            await asyncio.sleep(0.3)  # several resends
            with pytest.raises(BlockingIOError):
                partner.recv(2048)
            device.apply(ADD)
            assert (await init_hello(partner))[0] == INIT_HELLO

    asyncio.run(run())
    assert not caplog.records


def test_two_devices_do_not_share_a_port_outside_the_tunnel(
    pairs: list[Path], partner: socket.socket
) -> None:
    async def run() -> None:
        with device_up() as first, device_up() as second:
            wanted = settings(pairs, partner)
            await first.configure_rosenpass(wanted)
            with pytest.raises(WgpyError, match=f"UDP port {wanted.listen_port} is in use"):
                await second.configure_rosenpass(wanted)

    asyncio.run(run())


def test_other_keys_of_ours_take_over_the_port_outside_the_tunnel(
    pairs: list[Path], partner: socket.socket
) -> None:
    async def run() -> None:
        with device_up() as device:
            wanted = settings(pairs, partner)
            await device.configure_rosenpass(wanted)
            was = device.post_quantum.fingerprint
            other = settings(pairs[::-1], partner, wanted.listen_port)
            await device.configure_rosenpass(other)
            assert device.post_quantum.fingerprint not in (None, was)
            device.apply(ADD)
            assert (await init_hello(partner))[0] == INIT_HELLO

    asyncio.run(run())


def test_where_we_answer_only_a_weak_session_starts_no_exchange(
    pairs: list[Path], partner: socket.socket
) -> None:
    async def run() -> None:
        with device_up() as device:
            wanted = settings(pairs, partner)
            inside = SocketAddress(IPv4Address("10.0.0.2"), 51821)
            bob = replace(wanted.peers[0], via=RosenpassVia.ANSWER_ONLY, control=inside)
            await device.configure_rosenpass(replace(wanted, peers=(bob,)))
            device.apply(ADD)
            driver = device.post_quantum._driver
            assert driver is not None
            peer = await asyncio.wrap_future(driver._partners[BOB_PUBLIC].adding)
            await asyncio.sleep(0)  # until the driver knows, too
            driver._exchange._wanted[peer] = Instant(0)  # as session_stands does, at once or seconds later
            driver.session_stands(PeerNumber(0), PskKind.INTERIM)
            status = await asyncio.wrap_future(driver._worker.call(lambda server, _: server.status(peer)))
            assert status.handshake_since is None

    asyncio.run(run())
