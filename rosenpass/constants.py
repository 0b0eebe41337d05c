"""Timers, lengths and the one table of suites.

Nothing here computes. Times are ns, lengths are bytes. The names are the white paper's and the Rust tool's.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NewType

Instant = NewType("Instant", int)  # ns of a monotonic clock

SECOND = 1_000_000_000
MILLISECOND = 1_000_000

KEY_LEN = 32  # every symmetric key, ck, psk and osk
HASH_LEN = 32
TAG_LEN = 16
NONCE_LEN = 12
XNONCE_LEN = 24
MAC_LEN = 16
COOKIE_LEN = 16
COOKIE_SECRET_LEN = 16
SID_LEN = 4
PEER_ID_LEN = 32
BISCUIT_NO_LEN = 12
BISCUIT_PT_LEN = PEER_ID_LEN + BISCUIT_NO_LEN + KEY_LEN
BISCUIT_CT_LEN = XNONCE_LEN + BISCUIT_PT_LEN + TAG_LEN

STATIC_PUBLIC_KEY_LEN = 524160  # Classic McEliece 460896
STATIC_CIPHERTEXT_CONFIRMED_LEN = 188  # with plaintext confirmation: every release
STATIC_CIPHERTEXT_LEN = 156  # round 4 form, seen in development versions only
EPHEMERAL_PUBLIC_KEY_LEN = 800  # Kyber512
EPHEMERAL_CIPHERTEXT_LEN = 768

MAX_DATAGRAM_LEN = 1132  # the longest message, a RespHello with the 188-byte form


class Role(Enum):
    """Which side of one handshake this end was."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class HashVariant(Enum):
    """The keyed hash of a suite; the value is what its protocol string ends in.

    The BLAKE2b string says "BLAKE2s". That is upstream's slip and part of the protocol.
    """

    BLAKE2B = "BLAKE2s"
    SHAKE256 = "SHAKE256"


@dataclass(frozen=True, slots=True)
class Suite:
    """What two ends must agree on out of band: no message says which one it is.

    Attributes:
        name: as in a configuration file.
        hash: the keyed hash.
        static_ciphertext_len: the Classic McEliece form, 188 or 156 bytes.
    """

    name: str
    hash: HashVariant
    static_ciphertext_len: int

    @property
    def init_hello_len(self) -> int:
        """Length of a whole InitHello datagram."""
        return 904 + self.static_ciphertext_len

    @property
    def resp_hello_len(self) -> int:
        """Length of a whole RespHello datagram."""
        return 944 + self.static_ciphertext_len


SUITES = {
    suite.name: suite
    for suite in (
        Suite("V02", HashVariant.BLAKE2B, STATIC_CIPHERTEXT_CONFIRMED_LEN),
        Suite("V03", HashVariant.SHAKE256, STATIC_CIPHERTEXT_CONFIRMED_LEN),
        Suite("V02-156", HashVariant.BLAKE2B, STATIC_CIPHERTEXT_LEN),
        Suite("V03-156", HashVariant.SHAKE256, STATIC_CIPHERTEXT_LEN),
    )
}
DEFAULT_SUITE = SUITES["V02"]

_BY_PROPERTIES = {(suite.hash, suite.static_ciphertext_len): suite for suite in SUITES.values()}


def suite_of(variant: HashVariant, static_ciphertext_len: int) -> Suite:
    """Return the suite with this hash and this ciphertext form."""
    return _BY_PROPERTIES[variant, static_ciphertext_len]


@dataclass(frozen=True, slots=True)
class Timers:
    """Every time of the protocol in ns; a test or an impatient embedder hands in shorter ones.

    The first block is upstream's and holds on the wire. The second is this implementation's own.
    """

    rekey_after_responder: int = 120 * SECOND  # a session made as responder is renewed at this age
    rekey_after_initiator: int = 130 * SECOND
    reject_after: int = 180 * SECOND  # sessions and unfinished handshakes die at this age
    biscuit_epoch: int = 300 * SECOND  # a key issues for one epoch and opens for two
    cookie_secret_epoch: int = 120 * SECOND  # likewise
    cookie_value_epoch: int = 120 * SECOND
    response_cache: int = 120 * SECOND
    retransmit_begin: int = SECOND // 2
    retransmit_end: int = 10 * SECOND
    event_grace: int = 2_500_000

    start_delay: int = SECOND  # the end with the lesser key starts 0.5 to 1.5 of these later
    overdue: int = 15 * SECOND  # Initiative.WHEN_OVERDUE renews once to twice this much after its age
    overdue_start: int = 3 * SECOND  # and this long for a first exchange
    hold_back: int = SECOND // 2  # InitConf waits 0.5 to 1 (lesser key: 2 to 4) of these in a collision
    init_conf_give_up: int = 6 * SECOND  # an InitConf nobody answers: start again


DEFAULT_TIMERS = Timers()
