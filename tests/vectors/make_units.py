"""Makes tests/vectors/units/*.json, the project's own vectors for the C units: make_units.py.

Every expectation comes from a second opinion that shares no code with tun/csrc: hashlib for BLAKE2s,
pyca/cryptography for ChaCha20-Poly1305, ipaddress for prefixes, sets and plain arithmetic for windows,
buckets and checksums. Numbers are drawn from a seeded generator: running it again changes nothing.
"""

import hashlib
import ipaddress
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

OUT = Path(__file__).parent / "units"
WINDOW = 8128
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
Json = dict[str, Any]


def replay(draw: random.Random) -> Json:
    """A walk with steps back, jumps and repetitions, judged by a set."""
    seen: set[int] = set()
    sequence: list[tuple[str, bool]] = []
    at = 0
    for _ in range(1500):
        how = draw.random()
        if how < 0.5:
            at += draw.randrange(1, 4)
        elif how < 0.55:
            at += draw.randrange(WINDOW * 3)
        elif how < 0.56:
            at += draw.randrange(2**40)
        back = draw.choice([0, draw.randrange(200), draw.randrange(WINDOW - 70, WINDOW + 70), 64, WINDOW])
        counter = max(0, at - back)
        newest = max(seen, default=-1)
        fresh = counter not in seen and (counter > newest or newest - counter <= WINDOW)
        if fresh:
            seen.add(counter)
        sequence.append((str(counter), fresh))
    sequence += [(str(REJECT_AFTER_MESSAGES), False), (str(REJECT_AFTER_MESSAGES - 1), True)]
    bulk = [{"accept_range_first_last_step": [0, 9000, 1], "then": [["871", False], ["9001", True]]}]
    return {"window": WINDOW, "sequence": sequence, "bulk": bulk}


def ratelimiter(draw: random.Random) -> Json:
    """Waits of milliseconds, judged by tokens counted in fractions of 50 ms."""
    addresses = [str(ipaddress.IPv4Address(draw.randbytes(4))) for _ in range(5)]
    addresses += [str(ipaddress.IPv6Address(draw.randbytes(16))) for _ in range(5)]
    budget, steps = 250, []
    for _ in range(80):
        wait = draw.choice([0, 0, 0, 10, 20, 49, 51, 200])
        budget = min(250, budget + wait)
        allowed = budget >= 50
        budget -= 50 if allowed else 0
        steps.append({"wait_ms": wait, "allowed": allowed})
    return {"addresses": addresses, "steps": steps}


def random_net(draw: random.Random) -> str:
    """Few distinct bits, so that prefixes nest."""
    if draw.random() < 0.5:
        bits = draw.randrange(33)
        return (
            f"{ipaddress.IPv4Address(draw.choice([10, 172, 192]) << 24 | draw.getrandbits(3) << 20)}/{bits}"
        )
    bits = draw.randrange(129)
    return f"{ipaddress.IPv6Address(0x20010DB8 << 96 | draw.getrandbits(3) << 70)}/{bits}"


def allowedips(draw: random.Random) -> Json:
    """Many nested prefixes, judged by looking at every one of them."""
    inserts = [(random_net(draw), draw.choice("abcdefgh")) for _ in range(150)]
    owners = {ipaddress.ip_network(net, strict=False): peer for net, peer in inserts}
    lookups = []
    for _ in range(300):
        address = ipaddress.ip_interface(random_net(draw)).ip
        if draw.random() < 0.5:
            address = type(address)(int(address) ^ 1 << draw.randrange(address.max_prefixlen))
        matching = [net for net in owners if net.version == address.version and address in net]
        best = max(matching, key=lambda net: net.prefixlen, default=None)
        lookups.append((str(address), owners[best] if best is not None else None))
    listing = ["10.1.2.3/8", "2001:db8::1/33", "0.0.0.0/0", "::/0", "10.1.2.3/32", "10.128.0.0/9"]
    return {
        "insert": inserts,
        "lookup": lookups,
        "remove_peer": {
            "insert": [["10.0.0.0/8", "a"], ["10.0.0.0/9", "b"], ["10.0.0.0/10", "a"], ["::/0", "a"]],
            "remove": "a",
            "must_not_be_a": ["10.0.0.1", "10.200.0.1", "fe80::1"],
        },
        "remove_peer_2": {
            "insert": [["10.0.0.0/9", "a"], ["10.128.0.0/9", "a"]],
            "remove": "a",
            "must_not_be_a": ["10.0.0.1", "10.128.0.1"],
        },
        "listing": {
            "insert": listing,
            "expect_set": [str(ipaddress.ip_network(net, strict=False)) for net in listing],
        },
    }


