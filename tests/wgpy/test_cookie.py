import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import vectors

from wgpy import crypto
from wgpy.constants import LABEL_COOKIE, Timings
from wgpy.cookie import Macs
from wgpy.errors import AuthenticationError, StateError
from wgpy.messages import CookieReply
from wgpy.model import SECOND, Instant, PublicKey

REMOTE = PublicKey(b"r" * 32)
NOW = Instant(1_000 * SECOND)


def reply_to(message: bytes, cookie: bytes = b"c" * 16) -> CookieReply:
    key = crypto.hash_(LABEL_COOKIE, REMOTE)
    return CookieReply(7, b"n" * 24, crypto.xaead_seal(key, b"n" * 24, cookie, message[-32:-16]))


def test_cookie_reply_and_mac2_match_the_vector() -> None:
    table = vectors.shared("wireguard/handshake_generated.json")
    macs = Macs(PublicKey(bytes.fromhex(table["responder_static_public"])), Timings())
    body = bytes.fromhex(table["initiation"])[:116]
    assert macs.stamp(body, NOW).hex() == table["initiation"]
    macs.consume_reply(CookieReply.unpack(bytes.fromhex(table["cookie"]["cookie_reply"])), NOW)
    assert macs.stamp(body, NOW).hex() == table["cookie"]["initiation_with_mac2"]


def test_without_a_cookie_mac2_is_zero() -> None:
    assert Macs(REMOTE, Timings()).stamp(b"body", NOW)[-16:] == bytes(16)


def test_a_cookie_is_used_for_115_seconds() -> None:
    macs = Macs(REMOTE, Timings())
    macs.consume_reply(reply_to(macs.stamp(b"body", NOW)), NOW)
    assert macs.stamp(b"body", Instant(NOW + 115 * SECOND - 1))[-16:] != bytes(16)
    assert macs.stamp(b"body", Instant(NOW + 115 * SECOND))[-16:] == bytes(16)


def test_a_reply_to_nothing_we_sent_is_refused() -> None:
    macs = Macs(REMOTE, Timings())
    with pytest.raises(StateError):
        macs.consume_reply(reply_to(b"x" * 32), NOW)


def test_one_message_yields_at_most_one_cookie() -> None:
    macs = Macs(REMOTE, Timings())
    reply = reply_to(macs.stamp(b"body", NOW))
    macs.consume_reply(reply, NOW)
    with pytest.raises(StateError):
        macs.consume_reply(reply, NOW)


def test_a_reply_to_an_older_message_is_refused_and_the_true_one_still_taken() -> None:
    macs = Macs(REMOTE, Timings())
    old = reply_to(macs.stamp(b"body 1", NOW))
    new = reply_to(macs.stamp(b"body 2", NOW))
    with pytest.raises(AuthenticationError):
        macs.consume_reply(old, NOW)
    macs.consume_reply(new, NOW)


@given(st.binary(min_size=24, max_size=24), st.binary(min_size=32, max_size=32))
def test_arbitrary_replies_change_nothing(nonce: bytes, sealed: bytes) -> None:
    macs = Macs(REMOTE, Timings())
    sent = macs.stamp(b"body", NOW)
    with pytest.raises(AuthenticationError):
        macs.consume_reply(CookieReply(7, nonce, sealed), NOW)
    macs.consume_reply(reply_to(sent), NOW)
