"""Which InitHello is worth a decapsulation when there is no time for all of them.

Under load an InitHello must carry a cookie. No release of Rosenpass and no go-rosenpass can do cookies, so a
few without one still pass: from addresses where a peer was heard before, and about one per second and
address. Of IPv6 the /64 counts: whoever has one address of it has them all.
"""

from collections.abc import Hashable

from .addresses import Address
from .constants import HashVariant, Instant, Timers
from .cookie import CookieSecrets
from .identity import StaticIdentity
from .load import LoadMeter, RateLimiter
from .msgs import CookieReply, Envelope
from .randomness import RandomBytes


class Admission:
    """The cookie secrets, the load and the limits of one server."""

    def __init__(self, random: RandomBytes, timers: Timers) -> None:
        self.load = LoadMeter()
        self.secrets = CookieSecrets(random, timers)
        self._with_cookie = RateLimiter(per_second=10, burst=20)
        self._without = RateLimiter(per_second=1, burst=2)
        self._without_in_all = RateLimiter(per_second=20, burst=20)

    def admits(self, envelope: Envelope, source: Address, is_known: bool, now: Instant) -> bool:
        """Whether to go on with an InitHello whose mac is good.

        Args:
            envelope: the datagram.
            source: where it claims to come from.
            is_known: whether a peer was heard there.
            now: ns.
        """
        self.load.arrived(now)
        if not self.load.is_high(now):
            return True
        if self.secrets.accepts(envelope, source.host_id(), now):
            return self._with_cookie.allow(_owner(source), now)
        if is_known:
            return self._without.allow(source, now)
        return self._without.allow(_owner(source), now) and self._without_in_all.allow(None, now)

    def demand(
        self, envelope: Envelope, sidi: bytes, source: Address, mine: StaticIdentity, now: Instant
    ) -> bytes:
        """Return a CookieReply datagram to an InitHello that was not admitted."""
        key = mine.hashes[HashVariant.SHAKE256].cookie_key
        reply: CookieReply = self.secrets.reply(envelope, sidi, source.host_id(), key, now)
        return reply.pack()


def _owner(source: Address) -> Hashable:
    """Whom an address belongs to, as far as one can see: IPv4 to itself, IPv6 to its /64."""
    return source.ip if source.ip.version == 4 else source.ip.packed[:8]
