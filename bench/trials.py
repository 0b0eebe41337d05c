"""One measurement each, through a tunnel that stands: iperf3 and ping inside two namespaces.

Each trial returns named figures. Which implementation carries the tunnel is not known here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from lab import Namespace, wait_until
from tunnel import Tunnel

GIGA = 1e9
LOSS_LIMIT = 1.0  # percent
CONTROL_PORT = 5201


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds per iperf3 run, and steps and seconds of the search for a UDP rate."""

    seconds: int = 10
    search_steps: int = 6
    search_seconds: int = 2
    pings: int = 20_000
    memory_seconds: int = 60


QUICK = Effort(seconds=2, search_steps=3, search_seconds=1, pings=5_000, memory_seconds=2)

Figures = dict[str, float]
Trial = Callable[[Tunnel, Effort], Figures]


def iperf3(client: Namespace, server: Namespace, target: str, seconds: int, *arguments: str) -> dict:
    """The "end" part of iperf3's JSON, from the client."""
    listener = server.spawn("iperf3", "-s", "-1", "-B", target)
    listening = ("ss", "-Hlnt", f"sport = :{CONTROL_PORT}")
    wait_until(lambda: server.run(*listening).strip(), 5, "iperf3 to listen")
    argv = ("iperf3", "-J", "-c", target, "-t", str(seconds), *arguments)
    said = json.loads(client.run(*argv, timeout=seconds + 30))
    if "error" in said:
        raise RuntimeError(f"iperf3: {said['error']}")
    listener.wait(10)
    return said["end"]


def tcp(*arguments: str) -> Trial:
    def trial(tunnel: Tunnel, effort: Effort) -> Figures:
        before = _cpu(tunnel)
        end = iperf3(tunnel.h1, tunnel.h2, tunnel.other.address4, effort.seconds, *arguments)
        sender, receiver = (after - then for after, then in zip(_cpu(tunnel), before, strict=True))
        streams = [end["sum_received"]]
        if "sum_received_bidir_reverse" in end:
            streams.append(end["sum_received_bidir_reverse"])
        gigabytes = sum(stream["bytes"] for stream in streams) / GIGA
        return {
            "Gbit/s": sum(stream["bits_per_second"] for stream in streams) / GIGA,
            "CPU s/GB": (sender + receiver) / gigabytes,
            "CPU s/GB, sending end": sender / gigabytes,
            "CPU s/GB, receiving end": receiver / gigabytes,
            "retransmits": float(end["sum_sent"].get("retransmits", 0)),
        }

    return trial


def without_udp_segmentation(
    trial: Trial,
) -> Trial:
    """The same over a path that carries no UDP super-packets, as real network cards do not: cut by the kernel
    behind the sender, merged again by GRO before the receiver."""

    def changed(tunnel: Tunnel, effort: Effort) -> Figures:
        for host in (tunnel.h1, tunnel.h2):
            host.run("ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "gro", "on")
        return trial(tunnel, effort)

    return changed


def udp(length: int) -> Trial:
    """Packets per second: delivered when shouted at, and the highest rate that loses less than 1 %."""

    def run(tunnel: Tunnel, seconds: int, rate: float) -> tuple[float, float, float]:
        bits = str(int(rate * length * 8))
        arguments = ("-u", "-l", str(length), "-b", bits)
        total = iperf3(tunnel.h1, tunnel.h2, tunnel.other.address4, seconds, *arguments)["sum"]
        sent = total["packets"] / total["seconds"]
        return sent, sent * (1 - total["lost_percent"] / 100), total["lost_percent"]

    def trial(tunnel: Tunnel, effort: Effort) -> Figures:
        sent, overload, lost = run(tunnel, effort.search_seconds + 1, 0)
        clean = overload if lost < LOSS_LIMIT else 0.0
        low, high = 0.0, sent
        for step in range(0 if clean else effort.search_steps):
            rate = (low + high) / 2 if step else min(overload, high * 0.9)
            sent, delivered, lost = run(tunnel, effort.search_seconds, rate)
            if lost < LOSS_LIMIT:
                clean, low = max(clean, delivered), rate
            else:
                high = rate
        return {"packets/s below 1 % loss": clean, "packets/s delivered in overload": overload}

    return trial


def flood_ping(tunnel: Tunnel, effort: Effort) -> Figures:
    """Mean round trip of one packet after the other, as fast as answers come."""
    said = tunnel.h1.run("ping", "-q", "-f", "-c", effort.pings, tunnel.other.address4, timeout=120)
    least, mean, most = said.rsplit(" = ", 1)[1].split("/")[:3]
    return {"mean us": float(mean) * 1000, "least us": float(least) * 1000, "most us": float(most) * 1000}


def memory(tunnel: Tunnel, effort: Effort) -> Figures:
    """Resident memory of one end after a minute of traffic."""
    iperf3(tunnel.h1, tunnel.h2, tunnel.other.address4, effort.memory_seconds, "-P", "4")
    assert tunnel.subject.process is not None
    return {"MiB": tunnel.subject.process.resident_bytes() / 2**20}


def _cpu(tunnel: Tunnel) -> tuple[float, float]:
    ends = (tunnel.subject.process, tunnel.other.process)
    sender, receiver = (end.cpu_seconds() for end in ends if end is not None)
    return sender, receiver


TRIALS: dict[str, Trial] = {
    "TCP, one stream": tcp(),
    "TCP, four streams": tcp("-P", "4"),
    "TCP, both ways": tcp("--bidir"),
    "TCP, no UDP segmentation": without_udp_segmentation(tcp()),
    "UDP, 64 bytes": udp(64),
    "UDP, 1392 bytes": udp(1392),
    "flood ping": flood_ping,
    "resident memory": memory,
}
