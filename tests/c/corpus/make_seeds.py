"""Makes the seeds the fuzzers start from, out of tests/vectors/units: make_seeds.py.

What a fuzzer finds beyond them stays in tests/c/build; an input that once failed is added here by hand.
"""

import json
import random
import struct
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UNITS = HERE.parents[1] / "vectors" / "units"
Json = dict[str, Any]


def vectors(name: str) -> Json:
    """One of the project's own vector files."""
    loaded: Json = json.loads((UNITS / f"{name}.json").read_text())
    return loaded


def split() -> list[bytes]:
    """vnet flag, MTU, capacity, frame."""
    start = struct.pack("<BHB", 1, 1420, 0)
    cases = vectors("tun_offload")["read"]
    return [
        start + bytes.fromhex(case["virtio_net_hdr_le"] + case["packet"])
        for case in cases
        if len(case["packet"]) < 1000
    ]


def inner() -> list[bytes]:
    """Outer DS byte, packet."""
    packets = {packet for case in vectors("tun_offload")["gro"] for packet in case["packets"]}
    return [b"\x03" + bytes.fromhex(packet) for packet in sorted(packets)[:8]]


def handshake() -> list[bytes]:
    """Family, port, address, GRO size, datagrams."""
    found = vectors("handshake_generated")
    start = struct.pack("<BH16s", 1, 51820, bytes(16))
    messages = [bytes.fromhex(found[name]) for name in ("initiation", "response")]
    messages.append(bytes.fromhex(found["cookie"]["cookie_reply"]))
    single = [start + bytes(2) + message for message in messages]
    return [*single, start + struct.pack("<H", 148) + messages[0] * 3 + messages[1]]


def noise(name: str, length: int) -> list[bytes]:
    """For fuzzers that read their input as a row of choices."""
    draw = random.Random(name)
    return [draw.randbytes(length) for _ in range(4)]


def coalesce() -> list[bytes]:
    """Features, then choice and size for each packet: rows that merge."""
    rows = [bytes([3]) + bytes([choice, 100]) * 40 for choice in (2, 3, 0, 1, 10, 18)]
    return [*rows, *noise("coalesce", 200)]


def main() -> None:
    """One directory for each fuzzer."""
    seeds = {
        "allowedips": noise("allowedips", 400),
        "coalesce": coalesce(),
        "counter": noise("counter", 400),
        "handshake": handshake(),
        "inner": inner(),
        "split": split(),
    }
    for name, inputs in seeds.items():
        (HERE / name).mkdir(exist_ok=True)
        for number, data in enumerate(inputs):
            (HERE / name / f"seed-{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
