"""A peer made by hand: says exactly what a test wants said, also what no honest peer would.

Its own small Noise_IKpsk2 (initiator only), written from the paper and sharing nothing with wgpy, so that a
misunderstanding there is not repeated here. It sends and receives single datagrams over a socket of its own.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
import time
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from lab import LabError, Namespace
from wgpeer import Keys

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.blake2s).digest()


def _kdf(chaining: bytes, data: bytes, outputs: int) -> list[bytes]:
    secret, last, out = _hmac(chaining, data), b"", []
    for number in range(1, outputs + 1):
        last = _hmac(secret, last + bytes((number,)))
        out.append(last)
    return out


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


def mac1_key(public: bytes) -> bytes:
    return _hash(b"mac1----", public)


def with_macs(message: bytes, key: bytes) -> bytes:
    """Append a valid mac1 and an empty mac2."""
    return message + _mac(key, message) + bytes(16)


def junk_initiation(responder_public: bytes, sender_index: int) -> bytes:
    """148 bytes that pass mac1 and nothing after it: what a flooder sends."""
    body = struct.pack("<II", INITIATION, sender_index) + os.urandom(108)
    return with_macs(body, mac1_key(responder_public))


@dataclass
class Session:
    """Transport keys of one handshake."""

    send_key: bytes
    receive_key: bytes
    remote_index: int
    counter: int = 0

    def seal(self, plaintext: bytes, counter: int | None = None) -> bytes:
        """A transport data message; the next counter unless one is given. No padding is added."""
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        header = struct.pack("<IIQ", DATA, self.remote_index, counter)
        return header + ChaCha20Poly1305(self.send_key).encrypt(_nonce(counter), plaintext, b"")

    def open(self, datagram: bytes) -> bytes:
        counter = int.from_bytes(datagram[8:16], "little")
        return ChaCha20Poly1305(self.receive_key).decrypt(_nonce(counter), datagram[16:], b"")


@dataclass
class HandmadePeer:
    """One end by hand, at (address, port) of `host`, talking to `remote` of the given public key."""

    host: Namespace
    remote: tuple[str, int]
    remote_public: str
    address: str
    port: int = 0
    keys: Keys = field(default_factory=Keys.generate)
    preshared: bytes = bytes(32)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.socket = self.host.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((self.address, self.port))
        self.socket.settimeout(5)
        self._static = X25519PrivateKey.from_private_bytes(base64.b64decode(self.keys.private))
        self._remote = base64.b64decode(self.remote_public)

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.remote)

    def receive(self, kind: int, within: float = 5) -> bytes:
        """The next datagram of this message type."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                datagram = self.socket.recv(65535)
            except TimeoutError:
                break
            if datagram[0] == kind:
                return datagram
        raise LabError(f"no message of type {kind} within {within} s")

    def receive_inner(self, session: Session, within: float = 5) -> bytes:
        """The plaintext of the next data message that is no keepalive."""
        while True:
            try:
                if plaintext := session.open(self.receive(DATA, within)):
                    return plaintext
            except InvalidTag:  # of an older session
                continue

    def initiation(self, wall: float | None = None) -> "PendingInitiation":
        """A correct initiation, stamped now or with the given Unix time."""
        return PendingInitiation(self, time.time() if wall is None else wall)

    def shake_hands(self, within: float = 5) -> Session:
        """A whole handshake and the keepalive that confirms it."""
        pending = self.initiation()
        self.send(pending.message)
        session = pending.consume(self.receive(RESPONSE, within))
        self.send(session.seal(b""))
        return session

    def close(self) -> None:
        self.socket.close()


class PendingInitiation:
    """State between the two messages."""

    def __init__(self, peer: HandmadePeer, wall: float) -> None:
        self._peer = peer
        self._ephemeral = X25519PrivateKey.generate()
        self.index = int.from_bytes(os.urandom(4), "little")
        public = self._ephemeral.public_key().public_bytes_raw()
        static_public = base64.b64decode(peer.keys.public)
        chaining = _hash(CONSTRUCTION)
        digest = _hash(_hash(chaining, IDENTIFIER), peer._remote)
        digest = _hash(digest, public)
        (chaining,) = _kdf(chaining, public, 1)
        remote = X25519PublicKey.from_public_bytes(peer._remote)
        chaining, key = _kdf(chaining, self._ephemeral.exchange(remote), 2)
        static_field = ChaCha20Poly1305(key).encrypt(_nonce(0), static_public, digest)
        digest = _hash(digest, static_field)
        chaining, key = _kdf(chaining, peer._static.exchange(remote), 2)
        stamp = struct.pack(">QI", 0x400000000000000A + int(wall), int(wall % 1 * 1e9))
        stamp_field = ChaCha20Poly1305(key).encrypt(_nonce(0), stamp, digest)
        self._chaining, self._digest = chaining, _hash(digest, stamp_field)
        body = struct.pack("<II", INITIATION, self.index) + public + static_field + stamp_field
        self.message = with_macs(body, mac1_key(peer._remote))

    def consume(self, response: bytes) -> Session:
        """The session; InvalidTag if the response does not open."""
        sender, receiver = struct.unpack_from("<II", response, 4)
        assert receiver == self.index
        public, empty_field = response[12:44], response[44:60]
        digest = _hash(self._digest, public)
        (chaining,) = _kdf(self._chaining, public, 1)
        remote_ephemeral = X25519PublicKey.from_public_bytes(public)
        (chaining,) = _kdf(chaining, self._ephemeral.exchange(remote_ephemeral), 1)
        (chaining,) = _kdf(chaining, self._peer._static.exchange(remote_ephemeral), 1)
        chaining, tau, key = _kdf(chaining, self._peer.preshared, 3)
        digest = _hash(digest, tau)
        ChaCha20Poly1305(key).decrypt(_nonce(0), empty_field, digest)
        send_key, receive_key = _kdf(chaining, b"", 2)
        return Session(send_key, receive_key, sender)


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, payload: bytes, protocol: int = 17, length: int | None = None) -> bytes:
    """An IPv4 packet with a right header checksum; `length` lies about the total length."""
    total = 20 + len(payload) if length is None else length
    header = struct.pack(">BBHHHBBH", 0x45, 0, total, 1, 0x4000, 64, protocol, 0)
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    return header[:10] + struct.pack(">H", checksum(header + addresses)) + addresses + payload


def ipv6(source: str, target: str, payload: bytes, protocol: int = 17, length: int | None = None) -> bytes:
    """An IPv6 packet; `length` lies about the payload length."""
    header = struct.pack(">IHBB", 6 << 28, len(payload) if length is None else length, protocol, 64)
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return header + addresses + payload


def udp(source: str, target: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """An IP packet, of the addresses' version, with a UDP datagram and its checksum."""
    family, build = (socket.AF_INET6, ipv6) if ":" in source else (socket.AF_INET, ipv4)
    header = struct.pack(">HHHH", *ports, 8 + len(payload), 0)
    pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    pseudo += struct.pack(">II", 8 + len(payload), 17)
    sum_ = checksum(pseudo + header + payload) or 0xFFFF
    return build(source, target, header[:6] + struct.pack(">H", sum_) + payload)