def chacha20poly1305(draw: random.Random) -> Json:
    """Lengths around block boundaries and the largest packets; damaged ones must not open."""
    encrypt, decrypt = [], []
    for length in [
        *range(18),
        31,
        32,
        33,
        63,
        64,
        65,
        127,
        128,
        129,
        255,
        256,
        511,
        512,
        1024,
        1408,
        1420,
        1500,
    ]:
        key, counter, plaintext = draw.randbytes(32), draw.getrandbits(64), draw.randbytes(length)
        sealed = ChaCha20Poly1305(key).encrypt(bytes(4) + struct.pack("<Q", counter), plaintext, b"")
        vector = {"key": key.hex(), "nonce": struct.pack("<Q", counter).hex(), "aad": ""}
        encrypt.append(vector | {"plaintext": plaintext.hex(), "ciphertext_tag": sealed.hex()})
        at = draw.randrange(len(sealed))
        damaged = sealed[:at] + bytes([sealed[at] ^ 1 << draw.randrange(8)]) + sealed[at + 1 :]
        decrypt.append(vector | {"ciphertext_tag": damaged.hex(), "plaintext": "", "valid": False})
    return {"encrypt": encrypt, "decrypt": decrypt}


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 by its definition (draft-irtf-cfrg-xchacha section 2.2)."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            state[z] ^= state[x]
            state[z] = (state[z] << bits | state[z] >> 32 - bits) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def xaead(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """XChaCha20-Poly1305."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plaintext, ad)


def xchacha20poly1305(draw: random.Random) -> Json:
    """With and without associated data."""
    vectors, blocks = [], []
    for length in (0, 1, 16, 64, 100):
        key, nonce, plaintext = draw.randbytes(32), draw.randbytes(24), draw.randbytes(length)
        ad = draw.randbytes(length // 2)
        vector = {"key": key.hex(), "nonce": nonce.hex(), "aad": ad.hex(), "plaintext": plaintext.hex()}
        sealed = xaead(key, nonce, plaintext, ad)
        vectors.append(vector | {"ciphertext_tag": sealed.hex(), "valid": True})
        wrong = sealed[:-1] + bytes([sealed[-1] ^ 0x80])
        vectors.append(vector | {"ciphertext_tag": wrong.hex(), "valid": False})
        blocks.append({"key": key.hex(), "nonce": nonce[:16].hex(), "out": hchacha20(key, nonce[:16]).hex()})
    return {"vectors": vectors, "hchacha20": blocks}


def mac(key: bytes, message: bytes) -> bytes:
    """BLAKE2s in its keyed mode, 16 bytes."""
    return hashlib.blake2s(message, key=key, digest_size=16).digest()


def handshake_generated(draw: random.Random) -> Json:
    """Only what the responder's cheap checks need: MACs and the cookie reply over random messages."""
    responder, initiator, secret = draw.randbytes(32), draw.randbytes(32), draw.randbytes(32)
    nonce, address, port = draw.randbytes(24), ipaddress.IPv6Address("2001:db8::7"), 51999
    covered = struct.pack("<I", 1) + draw.randbytes(112)
    mac1 = mac(hashlib.blake2s(b"mac1----" + responder).digest(), covered)
    cookie = mac(secret, address.packed + struct.pack(">H", port))
    sealed = xaead(hashlib.blake2s(b"cookie--" + responder).digest(), nonce, cookie, mac1)
    response = struct.pack("<I", 2) + draw.randbytes(56)
    response += mac(hashlib.blake2s(b"mac1----" + initiator).digest(), response) + bytes(16)
    return {
        "responder_static_public": responder.hex(),
        "initiator_static_public": initiator.hex(),
        "initiation": (covered + mac1 + bytes(16)).hex(),
        "response": response.hex(),
        "cookie": {
            "secret": secret.hex(),
            "source_ip": str(address),
            "source_port": port,
            "nonce": nonce.hex(),
            "cookie_reply": (struct.pack("<I", 3) + covered[4:8] + nonce + sealed).hex(),
            "initiation_with_mac2": (covered + mac1 + mac(cookie, covered + mac1)).hex(),
        },
    }


def udp_batch(draw: random.Random) -> Json:
    """Rows of datagrams, judged by the three rules read aloud."""
    coalesce = []
    for _ in range(30):
        lengths = [draw.choice([100, 100, 100, 60, 120]) for _ in range(draw.randrange(1, 12))]
        room, results, sizes = 700, [], []
        messages: list[list[int]] = []
        for length in lengths:
            last = messages[-1] if messages else []
            joins = bool(last) and last[-1] == last[0] and length <= last[0] and sum(last) + length <= room
            messages.append([length]) if not joins else last.append(length)
        results = [sum(message) for message in messages]
        sizes = [message[0] if len(message) > 1 else 0 for message in messages]
        coalesce.append({"len_cap": [[n, room] for n in lengths], "result_lens": results, "gso": sizes})
    split = [
        {"first_at": 0, "slots_n_gso": [[1000, 300]], "lens": [300, 300, 300, 100], "error": False},
        {"first_at": 0, "slots_n_gso": [[900, 300], [5, 0]], "lens": [300, 300, 300, 5], "error": False},
        {"first_at": 0, "slots_n_gso": [[901, 300], [5, 0]], "lens": [300, 300, 300, 1], "error": True},
    ]
    return {"coalesce": coalesce, "split": split}


def ones_complement(data: bytes) -> int:
    """RFC 1071's sum, folded, not complemented."""
    words = struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


SOURCE4, DESTINATION4 = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
SOURCE6 = ipaddress.IPv6Address("2001:db8::1").packed
DESTINATION6 = ipaddress.IPv6Address("2001:db8::2").packed


def ip_packet(
    version: int, protocol: int, l4: bytes, checksum_at: int, ident: int, *, ttl: int = 64
) -> bytes:
    """An IP packet around a TCP or UDP one whose checksum field is zero."""
    addresses = SOURCE4 + DESTINATION4 if version == 4 else SOURCE6 + DESTINATION6
    pseudo = addresses + struct.pack(">IxxxB", len(l4), protocol)
    checksum = 0xFFFF ^ ones_complement(pseudo + l4)
    l4 = l4[:checksum_at] + struct.pack(">H", checksum) + l4[checksum_at + 2 :]
    if version == 6:
        return struct.pack(">IHBB", 0x60000000, len(l4), protocol, ttl) + addresses + l4
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(l4), ident, 0x4000, ttl, protocol)
    header_sum = 0xFFFF ^ ones_complement(start + bytes(2) + addresses)
    return start + struct.pack(">H", header_sum) + addresses + l4


