"""When something is due: comparisons of stamps with now, for one peer. No timer objects, no clock.

The data plane keeps the stamps of packets (`Activity`), `TimerState` those of handshakes. `due` names what
has come due, the most urgent first; wgpy.tunnel does it. Equivalent to the five timers of the paper's
implementations, evaluated on stamps:

    | rule                 | due                                                                            |
    |----------------------|--------------------------------------------------------------------------------|
    | initiate             | a handshake wanted at once, 25 ms after our last initiation                    |
    | resend               | 5 s + jitter after an initiation without a completed handshake; 19 times.      |
    |                      | Hurried, after 0.5, 1, 2 and 4 s, and again                                    |
    | passive keepalive    | 10 s after the first data received that nothing sent has answered              |
    | new handshake        | 15 s + jitter after the first data sent that nothing received has answered;    |
    |                      | 12 s towards a hybrid peer, whose keepalive was due after 10                   |
    | zero keys            | 540 s after the last derived session, or after giving up                       |
    | persistent keepalive | the interval after the last authenticated packet in either direction           |
    | rekey                | initiator: data or keepalive sent on a key of 120 s or more                    |
    | last-minute rekey    | initiator: something received on a key of 165 s or more, once                  |
    | session wanted       | packets are staged and no session may send                                     |

Differences saturate: a stamp a worker took after our `now` counts as now.

Paper: WireGuard §6.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from wgpy.constants import NEVER, Timings
from wgpy.model import Instant, PskKind


class Due(Enum):
    """What a peer needs now."""

    ZERO_KEYS = auto()
    INITIATE = auto()
    GIVE_UP = auto()
    RESEND = auto()
    NEW_HANDSHAKE = auto()
    REKEY = auto()
    LAST_MINUTE_REKEY = auto()
    SESSION_WANTED = auto()
    KEEPALIVE = auto()


class Activity(NamedTuple):
    """One peer's record of the data plane. Stamps are Instants, 0 = never; fields as in dp_record.

    A tuple: a status of ten thousand peers makes as many, and a frozen dataclass takes four times as long.
    """

    last_tx_auth: int = 0
    last_tx_data: int = 0
    tx_unanswered: int = 0
    last_rx_auth: int = 0
    last_rx_data: int = 0
    rx_unanswered: int = 0
    current_birthdate: int = 0
    current_index: int = 0
    is_initiator: bool = False
    is_sendable: bool = False
    wants_rekey: bool = False  # REKEY_AFTER_MESSAGES passed
    current_psk_kind: PskKind = PskKind.NONE
    user_birthdate: int = 0
    user_psk_kind: PskKind = PskKind.NONE
    user_psk_birthdate: int = 0
    staged: int = 0

    def has_session(self, now: Instant, timings: Timings) -> bool:
        """Whether a keypair may send now."""
        return (
            self.current_birthdate != 0
            and self.is_sendable
            and now - self.current_birthdate < timings.reject_after_time
        )


IDLE = Activity()


# After so many in some twenty seconds a peer that does not answer, and that nobody wants, is asked every 5 s.
_HURRIED_ATTEMPTS: Final = 12
# Of the hurried waits, each twice the one before, the last is 4 s: a resend makes the answer to the message
# before worthless, so on a way that takes seconds one of them has to let it arrive.
_HURRIED_WAITS: Final = 4


@dataclass(slots=True)
class TimerState:
    """The handshake's stamps of one peer; None = not armed."""

    persistent_keepalive: int = 0  # ns, 0 = off
    jitter: int = 0  # drawn anew with every initiation
    last_handshake_sent: Instant | None = None  # initiation or response
    resend_at: Instant | None = None
    initiate_at: Instant | None = None  # sooner the peer would refuse it, and it would be lost for seconds
    attempts: int = 0  # resends; from 0 again while somebody wants the session
    unanswered: int = 0  # initiations since the last completed handshake
    initiated: Instant = NEVER
    round_trip: int = 0  # of the last initiation that was answered, ns
    last_minute_sent: bool = False
    zero_keys_at: Instant | None = None
    gave_up: Instant | None = None  # since the last completed handshake
    keepalive_sent: Instant = NEVER
    is_hybrid: bool = False  # the peer has a Rosenpass key; configuration, so `reset` leaves it

    @property
    def in_handshake(self) -> bool:
        """An initiation is out, or about to be sent again."""
        return self.resend_at is not None

    def initiation_sent(
        self, now: Instant, jitter: int, timings: Timings, *, is_hurried: bool = False
    ) -> None:
        """Arms resend."""
        self.jitter = jitter
        self.last_handshake_sent = now
        self.initiated = now
        self.unanswered += 1
        self.resend_at = Instant(now + self._resend_delay(timings, is_hurried) + jitter)

    def _resend_delay(self, timings: Timings, is_hurried: bool) -> int:
        if not is_hurried or self.attempts >= _HURRIED_ATTEMPTS:
            return timings.rekey_timeout
        waited = max(0, self.unanswered - 1) % _HURRIED_WAITS
        least = 3 * self.round_trip // 2
        return min(max(timings.hurried_timeout << waited, least), timings.rekey_timeout)

    def response_sent(self, now: Instant) -> None:
        """Counts for the spacing of handshake messages."""
        self.last_handshake_sent = now

    def initiation_answered(self, now: Instant) -> None:
        """The answer to the last one was authentic."""
        self.round_trip = now - self.initiated

    def handshake_complete(self) -> None:
        """Disarms resend and clears what belonged to the attempt."""
        self.resend_at = None
        self.attempts = self.unanswered = 0
        self.last_minute_sent = False
        self.gave_up = None

    def session_derived(self, now: Instant, timings: Timings) -> None:
        """Arms zero-keys anew."""
        self.zero_keys_at = Instant(now + timings.zero_keys_after)

    def give_up(self, now: Instant, timings: Timings) -> None:
        """Nobody answered for REKEY_ATTEMPT_TIME."""
        self.resend_at = None
        self.attempts = 0
        self.gave_up = now
        if self.zero_keys_at is None:
            self.zero_keys_at = Instant(now + timings.zero_keys_after)

    def reset(self) -> None:
        """Device down, up or a new identity: as if no handshake had ever been."""
        self.last_handshake_sent = None
        self.resend_at = self.initiate_at = None
        self.attempts = self.unanswered = 0
        self.last_minute_sent = False
        self.gave_up = None

    def may_send_handshake(self, now: Instant, timings: Timings, *, is_hurried: bool = False) -> bool:
        """At least REKEY_TIMEOUT, or what a hurried resend waits, since our last initiation or response."""
        last = self.last_handshake_sent
        return last is None or now - last >= self._resend_delay(timings, is_hurried)

    @property
    def deadline(self) -> Instant | None:
        """The next moment at which a rule that needs no packet stamps comes due."""
        moments = (self.initiate_at, self.resend_at, self.zero_keys_at)
        return min((moment for moment in moments if moment is not None), default=None)


