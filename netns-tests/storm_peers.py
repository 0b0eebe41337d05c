"""Many plain peers of one hub in one process: the real core and real messages, and no data plane.

    storm_peers.py STORY.json

STORY: {"hub": [address, port], "public_key": base64, "port": first local port, "private_keys": [base64, ..]}.
Each peer has its own UDP socket. A line "call" on stdin makes all initiate at once; the hub's initiations
are answered at any time. Each line on stdout is the number of peers with a session made since the last "call"
or "count anew" line; a session counts when the peer may use it. Ends when stdin does.
"""

import base64
import json
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from handmade import DATA, Session

from wgpy.actions import InstallKeypair, SendHandshake
from wgpy.dispatch import boot_time, wall_time
from wgpy.errors import RemoteError
from wgpy.model import Endpoint, PeerNumber, PrivateKey, PublicKey, SocketAddress
from wgpy.noise_native import NativeNoise
from wgpy.timers import IDLE
from wgpy.tunnel import Tunnel

HUB = PeerNumber(0)
TICK_S = 0.25
NOISE = NativeNoise()


class Indices:
    def reserve(self, peer: PeerNumber) -> int:
        return int.from_bytes(os.urandom(4), "little")

    def release(self, index: int) -> None:
        pass


class StormPeer:
    def __init__(self, hub: tuple[str, int], public_key: PublicKey, private_key: bytes, port: int) -> None:
        self.hub = hub
        self.tunnel = Tunnel(Indices(), os.urandom, arithmetic=NOISE)
        self.tunnel.set_private_key(PrivateKey(private_key), boot_time())
        self.tunnel.add_peer(HUB, public_key)
        self.tunnel.set_endpoint_known(HUB)
        self.tunnel.device_up(boot_time(), wall_time(), {})
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("", port))
        self.socket.connect(hub)
        self.socket.setblocking(False)
        self.sessions: dict[int, Session] = {}  # by local index
        self.has_session = False

    def call(self) -> None:
        """As if its last handshake were long ago."""
        self.tunnel.device_down()
        self.tunnel.device_up(boot_time(), wall_time(), {})
        self.tunnel.want_session(HUB, boot_time(), wall_time(), IDLE)
        self.perform()

    def tick(self) -> None:
        now = boot_time()
        if self.tunnel.due_by(now):
            self.tunnel.tick(now, wall_time(), {HUB: IDLE})
            self.perform()

    def receive(self) -> None:
        try:
            datagram = self.socket.recv(65535)
        except OSError:
            return
        if datagram[0] == DATA:
            index = int.from_bytes(datagram[4:8], "little")
            if index in self.sessions:
                self.sessions[index].open(datagram)
                self.has_session = True
            return
        source = Endpoint(SocketAddress(IPv4Address(self.hub[0]), self.hub[1]))
        try:
            self.tunnel.receive(datagram, source, boot_time(), wall_time())
        except RemoteError:
            return
        self.perform()

    def perform(self) -> None:
        for action in self.tunnel.take_actions():
            match action:
                case SendHandshake():
                    self.send(action.message)
                case InstallKeypair():
                    session = Session(bytes(action.send_key), bytes(action.receive_key), action.remote_index)
                    self.sessions = {action.local_index: session}
                    if action.is_initiator:
                        self.has_session = True
                        self.send(session.seal(b""))

    def send(self, datagram: bytes) -> None:
        with suppress(OSError):  # the hub is not there yet
            self.socket.send(datagram)


def main() -> None:
    story = json.loads(Path(sys.argv[1]).read_text())
    hub = (str(story["hub"][0]), int(story["hub"][1]))
    public_key = PublicKey(base64.b64decode(story["public_key"]))
    peers = [
        StormPeer(hub, public_key, base64.b64decode(key), story["port"] + number)
        for number, key in enumerate(story["private_keys"])
    ]
    selector = selectors.DefaultSelector()
    for peer in peers:
        selector.register(peer.socket, selectors.EVENT_READ, peer)
    os.set_blocking(0, False)
    selector.register(0, selectors.EVENT_READ, None)
    print("ready", flush=True)
    shown, ticked = -1, time.monotonic()
    while True:
        for key, _ in selector.select(TICK_S):
            if key.data is not None:
                key.data.receive()
                continue
            if not (told := os.read(0, 4096)):
                return
            for peer in peers:
                peer.has_session = False
            if told == b"call\n":
                for peer in peers:
                    peer.call()
        if time.monotonic() - ticked >= TICK_S:
            ticked = time.monotonic()
            for peer in peers:
                peer.tick()
        if (count := sum(peer.has_session for peer in peers)) != shown:
            shown = count
            print(f"{time.monotonic():.3f} {count}", flush=True)


if __name__ == "__main__":
    main()
