"""Cookies: under load, an initiator first proves that it receives at the address it claims.

Both sides are here. All cookie computations use SHAKE256, with BLAKE2b peers too. The host id that binds a
cookie to an address is the responder's private business. Rosenpass cookies resemble WireGuard's (section 5.3
there).
"""

import hmac
from dataclasses import dataclass, field

from .constants import COOKIE_LEN, COOKIE_SECRET_LEN, XNONCE_LEN, Instant, Timers
from .erasure import wipe
from .hash_domains import COOKIE_DOMAINS
from .msgs import COOKIE_BOX_LEN, CookieReply, Envelope
from .primitives import xaead_decrypt, xaead_encrypt
from .randomness import RandomBytes


def cookie_value(secret: bytes | bytearray, host_id: bytes) -> bytes:
    """Return the 16 bytes an initiator at this address may know."""
    return COOKIE_DOMAINS.chain(COOKIE_DOMAINS.cookie_value, [secret, host_id])[:COOKIE_LEN]


def cookie_field(value: bytes | bytearray, before_cookie: bytes) -> bytes:
    """Return what the owner of a cookie value writes into the last 16 bytes of a datagram."""
    return COOKIE_DOMAINS.chain(COOKIE_DOMAINS.cookie, [value, before_cookie])[:COOKIE_LEN]


@dataclass(slots=True)
class _Secret:
    value: bytearray = field(repr=False)
    created_at: Instant


class CookieSecrets:
    """The responder's side: at most two secrets, the newest first, no state per initiator."""

    def __init__(self, random: RandomBytes, timers: Timers) -> None:
        self._random = random
        self._epoch = timers.cookie_secret_epoch
        self._secrets: list[_Secret] = []

    def accepts(self, envelope: Envelope, host_id: bytes, now: Instant) -> bool:
        """Whether the datagram carries a cookie that this responder gave to this address lately."""
        self.expire(now)
        good = False
        for secret in self._secrets:
            expected = cookie_field(cookie_value(secret.value, host_id), envelope.before_cookie)
            good |= hmac.compare_digest(expected, envelope.cookie)
        return good

    def reply(
        self, envelope: Envelope, sidi: bytes, host_id: bytes, cookie_key: bytes, now: Instant
    ) -> CookieReply:
        """Answer an InitHello without a good cookie; the reply is exactly as long as the question."""
        value = cookie_value(self._newest(now).value, host_id)
        box = xaead_encrypt(cookie_key, self._random(XNONCE_LEN), value, envelope.mac)
        return CookieReply(sidi, box, self._random(len(envelope.wire) - 8 - COOKIE_BOX_LEN))

    def expire(self, now: Instant) -> None:
        """Overwrite secrets two epochs old."""
        wipe(*(s.value for s in self._secrets if now - s.created_at >= 2 * self._epoch))
        self._secrets = [s for s in self._secrets if now - s.created_at < 2 * self._epoch]

    def wipe(self) -> None:
        """Overwrite both secrets."""
        wipe(*(secret.value for secret in self._secrets))
        self._secrets = []

    def next_deadline(self) -> Instant | None:
        """Return when expire() next has something to do."""
        return Instant(self._secrets[-1].created_at + 2 * self._epoch) if self._secrets else None

    def _newest(self, now: Instant) -> _Secret:
        self.expire(now)
        if not self._secrets or now - self._secrets[0].created_at >= self._epoch:
            self._secrets.insert(0, _Secret(bytearray(self._random(COOKIE_SECRET_LEN)), now))
            wipe(*(old.value for old in self._secrets[2:]))
            del self._secrets[2:]
        return self._secrets[0]


@dataclass(frozen=True, slots=True)
class CookieValue:
    """The initiator's side: a value received from a responder, and when."""

    value: bytearray = field(repr=False)
    received_at: Instant

    @classmethod
    def from_reply(cls, reply: CookieReply, cookie_key: bytes, mac: bytes, now: Instant) -> "CookieValue":
        """Open a CookieReply to the message that carried `mac`.

        Raises:
            AuthenticationError: it does not answer that message.
        """
        return cls(bytearray(xaead_decrypt(cookie_key, reply.box, mac)), now)

    def is_live(self, now: Instant, timers: Timers) -> bool:
        """Whether it may still be used."""
        return now - self.received_at < timers.cookie_value_epoch
