"""What a device answers to who asks for its state, in pieces: between two of them the event loop may turn.

Ten thousand peers take a few tenths of a second to write down. Who asks sees each peer at one moment, but not
all at the same. Edge; the texts' shapes are in wgpy.uapi and wgpy.report.
"""

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tun.dataplane import DataPlane
from wgpy import report, watch
from wgpy.dispatch import boot_time
from wgpy.model import SECOND, DeviceState, Instant, PeerNumber, ShownPeer
from wgpy.peer import Peer
from wgpy.post_quantum import PostQuantum
from wgpy.tunnel import Tunnel
from wgpy.uapi import format_device, format_errno, format_peers

AT_ONCE: Final = 256  # peers; some 5 ms


class Replies:
    """Reads a device.

    Args:
        dataplane, tunnel, post_quantum: its parts.
        added: when each peer was added.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        tunnel: Tunnel,
        post_quantum: PostQuantum,
        added: Mapping[PeerNumber, Instant],
    ) -> None:
        self._dataplane = dataplane
        self._tunnel = tunnel
        self._post_quantum = post_quantum
        self._added = added

    def get(self, head: DeviceState) -> Iterator[bytes]:
        """The reply to get=1; of `head` all but the peers counts."""
        yield format_device(head)
        for peers in self._some():
            with _collector_waits():
                piece = format_peers(self.shown(peers))
            yield piece
        yield format_errno(0)

    def status(self, head: Mapping[str, object]) -> Iterator[bytes]:
        """The reply to wgpy=1: a JSON object of `head` and the peers."""
        yield f'status={_json(head)[:-1]},"peers":['.encode()
        comma = ""
        for peers in self._some():
            with _collector_waits():
                piece = comma + _json(list(self.reports(peers)))[1:-1]
            yield piece.encode()
            comma = ","
        yield b"]}\n" + format_errno(0)

    def shown(self, peers: list[Peer]) -> Iterator[ShownPeer]:
        """These peers, which must still be there, as `wg` shows them."""
        rows = self._dataplane.records[[peer.number for peer in peers]]
        counts = zip(rows["tx_bytes"].tolist(), rows["rx_bytes"].tolist(), strict=True)
        for peer, (sent, received) in zip(peers, counts, strict=True):
            endpoint, allowed_ips = self._dataplane.peer_text(peer.number)
            yield ShownPeer(
                peer.public_key,
                peer.ring.configured,
                endpoint,
                peer.last_handshake,
                sent,
                received,
                peer.timers.persistent_keepalive // SECOND,
                allowed_ips,
            )

    def reports(self, peers: list[Peer]) -> Iterator[dict[str, object]]:
        """The same with all that is ours."""
        now, timings = boot_time(), self._tunnel.timings
        rows = self._dataplane.records[[peer.number for peer in peers]]
        counts = zip(*(rows[name].tolist() for name in report.COUNTERS), strict=True)
        for peer, activity, counted in zip(peers, watch.activities(rows), counts, strict=True):
            policy, added = self._post_quantum.policy_of(peer.number), self._added[peer.number]
            renewal = self._post_quantum.renewal_of(peer.number)
            addresses = self._dataplane.peer_text(peer.number)
            found = report.peer_report(
                peer, addresses, activity, counted, policy, added, renewal, now, timings
            )
            found["fingerprint"] = self._post_quantum.fingerprint_of(peer.public_key)
            yield found

    def _some(self) -> Iterator[list[Peer]]:
        """All peers, a few at a time; who is removed meanwhile is left out."""
        everybody = self._tunnel.peers()
        for first in range(0, len(everybody), AT_ONCE):
            some = everybody[first : first + AT_ONCE]
            if still := [peer for peer in some if self._tunnel.find_peer(peer.public_key) is peer]:
                yield still


@contextmanager
def _collector_waits() -> Iterator[None]:
    """Nothing made here is circular, and a turn of the collector over all peers costs as much as a piece."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _json(values: Mapping[str, object] | list[dict[str, object]]) -> str:
    return json.dumps(values, separators=(",", ":"))
