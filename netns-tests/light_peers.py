"""Many hybrid peers of one hub in one process: the real cores and real messages, and next to no data plane.

    light_peers.py STORY.json

STORY: {"hub": [address, port], "inside": address, "public_key": base64, "rosenpass": path,
"peers": [{"private_key": base64, "pair": directory, "inside": address}, ...]}. Each peer has a UDP socket of
its own and runs the exchange over the tunnel; user datagrams it sends back where they came from. Ends with
TERM. Lines on stdin:

    go        every peer starts its handshake
    snapshot  remember all of this process' memory
    restore   and go on from there, as a machine does that is restored from a snapshot
"""

import base64
import contextlib
import json
import os
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from handmade import DATA, Session, udp

from rosenpass.actions import SendMessage
from rosenpass.addresses import Address
from rosenpass.identity import Kems, StaticIdentity
from rosenpass.kem import StaticSecretKey
from rosenpass.keyfile import load_public_key, load_secret_key
from rosenpass.peers import Initiative, PeerConfig
from rosenpass.server import CryptoServer
from wgpy.actions import ClearKeypairs, Flush, InstallKeypair, SendHandshake, SessionStands
from wgpy.daemon import options_from
from wgpy.dispatch import boot_time, wall_time
from wgpy.errors import RemoteError
from wgpy.model import Endpoint, PeerNumber, PrivateKey, PskKind, PublicKey, SocketAddress
from wgpy.psk_exchange import PskExchange
from wgpy.timers import IDLE, Activity
from wgpy.tunnel import Tunnel

HUB = PeerNumber(0)
ROSENPASS_PORT = 51821
TICK_S = 0.25
TIMERS = options_from(os.environ).rosenpass_timers()


class Indices:
    """Random ones; a stranger's message to another's index opens nothing."""

    def reserve(self, peer: PeerNumber) -> int:
        return int.from_bytes(os.urandom(4), "little")

    def release(self, index: int) -> None:
        pass


@dataclass
class Keypair:
    session: Session
    kind: PskKind
    birthdate: int
    is_confirmed: bool


@dataclass
class Hub:
    """What every peer knows of it."""

    address: tuple[str, int]
    inside: str
    public_key: PublicKey
    spk: bytes


