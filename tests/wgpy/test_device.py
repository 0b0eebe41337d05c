"""The real device over the real data plane, with a socket pair in place of its TUN; needs no privilege."""

import asyncio
import errno
import json
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from support.pair_tun import PairTun
from support.planes import udp_packet
from support.transcripts import GROUPS, replay

from tun.records import Gate
from wgpy import crypto
from wgpy.device import Device, Options
from wgpy.errors import WgpyError
from wgpy.model import (
    SECOND,
    AllowedIpChange,
    DeviceState,
    DeviceUpdate,
    IpNetwork,
    PeerNumber,
    PeerUpdate,
    Policy,
    PresharedKey,
    PrivateKey,
    PskKind,
    PublicKey,
    SocketAddress,
)
from wgpy.rosenpass_settings import PeerSettings, RosenpassSettings
from wgpy.uapi import GetRequest, Hangup, RefusedRequest, RequestParser, SetRequest, format_errno
from wgpy.uapi_ask import parse_get

ALICE, BOB = (PrivateKey(crypto.clamp(bytes([n]) * 32)) for n in (1, 2))
ALICE_PUBLIC, BOB_PUBLIC = (PublicKey(crypto.public_key(key)) for key in (ALICE, BOB))
EVERYTHING: tuple[IpNetwork, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def state_of(device: Device) -> DeviceState:
    return parse_get(b"".join(device.answer_get()).decode())


def report_of(device: Device) -> Any:
    text = b"".join(device.answer_status()).decode()
    assert text.endswith("\nerrno=0\n\n")
    return json.loads(text.splitlines()[0].removeprefix("status="))


@contextmanager
def made(count: int = 1) -> Iterator[list[tuple[Device, PairTun]]]:
    devices = []
    for _ in range(count):
        tun = PairTun()
        devices.append((Device(tun, Options(max_peers=600), None, lambda: None), tun))
    for device, _ in devices:
        device.start()
    yield devices
    for device, tun in devices:
        device.close()
        tun.__dict__["kernel"].close()


def on_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


def peer(public_key: PublicKey = BOB_PUBLIC, **fields: object) -> PeerUpdate:
    return PeerUpdate(public_key, **fields)  # type: ignore[arg-type]


def converse(device: Device, sent: str) -> tuple[str, bool]:
    reply = b""
    for request in RequestParser(lambda zone: {"lo": 1}[zone]).feed(sent.encode()):
        match request:
            case Hangup():
                return reply.decode(), True
            case GetRequest():
                reply += re.sub(rb"tx_bytes=\d+", b"tx_bytes=0", b"".join(device.answer_get()))  # keepalives
            case SetRequest(update):
                try:
                    device.apply(update)
                    reply += format_errno(0)
                except OSError as error:
                    reply += format_errno(error.errno)
            case RefusedRequest(number, close):
                reply += format_errno(number)
                if close:
                    return reply.decode(), True
    return reply.decode(), False


@pytest.mark.parametrize("group", GROUPS)
def test_recorded_conversations_with_wireguard_go_are_answered_alike(group: str) -> None:
    async def run() -> None:
        with made() as [(device, _)]:
            replay(group, lambda sent: converse(device, sent))

    asyncio.run(run())


@on_loop
async def test_two_devices_carry_packets_both_ways() -> None:
    with made(2) as [(a, tun_a), (b, tun_b)]:
        introduce(a, b)
        for number, (near, far) in enumerate([(tun_a, tun_b), (tun_b, tun_a), (tun_a, tun_b)]):
            packet = udp_packet("10.0.0.1", "10.0.0.2", b"packet %d" % number)
            near.write(packet)
            assert await asyncio.to_thread(far.read) == packet
        seen = state_of(a).peers[0]
        assert seen.last_handshake > 0
        assert seen.tx_bytes > 148
        assert seen.rx_bytes > 92
        session = report_of(a)["peers"][0]["session"]
        assert session["psk_kind"] == "none"
        assert session["initiator"] is True


def introduce(a: Device, b: Device, psk: bytes = bytes(32)) -> None:
    endpoint = SocketAddress(ip_address("127.0.0.1"), state_of(b).listen_port)
    changes = tuple(AllowedIpChange(prefix) for prefix in EVERYTHING)
    common = {"allowed_ips": changes, "preshared_key": PresharedKey(psk)}
    b.apply(DeviceUpdate(BOB, peers=(peer(ALICE_PUBLIC, **common),)))
    a.apply(DeviceUpdate(ALICE, peers=(peer(BOB_PUBLIC, endpoint=endpoint, **common),)))


@on_loop
async def test_a_preshared_key_that_differs_keeps_the_tunnel_shut() -> None:
    with made(2) as [(a, tun_a), (b, _)]:
        introduce(a, b, b"x" * 32)
        b.apply(DeviceUpdate(peers=(peer(ALICE_PUBLIC, preshared_key=PresharedKey(b"y" * 32)),)))
        tun_a.write(udp_packet("10.0.0.1", "10.0.0.2", b"x"))
        await until(lambda: int(str(report_of(a)["drops"]["handshake_authentication"])) > 0)
        assert state_of(a).peers[0].last_handshake == 0


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        try:
            if condition():
                return
        except KeyError:
            pass
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


def be_strict(device: Device, public_key: PublicKey) -> None:
    found = device.tunnel.find_peer(public_key)
    assert found is not None
    settings = PeerSettings(public_key, Policy.STRICT, "somewhere.pqpk")
    device.post_quantum.set_policy(found, settings, Gate(1 << PskKind.PQ, 600 * SECOND))


@on_loop
async def test_a_strict_peer_holds_user_packets_and_says_so() -> None:
    with made(2) as [(a, tun_a), (b, tun_b)]:
        introduce(a, b)
        be_strict(a, BOB_PUBLIC)
        be_strict(b, ALICE_PUBLIC)
        packet = udp_packet("10.0.0.1", "10.0.0.2", b"secret")
        tun_a.write(packet)
        await until(lambda: report_of(a)["peers"][0]["session"] is not None)
        report = report_of(a)["peers"][0]
        assert report["session"]["psk_kind"] == "interim"
        assert report["quantum"]["state"] == "pending"
        await until(lambda: report_of(a)["peers"][0]["staged"] == 1)

        from wgpy.dispatch import boot_time, wall_time

        number_a = a.tunnel.find_peer(BOB_PUBLIC).number  # type: ignore[union-attr]
        number_b = b.tunnel.find_peer(ALICE_PUBLIC).number  # type: ignore[union-attr]
        a.tunnel.rosenpass_pending(number_a, b"o" * 32, boot_time())
        b.tunnel.rosenpass_confirmed(number_b, b"o" * 32, boot_time(), wall_time())
        b.perform()
        assert await asyncio.to_thread(tun_b.read) == packet
        await until(lambda: report_of(a)["peers"][0]["quantum"]["state"] == "yes")


@on_loop
async def test_what_a_set_does_shows_in_a_get() -> None:
    with made() as [(device, _)]:
        endpoint = SocketAddress(ip_address("2001:db8::1"), 7)
        device.apply(
            DeviceUpdate(
                PrivateKey(b"\xff" * 32),
                fwmark=0,
                peers=(
                    peer(
                        preshared_key=PresharedKey(b"k" * 32),
                        endpoint=endpoint,
                        persistent_keepalive=25,
                        allowed_ips=(AllowedIpChange(ip_network("10.0.0.0/8")),),
                    ),
                ),
            )
        )
        state = state_of(device)
        assert state.private_key == crypto.clamp(b"\xff" * 32)
        (shown,) = state.peers
        assert (shown.preshared_key, shown.endpoint, shown.persistent_keepalive) == (b"k" * 32, endpoint, 25)
        assert shown.allowed_ips == (ip_network("10.0.0.0/8"),)
        assert (b"k" * 32).hex() not in json.dumps(report_of(device))
        device.apply(DeviceUpdate(private_key=PrivateKey(bytes(32))))
        assert state_of(device).private_key is None


@on_loop
async def test_update_only_and_remove_do_not_create() -> None:
    with made() as [(device, _)]:
        device.apply(DeviceUpdate(peers=(peer(update_only=True), peer(ALICE_PUBLIC, remove=True))))
        assert state_of(device).peers == ()
        device.apply(DeviceUpdate(peers=(peer(),)))
        device.apply(DeviceUpdate(peers=(peer(update_only=True, persistent_keepalive=3),)))
        assert state_of(device).peers[0].persistent_keepalive == 3
        device.apply(DeviceUpdate(peers=(peer(remove=True),)))
        assert state_of(device).peers == ()


@on_loop
async def test_a_removed_peers_number_serves_the_next_one_from_zero() -> None:
    with made() as [(device, _)]:
        device.apply(DeviceUpdate(peers=(peer(persistent_keepalive=9),)))
        device.apply(DeviceUpdate(replace_peers=True, peers=(peer(ALICE_PUBLIC),)))
        (shown,) = state_of(device).peers
        assert (shown.public_key, shown.persistent_keepalive, shown.tx_bytes) == (ALICE_PUBLIC, 0, 0)


@on_loop
async def test_a_prefix_moves_to_its_newest_owner() -> None:
    with made() as [(device, _)]:
        prefix = AllowedIpChange(ip_network("10.0.0.0/24"))
        device.apply(
            DeviceUpdate(peers=(peer(allowed_ips=(prefix,)), peer(ALICE_PUBLIC, allowed_ips=(prefix,))))
        )
        assert [len(shown.allowed_ips) for shown in state_of(device).peers] == [0, 1]
        device.apply(DeviceUpdate(peers=(peer(allowed_ips=(replace(prefix, remove=True),)),)))
        assert [len(shown.allowed_ips) for shown in state_of(device).peers] == [0, 1]


@on_loop
async def test_a_taken_port_leaves_everything_as_it_was() -> None:
    with made() as [(device, _)], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        port = state_of(device).listen_port
        assert port
        with pytest.raises(OSError, match="port") as caught:
            device.apply(DeviceUpdate(listen_port=other.getsockname()[1]))
        assert caught.value.errno == errno.EADDRINUSE
        assert state_of(device).listen_port == port


@on_loop
async def test_down_closes_the_port_and_up_opens_the_same() -> None:
    with made() as [(device, tun)]:
        port = state_of(device).listen_port
        tun.set_up(False)
        await until(lambda: can_bind(port))
        tun.set_up(True)
        await until(lambda: not can_bind(port))
        assert state_of(device).listen_port == port


@on_loop
async def test_a_taken_port_is_refused_while_down_too() -> None:
    with made() as [(device, tun)], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        port = state_of(device).listen_port
        tun.set_up(False)
        await until(lambda: can_bind(port))
        with pytest.raises(OSError, match="port") as caught:
            device.apply(DeviceUpdate(listen_port=other.getsockname()[1]))
        assert caught.value.errno == errno.EADDRINUSE
        assert state_of(device).listen_port == port


@on_loop
async def test_a_port_stolen_while_down_is_opened_as_soon_as_it_is_free() -> None:
    with made() as [(device, tun)], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        port = state_of(device).listen_port
        tun.set_up(False)
        await until(lambda: can_bind(port))
        thief.bind(("", port))
        tun.set_up(True)
        await asyncio.sleep(1.5)  # up without a port, and still alive
        thief.close()
        await until(lambda: not can_bind(port))
        assert state_of(device).listen_port == port


def can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


@on_loop
async def test_more_peers_than_there_is_room_for_is_an_error_and_no_harm() -> None:
    with made() as [(device, _)]:
        many = tuple(peer(PublicKey(number.to_bytes(32))) for number in range(1, 602))
        with pytest.raises(OSError, match="peer"):
            device.apply(DeviceUpdate(peers=many))
        assert len(state_of(device).peers) == 600
        device.apply(DeviceUpdate(replace_peers=True))
        assert state_of(device).peers == ()


@on_loop
async def test_replacing_key_and_peers_at_once_leaves_no_work_behind_for_each_removal() -> None:
    with made() as [(device, _)]:
        device.apply(
            DeviceUpdate(ALICE, peers=tuple(peer(PublicKey(bytes([1, n] * 16))) for n in range(200)))
        )
        waiting: list[int] = []
        forget = device.tunnel.remove_peer

        def remove(number: PeerNumber) -> None:
            waiting.append(len(device.tunnel._actions))
            forget(number)

        device.tunnel.remove_peer = remove  # type: ignore[method-assign]
        device.apply(DeviceUpdate(BOB, replace_peers=True))
        assert (len(waiting), max(waiting)) == (200, 0)


@on_loop
async def test_rosenpass_settings_are_refused_or_taken_but_never_ignored() -> None:
    with made() as [(device, _)]:
        await device.configure_rosenpass(None)
        with pytest.raises(WgpyError):
            await device.configure_rosenpass(RosenpassSettings("/none", "/none", 1, Policy.STRICT, (), ()))
