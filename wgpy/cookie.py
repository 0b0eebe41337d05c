"""mac1 and mac2 of outgoing handshake messages, and the cookie a loaded peer asks us to prove.

Knows nothing of incoming macs, of load or of making cookies: that half is C's, for it must be cheap.

Paper: WireGuard §5.3, §5.4.4, §5.4.7.
"""

from wgpy import crypto
from wgpy.constants import LABEL_COOKIE, LABEL_MAC1, MAC_LEN, Timings
from wgpy.errors import StateError
from wgpy.messages import CookieReply
from wgpy.model import Instant, PublicKey


class Macs:
    """What one peer needs on the messages we send it.

    Args:
        remote_static: its public key, of which both mac keys are hashes.
        timings: for the age up to which a cookie is used, 120 s less 5 s of latency.
    """

    def __init__(self, remote_static: PublicKey, timings: Timings) -> None:
        self._mac1_key = crypto.hash_(LABEL_MAC1, remote_static)
        self._cookie_key = crypto.hash_(LABEL_COOKIE, remote_static)
        self._usable_for = timings.cookie_max_age - timings.cookie_latency
        self._cookie: bytes | None = None
        self._cookie_received = Instant(0)
        self._last_mac1: bytes | None = None

    def stamp(self, body: bytes, now: Instant) -> bytes:
        """The whole message: body, mac1, and mac2 or zeros."""
        mac1 = crypto.mac(self._mac1_key, body)
        self._last_mac1 = mac1
        cookie = self._fresh_cookie(now)
        mac2 = bytes(MAC_LEN) if cookie is None else crypto.mac(cookie, body + mac1)
        return body + mac1 + mac2

    def consume_reply(self, reply: CookieReply, now: Instant) -> None:
        """Keep the cookie for the next message; nothing is resent at once.

        Raises:
            StateError: no message of ours waits for a cookie. One message yields at most one.
            AuthenticationError: not made for our last mac1; nothing was changed.
        """
        if self._last_mac1 is None:
            raise StateError("cookie reply without a message that awaits one")
        cookie = crypto.xaead_open(self._cookie_key, reply.nonce, reply.encrypted_cookie, self._last_mac1)
        self._cookie, self._cookie_received = cookie, now
        self._last_mac1 = None

    def _fresh_cookie(self, now: Instant) -> bytes | None:
        if self._cookie is not None and now - self._cookie_received >= self._usable_for:
            self._cookie = None
        return self._cookie
