"""Two data planes that talk over loopback, with socket pairs in place of their TUNs."""

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from tun.dataplane import DataPlane
from tun.records import Address, Endpoint, Event, EventKind, Feature

DEADLINE = 5.0
LOOPBACK = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wait_for(condition: Callable[[], Any], what: str = "the condition") -> Any:
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true in {DEADLINE} s"
        time.sleep(0.002)
    return value


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: str, destination: str, payload: bytes, *, protocol: int = 17, ds: int = 0) -> bytes:
    """Wrap a transport payload in IPv4 or IPv6, as the addresses are."""
    src, dst = ip_address(source), ip_address(destination)
    if isinstance(src, IPv4Address):
        head = struct.pack(
            "!BBHHHBBH4s4s",
            0x45, ds, 20 + len(payload), 1, 0, 64, protocol, 0, src.packed, dst.packed,
        )  # fmt: skip
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
    head = struct.pack("!IHBB16s16s", 6 << 28 | ds << 20, len(payload), protocol, 64, src.packed, dst.packed)
    return head + payload


def pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    src, dst = ip_address(source), ip_address(destination)
    return src.packed + dst.packed + struct.pack("!II", length, protocol)


def udp_packet(
    source: str, destination: str, data: bytes, *, sport: int = 1000, dport: int = 2000, ds: int = 0
) -> bytes:
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    value = checksum(pseudo(source, destination, 17, 8 + len(data)) + head + data) or 0xFFFF
    return ip_packet(source, destination, head[:6] + struct.pack("!H", value) + data, ds=ds)


@dataclass
class Side:
    """One data plane with everything a test holds of it."""

    plane: DataPlane
    tun: socket.socket  # the test's end: what it sends, the plane reads as if from the kernel
    udp: dict[int, socket.socket]
    vnet: bool
    peer: int = 0
    inner: dict[int, str] = field(default_factory=dict)

    def endpoint(self, version: int) -> Endpoint:
        return Endpoint(Address(LOOPBACK[version], self.udp[version].getsockname()[1]))

    def send(self, packet: bytes, vnet_header: bytes = bytes(10)) -> None:
        """Hand a packet to the plane as the kernel would."""
        self.tun.send((vnet_header if self.vnet else b"") + packet)

    def receive(self, timeout: float = DEADLINE) -> bytes:
        """Return what the plane wrote to its TUN, without the vnet header."""
        self.tun.settimeout(timeout)
        data = self.tun.recv(70000)
        return data[10:] if self.vnet else data

    def is_silent(self, seconds: float = 0.15) -> bool:
        readable, _, _ = select.select([self.tun], [], [], seconds)
        return not readable

    def record(self, peer: int | None = None) -> Any:
        return self.plane.records[self.peer if peer is None else peer]

    def next_event(self, kind: EventKind) -> Event:
        found: list[Event] = []

        def look() -> bool:
            found.extend(event for event in self.plane.events() if event.kind is kind)
            return bool(found)

        wait_for(look, f"an event {kind.name}")
        return found[0]


@contextmanager
def side(
    inner4: str, inner6: str, *, vnet: bool = False, features: Feature = Feature.ALL, **limits: Any
) -> Iterator[Side]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    udp = {
        4: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        6: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    }
    udp[6].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    udp[4].bind(("127.0.0.1", 0))
    udp[6].bind(("::1", 0))
    plane = DataPlane(
        [(theirs.fileno(), theirs.fileno())], has_vnet_header=vnet, mtu=1420, features=features, **limits
    )
    try:
        plane.set_sockets((udp[4].fileno(), udp[6].fileno()))
        plane.start()
        yield Side(plane, ours, udp, vnet, inner={4: inner4, 6: inner6})
    finally:
        plane.close()
        for sock in (ours, theirs, *udp.values()):
            sock.close()


@dataclass
class Pair:
    """Two sides that know each other as peers; a is the initiator of every session."""

    a: Side
    b: Side
    version: int = 4

    def udp(self, data: bytes, *, version: int = 4, ds: int = 0) -> bytes:
        """Build a UDP packet from a to b."""
        return udp_packet(self.a.inner[version], self.b.inner[version], data, ds=ds)

    def session(
        self, *, psk_kind: int = 0, psk_birthdate: int = 0, age: int = 0, confirm: bool = False
    ) -> tuple[bytes, bytes]:
        """Install a new session on both sides as a handshake would; return (a's send key, b's send key)."""
        keys = os.urandom(32), os.urandom(32)
        indices = [s.plane.index_reserve(s.peer) for s in (self.a, self.b)]
        common = {"birthdate": boottime() - age, "psk_kind": psk_kind, "psk_birthdate": psk_birthdate}
        for number, s in enumerate((self.a, self.b)):
            s.plane.keypair_install(
                s.peer,
                send_key=keys[number],
                receive_key=keys[1 - number],
                local_index=indices[number],
                remote_index=indices[1 - number],
                is_initiator=number == 0,
                **common,
            )
        if confirm:
            self.a.plane.peer_flush(self.a.peer, keepalive=True)
            wait_for(lambda: self.b.record()["current_index"] == indices[1], "the confirmation")
        return keys


@contextmanager
def pair(
    *, version: int = 4, vnet: bool = False, features: Feature = Feature.ALL, **limits: Any
) -> Iterator[Pair]:
    with (
        side("10.0.0.1", "fd00::1", vnet=vnet, features=features, **limits) as a,
        side("10.0.0.2", "fd00::2", vnet=vnet, features=features, **limits) as b,
    ):
        for one, other in ((a, b), (b, a)):
            one.peer = one.plane.peer_add()
            one.plane.peer_set_endpoint(one.peer, other.endpoint(version))
            for inner in other.inner.values():
                one.plane.allowed_ip_insert(one.peer, ip_network(inner))
        yield Pair(a, b, version)
