"""What the status may truly say of a peer's quantum resistance: a fact about the session in use.

Knows no wording of the page around it. "In use" is the keypair that carries user packets now, else the one
control packets would take.
"""

from dataclasses import dataclass
from enum import StrEnum

from wgpy.constants import Timings
from wgpy.model import SECOND, Instant, Policy, PskKind
from wgpy.timers import Activity


class Resistance(StrEnum):
    """The answer."""

    YES = "yes"
    PENDING = "pending"
    NO = "no"


@dataclass(frozen=True, slots=True)
class QuantumState:
    """The answer with its reason; times in whole seconds, None where there is no such thing.

    since: for how long it has not been "yes", None while it is.
    """

    state: Resistance
    reason: str
    key_age_s: int | None = None
    next_s: int | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a peer besides its packets.

    started: when the peer was added or last seen post-quantum, for the patience below.
    handshakes_fail: the peer speaks, but no session comes of it.
    was_met: there has been a post-quantum session with the peer, so its key is the right one.
    renewal: when the next exchange is expected at the latest, None before the first.
    """

    policy: Policy
    has_rosenpass: bool
    has_endpoint: bool
    has_output: bool
    started: Instant
    handshakes_fail: bool = False
    was_met: bool = False
    renewal: Instant | None = None


# Strict towards a peer that does not answer: the reason is named within this time.
PATIENCE = 20 * SECOND


def quantum_state(standing: Standing, activity: Activity, now: Instant, timings: Timings) -> QuantumState:
    """Judge the session that carries the peer's user packets now."""
    live = activity.user_birthdate and now - activity.user_birthdate < timings.reject_after_time
    age = max(0, now - activity.user_psk_birthdate)
    outlived = standing.policy is Policy.STRICT and age >= timings.pq_key_max_age
    if live and activity.user_psk_kind is PskKind.PQ and not outlived:
        following = max(0, standing.renewal - now) // SECOND if standing.renewal is not None else None
        return QuantumState(Resistance.YES, "", age // SECOND, following)
    waited = max(0, now - standing.started) // SECOND
    state, reason = _why_not(standing, activity, now, timings)
    return QuantumState(state, reason, since=waited)


def _why_not(
    standing: Standing, activity: Activity, now: Instant, timings: Timings
) -> tuple[Resistance, str]:
    impatient = now - standing.started >= PATIENCE
    if standing.policy is Policy.OFF:
        return Resistance.NO, "Rosenpass is off for this peer"
    if not standing.has_rosenpass:
        return Resistance.NO, "no Rosenpass key of this peer is configured"
    if not activity.has_session(now, timings):
        if standing.has_output or not impatient:
            return Resistance.PENDING, "waiting for a handshake"
        if standing.handshakes_fail:
            return Resistance.NO, "handshakes come to no session; is Rosenpass off at the peer?"
        if not standing.has_endpoint:
            return Resistance.NO, "the peer has not called yet and has no endpoint"
        return Resistance.NO, "the peer does not answer handshakes"
    if standing.has_output:
        return Resistance.PENDING, "the key is agreed, the next handshake will use it"
    if not impatient:
        return Resistance.PENDING, "the Rosenpass exchange is under way"
    hint = "" if standing.was_met else "; compare the fingerprints of both ends"
    return Resistance.NO, f"the peer does not answer the Rosenpass exchange{hint}"
