"""Opens a capture with the key logs of both ends: what was in each transport datagram, and under which key.

Knows the wire of the paper and the lines of wgpy.key_log; nothing of the code that sealed the packets.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from capture import Packet
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

DATA = 4
HEADER_LEN = 16
ROSENPASS_PORT = 51821
UDP = 17
KEEPALIVE, CONTROL, USER = "keepalive", "control", "user"


@dataclass(frozen=True)
class Keypair:
    """One line of a key log."""

    end: int  # whose log
    local: int
    remote: int
    receive: bytes
    kind: str


@dataclass(frozen=True)
class Opened:
    """One transport datagram."""

    to: int  # the end that it was for
    kind: str  # of the preshared key
    what: str
    time: float


def read_key_logs(paths: Sequence[Path]) -> list[Keypair]:
    found = []
    for end, path in enumerate(paths):
        for line in path.read_text().splitlines():
            _, local, remote, _, receive, kind = line.split()
            found.append(Keypair(end, int(local, 16), int(remote, 16), bytes.fromhex(receive), kind))
    return found


def open_all(packets: Iterable[Packet], keypairs: Sequence[Keypair]) -> tuple[list[Opened], int]:
    """Every transport datagram opened, and how many could not be."""
    by_index: dict[int, list[Keypair]] = {}
    for keypair in keypairs:
        by_index.setdefault(keypair.local, []).append(keypair)
    found, sealed = [], 0
    for packet in packets:
        message = packet.udp_payload
        if message[:4] != bytes((DATA, 0, 0, 0)):
            continue
        candidates = by_index.get(int.from_bytes(message[4:8], "little"), [])
        opened = next(filter(None, (_open(packet, keypair) for keypair in candidates)), None)
        if opened is None:
            sealed += 1
        else:
            found.append(opened)
    return found, sealed


def _open(packet: Packet, keypair: Keypair) -> Opened | None:
    message = packet.udp_payload
    nonce = bytes(4) + message[8:16]
    try:
        inner = ChaCha20Poly1305(keypair.receive).decrypt(nonce, message[HEADER_LEN:], None)
    except InvalidTag:
        return None
    return Opened(keypair.end, keypair.kind, what_is(inner), packet.time)


def what_is(inner: bytes) -> str:
    """Whether these bytes are the user's."""
    if not inner:
        return KEEPALIVE
    is_4 = inner[0] >> 4 == 4
    header = (inner[0] & 15) * 4 if is_4 else 40
    if (inner[9] if is_4 else inner[6]) != UDP:
        return USER
    ports = {int.from_bytes(inner[header + at : header + at + 2], "big") for at in (0, 2)}
    return CONTROL if ports == {ROSENPASS_PORT} else USER


def tally(opened: Iterable[Opened]) -> Counter[tuple[int, str, str]]:
    """How many by receiver, kind of the preshared key, and content."""
    return Counter((one.to, one.kind, one.what) for one in opened)
