"""`wgpy status --prometheus`: the status as metrics, for instance for a textfile collector."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from wgpy.cli.status import InterfaceStatus
from wgpy.model import SECOND
from wgpy.wg_format import key_text

_PEER = ("interface", "public_key")
_COUNTERS = (
    ("staged_dropped", "tx_dropped", "Packets that were never sent."),
    ("gate_held", "tx_gated", "Packets held back for want of a post-quantum session."),
    ("gate_refused", "rx_gated", "Packets refused on arrival for want of a post-quantum session."),
    ("receive_dropped", "rx_dropped", "Received packets that were dropped."),
    ("receive_replayed", "rx_replayed", "Received packets that had been seen before."),
)


class _Status:
    """A registry's collector over one reading."""

    def __init__(self, found: list[InterfaceStatus]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """Every metric family."""
        peers = [
            ((status.interface.name, key_text(peer.state.public_key)), peer)
            for status in self._found
            for peer in status.peers
        ]
        received = CounterMetricFamily("wireguard_received_bytes", "Bytes received.", labels=_PEER)
        sent = CounterMetricFamily("wireguard_sent_bytes", "Bytes sent.", labels=_PEER)
        handshake = GaugeMetricFamily(
            "wireguard_latest_handshake_seconds",
            "Unix time of the latest handshake, 0 = never.",
            labels=_PEER,
        )
        resistant = GaugeMetricFamily(
            "wgpy_quantum_resistant", "1 where the session in use is post-quantum.", labels=(*_PEER, "policy")
        )
        age = GaugeMetricFamily("wgpy_quantum_key_age_seconds", "Age of the session's key.", labels=_PEER)
        for labels, peer in peers:
            received.add_metric(labels, peer.state.rx_bytes)
            sent.add_metric(labels, peer.state.tx_bytes)
            handshake.add_metric(labels, peer.state.last_handshake // SECOND)
            if peer.extra:
                policy = str(peer.extra.get("policy"))
                resistant.add_metric((*labels, policy), peer.quantum.get("state") == "yes")
            if isinstance(peer.quantum.get("key_age_s"), int | float):
                age.add_metric(labels, peer.quantum["key_age_s"])
        yield from (received, sent, handshake, resistant, age)
        for name, key, words in _COUNTERS:
            counter = CounterMetricFamily(f"wgpy_{name}_packets", words, labels=_PEER)
            for labels, peer in peers:
                if key in peer.extra:
                    counter.add_metric(labels, peer.extra[key])
            yield counter
        yield self._drops()

    def _drops(self) -> Metric:
        drops = CounterMetricFamily(
            "wgpy_dropped_packets", "Packets dropped, by reason.", labels=("interface", "reason")
        )
        for status in self._found:
            counts = (status.extra or {}).get("drops")
            for reason, count in counts.items() if isinstance(counts, dict) else ():
                drops.add_metric((status.interface.name, str(reason)), count)
        return drops


def exposition(found: list[InterfaceStatus]) -> str:
    """Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Status(found))
    return generate_latest(registry).decode()
