"""Sends and receives a gigabyte whose every byte is known; run inside a namespace as a program.

    stream.py send    tcp|udp ADDRESS PORT BYTES
    stream.py receive tcp|udp ADDRESS PORT BYTES     prints one JSON line: bytes, seconds, what went wrong

UDP: each datagram is [sequence 8][crc32 4][payload]; the receiver reports how far it has come and the sender
keeps at most WINDOW datagrams ahead of that, so the rate follows the slower side and nothing is lost for want
of room. Datagrams leave 20 at a time with UDP_SEGMENT, so that the tunnel sees super-packets (USO).
"""

import hashlib
import json
import random
import socket
import sys
import time
import zlib

CHUNK = 256 << 10

HEADER_LEN = 12
DATAGRAM_LEN = 1360  # with UDP and IPv6 headers 1408, inside an MTU of 1420
BATCH = 20
WINDOW = 80  # no more than a default socket buffer of 208 KiB holds
REPORT_EVERY = 20
UDP_SEGMENT = 103
PATTERN = random.Random(4711).randbytes(CHUNK + 65536)


def chunk(number: int) -> bytes:
    """The bytes of one TCP chunk: a different cut of the pattern each time."""
    return PATTERN[number % 65536 : number % 65536 + CHUNK]


def datagram(sequence: int) -> bytes:
    start = sequence * 61 % CHUNK
    body = sequence.to_bytes(8, "big") + PATTERN[start : start + DATAGRAM_LEN - HEADER_LEN]
    return body[:8] + zlib.crc32(body).to_bytes(4, "big") + body[8:]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def send_tcp(address: str, port: int, size: int) -> dict[str, object]:
    digest = hashlib.sha256()
    with connect_when_ready(address, port) as out:
        for number in range(size // CHUNK):
            out.sendall(chunk(number))
            digest.update(chunk(number))
        out.shutdown(socket.SHUT_WR)
        out.recv(1)  # the other side has all
    return {"sha256": digest.hexdigest()}


def connect_when_ready(address: str, port: int) -> socket.socket:
    deadline = time.monotonic() + 15
    while True:
        try:
            return socket.create_connection((address, port), timeout=60)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def receive_tcp(address: str, port: int, size: int) -> dict[str, object]:
    digest, received = hashlib.sha256(), 0
    with socket.create_server((address, port), family=family_of(address)) as server:
        server.settimeout(30)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(60)
            buffer = memoryview(bytearray(CHUNK))
            start = time.monotonic()
            while length := connection.recv_into(buffer):
                digest.update(buffer[:length])
                received += length
            seconds = time.monotonic() - start
    return {"bytes": received, "seconds": seconds, "sha256": digest.hexdigest()}


def send_udp(address: str, port: int, size: int) -> dict[str, object]:
    total, reported, stalls = size // DATAGRAM_LEN, 0, 0
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_UDP, UDP_SEGMENT, DATAGRAM_LEN)
        out.connect((address, port))
        out.settimeout(0.2)
        sequence, resumed = 0, 0
        while sequence < total:
            while sequence - max(reported, resumed) < WINDOW and sequence < total:
                last = min(sequence + BATCH, total)
                try:
                    out.send(b"".join(map(datagram, range(sequence, last))))
                except ConnectionRefusedError:  # the receiver is not there yet
                    time.sleep(0.05)
                    continue
                sequence = last
            try:
                reported = max(reported, int.from_bytes(out.recv(8), "big"))
            except TimeoutError:  # a report or a window's end was lost
                resumed, stalls = sequence, stalls + 1
            except ConnectionRefusedError:
                time.sleep(0.05)
        return {"sent": total, "stalls": stalls}


def receive_udp(address: str, port: int, size: int) -> dict[str, object]:
    total = size // DATAGRAM_LEN
    seen = bytearray(total)
    received = duplicated = corrupt = reordered = 0
    highest = -1
    start = time.monotonic()
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as inlet:
        inlet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        inlet.bind((address, port))
        inlet.settimeout(30)
        while highest < total - 1:
            try:
                data, source = inlet.recvfrom(65535)
            except TimeoutError:
                break
            inlet.settimeout(3)
            sequence = int.from_bytes(data[:8], "big")
            if len(data) != DATAGRAM_LEN or sequence >= total or data != datagram(sequence):
                corrupt += 1
                continue
            duplicated += seen[sequence]
            seen[sequence] = 1
            received += 1
            reordered += sequence < highest
            highest = max(highest, sequence)
            if received % REPORT_EVERY == 0:
                inlet.sendto((highest + 1).to_bytes(8, "big"), source)
    return {
        "bytes": received * DATAGRAM_LEN,
        "seconds": time.monotonic() - start,
        "lost": total - (received - duplicated),
        "duplicated": duplicated,
        "reordered": reordered,
        "corrupt": corrupt,
    }


def main() -> None:
    role, protocol, address, port, size = sys.argv[1:]
    act = {"send": {"tcp": send_tcp, "udp": send_udp}, "receive": {"tcp": receive_tcp, "udp": receive_udp}}
    print(json.dumps(act[role][protocol](address, int(port), int(size))), flush=True)


if __name__ == "__main__":
    main()