def tcp(
    version: int, sequence: int, payload: bytes, *, flags: int = 0x10, ident: int = 1, ttl: int = 64
) -> bytes:
    """A TCP segment with a timestamp option."""
    options = bytes([1, 1, 8, 10]) + bytes(8)
    header = struct.pack(">HHIIBBHHH", 4000, 443, sequence & 0xFFFFFFFF, 99, 8 << 4, flags, 500, 0, 0)
    return ip_packet(version, 6, header + options + payload, 16, ident, ttl=ttl)


def udp(version: int, payload: bytes, *, ident: int = 1, port: int = 4000) -> bytes:
    """A UDP datagram."""
    return ip_packet(version, 17, struct.pack(">HHHH", port, 443, 8 + len(payload), 0) + payload, 6, ident)


def read_case(version: int, is_tcp: bool, gso_size: int, payload: bytes) -> Json:
    """A super-packet and the packets it stands for."""
    l4_at, parts = 20 if version == 4 else 40, range(0, len(payload), gso_size)
    whole = tcp(version, 2**32 - 50, payload, flags=0x19) if is_tcp else udp(version, payload)
    segments = []
    for number, start in enumerate(parts):
        piece, last = payload[start : start + gso_size], start == parts[-1]
        flags = 0x19 if last else 0x10
        segments.append(
            tcp(version, 2**32 - 50 + start, piece, flags=flags, ident=1 + number)
            if is_tcp
            else udp(version, piece, ident=1 + number)
        )
    kind = (1 if version == 4 else 4) if is_tcp else 5
    vnet = struct.pack("<BBHHHH", 1, kind, 0, gso_size, l4_at, 16 if is_tcp else 6)
    return {
        "virtio_net_hdr_le": vnet.hex(),
        "packet": whole.hex(),
        "segments": [segment.hex() for segment in segments],
    }


