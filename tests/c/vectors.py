"""Turns the JSON vectors into lines of words for the C tests: vectors.py OUT_DIRECTORY.

Writes OUT/own/NAME.txt from tests/vectors/units and OUT/shared/NAME.txt from $WGPY_VECTORS (or
../shared/vectors beside the project) where that exists. Byte strings are hex, the empty one is "-"; lists are
joined with commas.
"""

import ipaddress
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]


def joined(values: Iterable[object]) -> str:
    """Values as one word."""
    return ",".join(str(value) for value in values) or "-"


def packed(text: str) -> str:
    """An IP address as hex."""
    return ipaddress.ip_address(text).packed.hex()


def prefix(text: str) -> str:
    """A prefix, host bits and all, as two words."""
    address, bits = text.split("/")
    return f"{packed(address)} {bits}"


def replay(vectors: Json) -> Iterator[str]:
    """Counters for one window after another."""
    yield "reset"
    for counter, accepted in vectors["sequence"]:
        yield f"step {counter} {int(accepted)}"
    for group in vectors["bulk"]:
        yield "reset"
        yield "range " + " ".join(map(str, group["accept_range_first_last_step"]))
        for counter, accepted in group["then"]:
            yield f"step {counter} {int(accepted)}"


def ratelimiter(vectors: Json) -> Iterator[str]:
    """Addresses, all of which go through all steps."""
    yield "reset"
    for address in vectors["addresses"]:
        yield f"address {packed(address)}"
    for step in vectors["steps"]:
        yield f"step {step['wait_ms']} {int(step['allowed'])}"


class Peers:
    """Numbers for the vectors' peer names, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


def allowedips(vectors: Json) -> Iterator[str]:
    """Inserts, look-ups, removals and listings."""
    peers = Peers()
    yield "reset"
    for net, peer in vectors["insert"]:
        yield f"insert {peers[peer]} {prefix(net)}"
    for address, peer in vectors["lookup"]:
        yield f"lookup {peers[peer] if peer else 0xFFFFFFFF} {packed(address)}"
    for case in (vectors["remove_peer"], vectors["remove_peer_2"]):
        yield "reset"
        for net, peer in case["insert"]:
            yield f"insert {peers[peer]} {prefix(net)}"
        yield f"remove_peer {peers[case['remove']]}"
        for address in case["must_not_be_a"]:
            yield f"not {peers[case['remove']]} {packed(address)}"
    yield "reset"
    for net in vectors["listing"]["insert"]:
        yield f"insert 0 {prefix(net)}"
    masked = (str(ipaddress.ip_network(net, strict=False)) for net in vectors["listing"]["insert"])
    listed = list(masked)
    assert sorted(listed) == sorted(vectors["listing"]["expect_set"])
    yield "list 0 " + " ".join(prefix(net) for net in listed)


def aead_line(verb: str, vector: Json) -> str:
    """Key, nonce, associated data, plaintext, ciphertext with tag, valid."""
    fields = [vector[name] or "-" for name in ("key", "nonce", "aad")]
    plaintext = vector.get("plaintext") or "-"
    return " ".join([verb, *fields, plaintext, vector["ciphertext_tag"], str(int(vector.get("valid", True)))])


def chacha20poly1305(vectors: Json) -> Iterator[str]:
    """What to seal (and open), and what only to open."""
    yield from (aead_line("seal", vector) for vector in vectors["encrypt"])
    yield from (aead_line("open", vector) for vector in vectors["decrypt"])


def xchacha20poly1305(vectors: Json) -> Iterator[str]:
    """XChaCha20-Poly1305 and HChaCha20."""
    yield from (aead_line("xchacha", vector) for vector in vectors["vectors"])
    for vector in vectors["hchacha20"]:
        yield f"hchacha20 {vector['key']} {vector['nonce']} {vector['out']}"


def udp_batch(vectors: Json) -> Iterator[str]:
    """Datagrams into GSO messages, and GRO messages into slots."""
    for case in vectors["coalesce"]:
        lengths, capacities = zip(*case["len_cap"], strict=True)
        yield " ".join(["coalesce", *map(joined, (lengths, capacities, case["result_lens"], case["gso"]))])
    for case in vectors["split"]:
        received = case["slots_n_gso"][case["first_at"] :]
        lengths, sizes = zip(*(message for message in received if message[0]), strict=True)
        slots = str(len(case["lens"]))
        yield " ".join(
            ["split", slots, joined(lengths), joined(sizes), joined(case["lens"]), str(int(case["error"]))]
        )


def tun_offload(vectors: Json) -> Iterator[str]:
    """Merging, splitting, candidates."""
    for case in vectors["gro"]:
        udp = int(case["udp_gro"])
        yield f"gro {udp} {joined(case['write_indices'])} {joined(case['write_ip_lengths'])} " + " ".join(
            case["packets"]
        )
    for case in vectors["read"]:
        yield f"read {case['virtio_net_hdr_le']} {case['packet']} " + " ".join(case["segments"])
    for case in vectors["candidate"]:
        yield f"candidate {int(case['udp_gro'])} {case['packet']} {case['type'] or '-'}"
    for case in vectors["udp_can_coalesce"]:
        held = len(case["held_ip_packet"]) // 2 - 28
        size = case["held_gso_size"]
        pieces = [size] * (held // size) + ([held % size] if held % size else [])
        header = case["held_ip_packet"][:56]
        yield f"udp_join {header} {joined(pieces)} {case['new_payload']} {int(case['append'])}"


def handshake_generated(vectors: Json) -> Iterator[str]:
    """The responder's cookie."""
    cookie = vectors["cookie"]
    words = [vectors["responder_static_public"], cookie["secret"], packed(cookie["source_ip"])]
    words += [str(cookie["source_port"]), cookie["nonce"], vectors["initiation"], cookie["cookie_reply"]]
    yield " ".join(["cookie", *words, cookie["initiation_with_mac2"]])
    yield f"mac1 {vectors['initiator_static_public']} {vectors['response']}"


FORMATS = {
    "allowedips": allowedips,
    "chacha20poly1305": chacha20poly1305,
    "handshake_generated": handshake_generated,
    "ratelimiter": ratelimiter,
    "replay": replay,
    "tun_offload": tun_offload,
    "udp_batch": udp_batch,
    "xchacha20poly1305": xchacha20poly1305,
}


def convert(source: Path, out: Path) -> None:
    """All vectors of one directory that have a format here."""
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in FORMATS.items():
        path = source / f"{name}.json"
        if path.exists():
            text = "".join(f"{line}\n" for line in lines(json.loads(path.read_text())))
            (out / f"{name}.txt").write_text(text)


def main() -> None:
    """Own vectors always, the shared ones where they are."""
    out = Path(sys.argv[1])
    convert(ROOT / "tests" / "vectors" / "units", out / "own")
    shared = Path(os.environ.get("WGPY_VECTORS", ROOT.parent / "shared" / "vectors"))
    convert(shared / "wireguard", out / "shared")


if __name__ == "__main__":
    main()
