"""Which peers of the data plane's record array are worth a tick: one vector comparison for all of them.

A superset of what wgpy.timers would find due from packet stamps; peers due by their own deadline come from
Tunnel.due_by. Ten thousand idle peers cost this one look.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgpy.constants import Timings
from wgpy.model import Instant, PskKind
from wgpy.timers import Activity

# DP_KEYPAIR_* of dataplane.h
_INITIATOR = 0x01
_SENDABLE = 0x02
_REKEY_MESSAGES = 0x04

Records = NDArray[np.void]  # structured as struct dp_record
Durations = NDArray[np.uint64]  # ns per peer number


def restless(records: Records, keepalive: Durations, now: Instant, timings: Timings) -> NDArray[np.intp]:
    """The numbers of the peers whose stamps may have brought something due.

    Args:
        records: one struct dp_record per peer number.
        keepalive: persistent keepalive interval per peer number, 0 = off; as long as `records`.
        now: ns since boot.
        timings: what the stamps are compared with.
    """
    staged = records["staged"] != 0
    tx_silence = _older(records["tx_unanswered_ns"], now - timings.hybrid_silence)
    rx_silence = _older(records["rx_unanswered_ns"], now - timings.keepalive_timeout)
    last_tx, last_rx = records["last_tx_auth_ns"], records["last_rx_auth_ns"]
    birthdate = records["current_birthdate_ns"]
    flags = records["current_flags"]
    aged = np.maximum(last_tx, last_rx) >= birthdate + np.uint64(
        min(timings.rekey_after_time, timings.receive_rekey_age)
    )
    rekey = (birthdate != 0) & ((flags & _REKEY_MESSAGES != 0) | ((flags & _INITIATOR != 0) & aged))
    lonely = (keepalive != 0) & (np.maximum(last_tx, last_rx) + keepalive <= np.uint64(now))
    return np.flatnonzero((records["in_use"] != 0) & (staged | tx_silence | rx_silence | rekey | lonely))


# In the order of Activity's fields, its three flags as one.
_STAMPS = (
    *("last_tx_auth_ns", "last_tx_data_ns", "tx_unanswered_ns"),
    *("last_rx_auth_ns", "last_rx_data_ns", "rx_unanswered_ns"),
    *("current_birthdate_ns", "current_index", "current_flags", "current_psk_kind"),
    *("user_birthdate_ns", "user_psk_kind", "user_psk_birthdate_ns", "staged"),
)
_KINDS = tuple(PskKind)


def activity_of(record: Any) -> Activity:  # noqa: ANN401  (one row of Records)
    """One row as the core reads it."""
    return _activity(tuple(int(record[name]) for name in _STAMPS))


def activities(records: Records) -> list[Activity]:
    """Every row as the core reads it; for many rows much faster than one by one."""
    return [_activity(stamps) for stamps in zip(*(records[name].tolist() for name in _STAMPS), strict=True)]


def _activity(stamps: tuple[int, ...]) -> Activity:
    tx_auth, tx_data, tx_unanswered, rx_auth, rx_data, rx_unanswered, *keypairs = stamps
    birthdate, index, flags, kind, user_birthdate, user_kind, user_psk_birthdate, staged = keypairs
    return Activity(
        *(tx_auth, tx_data, tx_unanswered, rx_auth, rx_data, rx_unanswered),
        birthdate,
        index,
        bool(flags & _INITIATOR),
        bool(flags & _SENDABLE),
        bool(flags & _REKEY_MESSAGES),
        _KINDS[kind],
        user_birthdate,
        _KINDS[user_kind],
        user_psk_birthdate,
        staged,
    )


def _older(stamps: NDArray[np.uint64], limit: int) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (stamps != 0) & (stamps <= np.uint64(max(0, limit)))
    return result