@dataclass
class LightPeer:
    hub: Hub
    inside: str
    tunnel: Tunnel
    server: CryptoServer
    exchange: PskExchange
    socket: socket.socket
    keypairs: dict[int, Keypair] = field(default_factory=dict)  # by local index
    current: Keypair | None = None

    @classmethod
    def of(cls, hub: Hub, private_key: bytes, pair: Path, inside: str) -> "LightPeer":
        tunnel = Tunnel(Indices(), os.urandom)
        tunnel.set_private_key(PrivateKey(private_key), boot_time())
        spk = load_public_key(pair / "pqpk")
        identity = StaticIdentity(spk, StaticSecretKey(load_secret_key(pair / "pqsk")))
        server = CryptoServer(identity, os.urandom, Kems.real(os.urandom), TIMERS)
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        out.connect(hub.address)
        out.setblocking(False)
        peer = cls(hub, inside, tunnel, server, PskExchange(tunnel), out)
        tunnel.add_peer(HUB, hub.public_key)
        tunnel.set_endpoint_known(HUB)
        tunnel.set_rosenpass(HUB, enabled=True, permissive=False)
        goes_first = spk > hub.spk
        initiative = Initiative.AT_ONCE if goes_first else Initiative.WHEN_OVERDUE
        config = PeerConfig(hub.spk, reachable=True, initiative=initiative)
        peer.exchange.join(server.add_peer(config, boot_time()), HUB, goes_first=goes_first)
        return peer

    def start(self) -> None:
        self.tunnel.device_up(boot_time(), wall_time(), {})
        self.settle()

    def activity(self) -> Activity:
        if self.current is None:
            return IDLE
        return Activity(current_birthdate=self.current.birthdate, is_sendable=True)

    def tick(self) -> None:
        now = boot_time()
        self.tunnel.due_by(now)
        self.tunnel.tick(now, wall_time(), {HUB: self.activity()})
        deadline = self.server.next_deadline()
        if deadline is not None and deadline <= now:
            self.server.tick(now)
        self.settle()

    def receive(self) -> None:
        try:
            datagram = self.socket.recv(65535)
        except OSError:
            return
        if datagram[:4] == bytes((DATA, 0, 0, 0)):
            self._receive_data(datagram)
        else:
            source = Endpoint(SocketAddress(IPv4Address(self.hub.address[0]), self.hub.address[1]))
            try:
                self.tunnel.receive(datagram, source, boot_time(), wall_time())
            except RemoteError:
                return
        self.settle()

    def _receive_data(self, datagram: bytes) -> None:
        index = int.from_bytes(datagram[4:8], "little")
        keypair = self.keypairs.get(index)
        if keypair is None:
            return
        inner = keypair.session.open(datagram)
        if not keypair.is_confirmed:
            keypair.is_confirmed, self.current = True, keypair
            self.tunnel.session_confirmed(HUB, index, boot_time(), wall_time())
        if inner:
            self._receive_inner(inner[: int.from_bytes(inner[2:4], "big")])

    def _receive_inner(self, inner: bytes) -> None:
        source_port, port = (int.from_bytes(inner[at : at + 2], "big") for at in (20, 22))
        if port == ROSENPASS_PORT:
            source = Address(IPv4Address(self.hub.inside), ROSENPASS_PORT)
            self.server.receive(inner[28:], source, boot_time())
        else:
            self._seal(udp(self.inside, self.hub.inside, (port, source_port), inner[28:]))

    def settle(self) -> None:
        """Do what both cores ask for until neither has anything left."""
        while True:
            for peer in self.exchange.take_wanted(boot_time()):
                self.server.initiate(peer, boot_time())
            actions = [*self.tunnel.take_actions(), *self.server.take_actions()]
            if not actions:
                return
            for action in actions:
                self._perform(action)

    def _perform(self, action: Any) -> None:
        match action:
            case SendHandshake():
                self._send(action.message)
            case InstallKeypair():
                self._install(action)
            case Flush(keepalive=True):
                self._seal(b"")
            case SessionStands():
                self.exchange.session_stands(HUB, action.psk_kind, boot_time())
            case ClearKeypairs():
                self.keypairs.clear()
                self.current = None
            case SendMessage():
                ports = (ROSENPASS_PORT, ROSENPASS_PORT)
                self._seal(udp(self.inside, self.hub.inside, ports, action.datagram))
            case _ if hasattr(action, "osk") or type(action).__name__.startswith("Key"):
                self.exchange.take(action, boot_time(), wall_time())

    def _install(self, action: InstallKeypair) -> None:
        session = Session(bytes(action.send_key), bytes(action.receive_key), action.remote_index)
        keypair = Keypair(session, action.psk_kind, action.birthdate, action.is_initiator)
        self.keypairs[action.local_index] = keypair
        while len(self.keypairs) > 4:
            del self.keypairs[next(iter(self.keypairs))]
        if action.is_initiator:
            self.current = keypair

    def _seal(self, inner: bytes) -> None:
        if self.current is not None:
            padded = inner + bytes(-len(inner) % 16)
            self._send(self.current.session.seal(padded))

    def _send(self, datagram: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.send(datagram)


def main() -> None:
    story = json.loads(Path(sys.argv[1]).read_text())
    public_key = PublicKey(base64.b64decode(story["public_key"]))
    address = (str(story["hub"][0]), int(story["hub"][1]))
    hub = Hub(address, story["inside"], public_key, load_public_key(Path(story["rosenpass"])))
    peers = [
        LightPeer.of(hub, base64.b64decode(one["private_key"]), Path(one["pair"]), one["inside"])
        for one in story["peers"]
    ]
    selector = selectors.DefaultSelector()
    for peer in peers:
        selector.register(peer.socket, selectors.EVENT_READ, peer)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    ticked = time.monotonic()
    while True:
        for key, _ in selector.select(TICK_S):
            if key.data is None:
                obey(sys.stdin.readline().strip(), peers)
            else:
                key.data.receive()
        if time.monotonic() - ticked >= TICK_S:
            ticked = time.monotonic()
            for peer in peers:
                peer.tick()


def obey(line: str, peers: list[LightPeer]) -> None:
    match line:
        case "go":
            for peer in peers:
                peer.start()
        case "snapshot":
            # The child lives on; this process, as it is, waits until it is wanted again.
            if child := os.fork():
                os.waitpid(child, 0)
                line = "restore"
        case "restore":
            os._exit(0)
        case "":
            sys.exit()
    print(line, flush=True)


if __name__ == "__main__":
    main()
