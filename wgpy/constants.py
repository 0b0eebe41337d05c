"""The numbers of the WireGuard paper's section 6 and of the wire, with units.

Knows no state. `Timings` carries those that tests shorten; everything else is fixed by the protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Self

from wgpy.errors import ConfigError
from wgpy.model import SECOND, Instant

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1: Final = b"mac1----"
LABEL_COOKIE: Final = b"cookie--"

HASH_LEN: Final = 32
MAC_LEN: Final = 16
TAG_LEN: Final = 16
TIMESTAMP_LEN: Final = 12
XNONCE_LEN: Final = 24
MACS_LEN: Final = 2 * MAC_LEN

INITIATION_LEN: Final = 148
RESPONSE_LEN: Final = 92
COOKIE_REPLY_LEN: Final = 64

NEVER: Final = Instant(0)
MILLISECOND: Final = 1_000_000
WHITENING_STEP: Final = 1 << 24  # ns

MAX_PEERS: Final = 1 << 16
MAX_WORKERS: Final = 8  # pairs of packet workers: DP_MAX_WORKERS


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations in ns and limits in messages, as the paper has them; only tests use others."""

    rekey_after_time: int = 120 * SECOND
    reject_after_time: int = 180 * SECOND
    rekey_attempt_time: int = 90 * SECOND
    rekey_timeout: int = 5 * SECOND
    keepalive_timeout: int = 10 * SECOND
    jitter: int = 333 * MILLISECOND
    cookie_max_age: int = 120 * SECOND
    cookie_latency: int = 5 * SECOND
    initiation_spacing: int = 20 * MILLISECOND
    rekey_after_messages: int = 1 << 60
    reject_after_messages: int = (1 << 64) - (1 << 13) - 1
    retired_psk_grace: int = 30 * SECOND
    hurried_timeout: int = SECOND // 2  # first resend without a post-quantum session; then doubled twice
    late_keepalive: int = 2 * SECOND  # a hybrid peer whose passive keepalive is so late has left the session
    follow_up_first: int = 1 * SECOND
    follow_up_last: int = 15 * SECOND
    pq_key_max_age: int = 600 * SECOND

    @property
    def own_spacing(self) -> int:
        """What we keep between two initiations to a peer, which refuses those that come closer: 25 ms."""
        return self.initiation_spacing * 5 // 4

    @property
    def new_handshake_timeout(self) -> int:
        """Silence after sent data that starts a handshake: 15 s."""
        return self.keepalive_timeout + self.rekey_timeout

    @property
    def hybrid_silence(self) -> int:
        """The same towards a peer with Rosenpass: 12 s, so that traffic is back within 15."""
        return min(self.keepalive_timeout + self.late_keepalive, self.new_handshake_timeout)

    @property
    def receive_rekey_age(self) -> int:
        """Age at which an initiator renews because it receives: 165 s."""
        return self.reject_after_time - self.keepalive_timeout - self.rekey_timeout

    @property
    def zero_keys_after(self) -> int:
        """All keys are wiped this long after the last derived session: 540 s."""
        return 3 * self.reject_after_time

    @property
    def max_attempts(self) -> int:
        """MAX_TIMER_HANDSHAKES: 18 resends are followed by one more, then it is over."""
        return self.rekey_attempt_time // self.rekey_timeout

    def with_overrides(self, text: str) -> Self:
        """Parse "rekey_after_time=5,reject_after_time=9.5": durations in seconds, message limits as counts.

        Raises:
            ConfigError: an unknown name, a value that is not a positive number, or sessions that would end
                before silence is noticed.
        """
        changes: dict[str, int] = {}
        known = {field.name for field in fields(self)}
        for item in filter(None, text.split(",")):
            name, _, value = item.partition("=")
            name = name.strip()
            if name not in known:
                raise ConfigError(f"no such timing: {name!r}", "WGPY_TIMINGS")
            changes[name] = _positive(name, value)
        changed = replace(self, **changes)
        if changed.receive_rekey_age <= 0:
            raise ConfigError(
                "reject_after_time must be more than keepalive_timeout and rekey_timeout together",
                "WGPY_TIMINGS",
            )
        return changed


def _positive(name: str, value: str) -> int:
    try:
        number = int(value) if name.endswith("_messages") else round(float(value) * SECOND)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{name}: not a number: {value!r}", "WGPY_TIMINGS") from error
    if number <= 0:
        raise ConfigError(f"{name}: must be positive", "WGPY_TIMINGS")
    return number


def timings_from(environment: Mapping[str, str]) -> Timings:
    """The paper's timings, shortened where WGPY_TIMINGS says so (test labs only)."""
    return Timings().with_overrides(environment.get("WGPY_TIMINGS", ""))