def due(state: TimerState, activity: Activity, now: Instant, timings: Timings) -> list[Due]:
    """Every rule of the table whose time has come."""
    found: list[Due] = []
    if state.zero_keys_at is not None and now >= state.zero_keys_at:
        found.append(Due.ZERO_KEYS)
    if state.initiate_at is not None:
        if now >= state.initiate_at:
            found.append(Due.INITIATE)
    elif state.resend_at is not None:
        if now >= state.resend_at:
            found.append(Due.GIVE_UP if state.attempts > timings.max_attempts else Due.RESEND)
    elif _new_handshake_due(state, activity, now, timings):
        found.append(Due.NEW_HANDSHAKE)
    elif _rekey_due(state, activity, timings):
        found.append(Due.REKEY)
    elif _last_minute_rekey_due(state, activity, timings):
        found.append(Due.LAST_MINUTE_REKEY)
    elif activity.staged and not activity.has_session(now, timings):
        found.append(Due.SESSION_WANTED)
    if _keepalive_due(state, activity, now, timings):
        found.append(Due.KEEPALIVE)
    return found


def _new_handshake_due(state: TimerState, activity: Activity, now: Instant, timings: Timings) -> bool:
    since = activity.tx_unanswered
    if since == 0:
        return False
    if state.gave_up is not None:
        # The old silence has been dealt with; only data sent since then starts over.
        if activity.last_tx_data <= state.gave_up:
            return False
        since = max(since, state.gave_up)
    silence = timings.hybrid_silence if state.is_hybrid else timings.new_handshake_timeout
    return now >= since + silence + state.jitter


def _rekey_due(state: TimerState, activity: Activity, timings: Timings) -> bool:
    if activity.current_birthdate == 0:
        return False
    last_sent = max(activity.last_tx_data, state.keepalive_sent)
    if state.gave_up is not None and last_sent <= state.gave_up:
        return False
    if activity.wants_rekey:
        return True
    return activity.is_initiator and last_sent >= activity.current_birthdate + timings.rekey_after_time


def _last_minute_rekey_due(state: TimerState, activity: Activity, timings: Timings) -> bool:
    return (
        activity.current_birthdate != 0
        and activity.is_initiator
        and not state.last_minute_sent
        and activity.last_rx_auth >= activity.current_birthdate + timings.receive_rekey_age
    )


def _keepalive_due(state: TimerState, activity: Activity, now: Instant, timings: Timings) -> bool:
    # What was asked for counts as sent, so that a worker or a network that lags is not asked again at once.
    unanswered = max(activity.rx_unanswered, state.keepalive_sent)
    if activity.rx_unanswered and now >= unanswered + timings.keepalive_timeout:
        return True
    if state.persistent_keepalive == 0:
        return False
    last = max(activity.last_tx_auth, activity.last_rx_auth, state.keepalive_sent)
    return now >= last + state.persistent_keepalive
