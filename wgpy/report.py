"""What the device tells about itself beyond `wg show`, as JSON values. Pure; no secret enters."""

import base64
from collections.abc import Iterable

from wgpy.constants import Timings
from wgpy.model import SECOND, Instant, Policy, PskKind
from wgpy.peer import Peer
from wgpy.quantum import Standing, quantum_state
from wgpy.timers import Activity

_POLICIES = {policy: policy.name.lower() for policy in Policy}
# DP_FEATURE_* of dataplane.h, lowest bit first.
_FEATURES = ("tso", "uso", "udp_gso", "udp_gro", "tun_coalesce", "ecn", "icmp")


def base64_text(key: bytes) -> str:
    """A key as `wg` prints it."""
    return base64.b64encode(key).decode()


def feature_names(features: int) -> list[str]:
    """The features in use."""
    return [name for bit, name in enumerate(_FEATURES) if features >> bit & 1]


COUNTERS = (
    *("rx_bytes", "tx_bytes", "staged", "tx_gated"),
    *("rx_gated", "rx_dropped", "rx_replayed", "tx_dropped"),
)


def peer_report(
    peer: Peer,
    addresses: tuple[str, tuple[str, ...]],
    activity: Activity,
    counts: Iterable[int],
    policy: Policy,
    added: Instant,
    renewal: Instant | None,
    now: Instant,
    timings: Timings,
) -> dict[str, object]:
    """One peer; `addresses` as DataPlane.peer_text, `counts` are its record's COUNTERS."""
    endpoint, allowed_ips = addresses
    standing = Standing(
        policy,
        peer.has_rosenpass,
        peer.has_endpoint,
        peer.ring.has_output,
        _since(peer, policy, added, now, timings),
        handshakes_fail=peer.handshakes_fail,
        was_met=peer.last_pq_session is not None,
        renewal=renewal,
    )
    quantum = quantum_state(standing, activity, now, timings)
    return {
        "public_key": base64_text(peer.public_key),
        "endpoint": endpoint or None,
        "allowed_ips": allowed_ips,
        "last_handshake": peer.last_handshake // SECOND,
        "keepalive": peer.timers.persistent_keepalive // SECOND,
        "policy": _POLICIES[policy],
        "quantum": {
            "state": quantum.state,
            "reason": quantum.reason,
            "key_age_s": quantum.key_age_s,
            "next_s": quantum.next_s,
            "since": quantum.since,
        },
        "session": session_report(activity, now, timings),
        **dict(zip(COUNTERS, counts, strict=True)),
    }


def _since(peer: Peer, policy: Policy, added: Instant, now: Instant, timings: Timings) -> Instant:
    """When the peer last had a post-quantum session that the gate admits, else when it was added."""
    if peer.last_pq_session is None:
        return added
    ended = peer.last_pq_session + timings.reject_after_time
    if policy is Policy.STRICT and peer.last_pq_birthdate is not None:
        ended = min(ended, peer.last_pq_birthdate + timings.pq_key_max_age)
    return max(added, Instant(min(now, ended)))


def session_report(activity: Activity, now: Instant, timings: Timings) -> dict[str, object] | None:
    """The session in use; None without a live one."""
    if not activity.has_session(now, timings):
        return None
    return {
        "age_s": max(0, now - activity.current_birthdate) // SECOND,
        "psk_kind": psk_name(activity.current_psk_kind),
        "initiator": activity.is_initiator,
    }


def psk_name(kind: PskKind) -> str:
    """As product.md names the kinds."""
    return {PskKind.CONFIGURED: "psk"}.get(kind, kind.name.lower())