def gro_case(udp_gro: bool, packets: list[bytes], writes: list[tuple[int, int]]) -> Json:
    """Packets, and which of them head a write of which length."""
    return {
        "udp_gro": udp_gro,
        "packets": [packet.hex() for packet in packets],
        "write_indices": [index for index, _ in writes],
        "write_ip_lengths": [length for _, length in writes],
    }


def tun_offload(draw: random.Random) -> Json:
    """Splitting exactly, merging by the rules."""
    read = [
        read_case(version, is_tcp, size, draw.randbytes(length))
        for version in (4, 6)
        for is_tcp in (True, False)
        for size, length in ((100, 1000), (100, 1001), (1, 9), (333, 334), (1368, 1368))
    ]
    a, b, c = draw.randbytes(100), draw.randbytes(100), draw.randbytes(50)
    gro = [
        gro_case(True, [tcp(4, 0, a), tcp(4, 100, b), tcp(4, 200, c), tcp(4, 250, a)], [(0, 302), (3, 152)]),
        gro_case(True, [tcp(6, 0, a), tcp(6, 100, c), tcp(6, 150, c)], [(0, 222), (2, 122)]),
        gro_case(True, [tcp(4, 100, b), tcp(4, 0, a), tcp(4, 200, c)], [(0, 302)]),
        gro_case(True, [tcp(4, 0, a, flags=0x18), tcp(4, 100, b)], [(0, 152), (1, 152)]),
        gro_case(True, [tcp(4, 0, a), tcp(4, 101, b)], [(0, 152), (1, 152)]),
        gro_case(True, [tcp(4, 0, a), tcp(4, 100, b, ttl=63)], [(0, 152), (1, 152)]),
        gro_case(True, [tcp(4, 0, a, flags=0x11), tcp(4, 100, b)], [(0, 152), (1, 152)]),
        gro_case(True, [udp(4, a), udp(4, b), udp(4, c), udp(4, c)], [(0, 278), (3, 78)]),
        gro_case(True, [udp(4, a), udp(4, b, port=1), udp(4, b)], [(0, 228), (1, 128)]),
        gro_case(False, [udp(6, a), udp(6, b)], [(0, 148), (1, 148)]),
        gro_case(True, [tcp(4, 2**32 - 60, a), tcp(4, 40, b)], [(0, 252)]),
    ]
    candidate = [
        {"udp_gro": True, "packet": tcp(4, 0, b"").hex(), "type": None},
        {"udp_gro": True, "packet": udp(6, b"").hex(), "type": None},
        {"udp_gro": True, "packet": tcp(6, 0, b"x").hex(), "type": "tcp6"},
    ]
    return {"read": read, "gro": gro, "candidate": candidate, "udp_can_coalesce": []}


MAKERS: list[Callable[[random.Random], Json]] = [
    allowedips,
    chacha20poly1305,
    handshake_generated,
    ratelimiter,
    replay,
    tun_offload,
    udp_batch,
    xchacha20poly1305,
]


def main() -> None:
    """Writes one file for each maker, from a seed of its own."""
    OUT.mkdir(exist_ok=True)
    for make in MAKERS:
        vectors = make(random.Random(make.__name__))
        (OUT / f"{make.__name__}.json").write_text(json.dumps(vectors, indent=0) + "\n")


if __name__ == "__main__":
    main()
