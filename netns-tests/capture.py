"""What really went over the wire: tcpdump in a namespace, read back as timestamps and IP packets."""

import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import Namespace, wait_until

ETHERNET_HEADER_LEN = 14
LINKTYPE_ETHERNET = 1


@dataclass(frozen=True)
class Packet:
    """One captured IP packet."""

    time: float  # seconds since the epoch
    data: bytes  # from the IP header on

    @property
    def header_len(self) -> int:
        return (self.data[0] & 15) * 4 if self.data[0] >> 4 == 4 else 40

    @property
    def tos(self) -> int:
        """IPv4 type of service or IPv6 traffic class, DSCP and ECN."""
        return self.data[1] if self.data[0] >> 4 == 4 else int.from_bytes(self.data[:2], "big") >> 4 & 255

    @property
    def udp_payload(self) -> bytes:
        return self.data[self.header_len + 8 :]


class Capture:
    """Captures while the context is open; `packets` may be read at any time, also afterwards.

    `direction` is tcpdump's -Q: "in", "out" or "inout". (The filter words inbound and outbound lose the first
    packet on a TUN.) `snapshot` is the longest packet there is, 0 for 262144 bytes: the buffer has that room
    for each, so that many small ones want a small figure.
    """

    def __init__(
        self,
        host: Namespace,
        interface: str,
        expression: str = "",
        direction: str = "inout",
        snapshot: int = 0,
    ) -> None:
        self._snapshot = snapshot
        self._host, self._interface, self._expression = host, interface, expression
        self._direction = direction

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="wgpy-capture-")
        self._file = Path(self._directory.name) / "capture.pcap"
        self._file.parent.chmod(0o777)  # tcpdump opens it as another user; Ubuntu's dies of `-Z root`
        options = [
            "--immediate-mode",
            "-U",
            "-n",
            "-s",
            str(self._snapshot),
            "-B",
            "16384",
            "-Q",
            self._direction,
            "-w",
            str(self._file),
        ]
        self._tcpdump = self._host.spawn(
            "tcpdump", *options, "-i", self._interface, *self._expression.split()
        )
        wait_until(
            lambda: "listening on" in self._tcpdump.output(), 10, lambda: self._tcpdump.output() or "tcpdump"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tcpdump.stop()
        self._raw = self._file.read_bytes()
        self._directory.cleanup()

    def missed(self) -> int:
        """Packets that found no room, known when the context has closed."""
        found = re.search(r"(\d+) packets? dropped by kernel", self._tcpdump.output())
        assert found, self._tcpdump.output()
        return int(found[1])

    def packets(self) -> list[Packet]:
        raw = self._file.read_bytes() if self._file.exists() else self._raw
        if len(raw) < 24:
            return []
        (link,) = struct.unpack_from("<I", raw, 20)
        skip = ETHERNET_HEADER_LEN if link == LINKTYPE_ETHERNET else 0
        found, at = [], 24
        while at + 16 <= len(raw):
            seconds, micros, length, _ = struct.unpack_from("<IIII", raw, at)
            if at + 16 + length > len(raw):
                break
            found.append(Packet(seconds + micros / 1e6, raw[at + 16 + skip : at + 16 + length]))
            at += 16 + length
        return found

    def messages(self, kind: int) -> list[Packet]:
        """The packets whose UDP payload is a WireGuard message of this type."""
        return [p for p in self.packets() if p.udp_payload[:4] == bytes((kind, 0, 0, 0))]
