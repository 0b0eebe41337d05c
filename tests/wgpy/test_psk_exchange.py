import os

import pytest

from rosenpass.actions import KeyExchanged
from rosenpass.constants import Instant as RosenpassInstant
from rosenpass.constants import Role
from rosenpass.peers import PeerId
from wgpy.index import SeededIndices
from wgpy.model import SECOND, Instant, PeerNumber, PskKind, PublicKey, WallTime
from wgpy.psk_exchange import PskExchange
from wgpy.tunnel import Tunnel

PEER, NUMBER, NOW = PeerId(b"peer"), PeerNumber(0), Instant(1000 * SECOND)


def exchange(*, goes_first: bool) -> PskExchange:
    tunnel = Tunnel(SeededIndices(os.urandom), os.urandom)
    tunnel.add_peer(NUMBER, PublicKey(bytes(32)))
    joined = PskExchange(tunnel)
    joined.join(PEER, NUMBER, goes_first=goes_first)
    return joined


def test_who_goes_first_starts_an_exchange_on_a_weaker_session_at_once() -> None:
    joined = exchange(goes_first=True)
    joined.session_stands(NUMBER, PskKind.INTERIM, NOW)
    assert joined.take_wanted(NOW) == [PEER]


def test_the_other_end_starts_it_too_where_nothing_comes_of_the_session() -> None:
    joined = exchange(goes_first=False)
    joined.session_stands(NUMBER, PskKind.INTERIM, NOW)
    due = joined.next_wanted()
    assert due is not None
    assert NOW + SECOND < due <= NOW + 5 * SECOND
    assert joined.take_wanted(NOW) == []
    assert joined.take_wanted(due) == [PEER]


@pytest.mark.parametrize("has_drifted", [True, False])
def test_a_key_that_the_peer_was_seen_not_to_have_is_not_tried_for_long(has_drifted: bool) -> None:
    joined = exchange(goes_first=True)
    renewal = RosenpassInstant(NOW + 100 * SECOND)
    joined.take(KeyExchanged(PEER, bytearray(b"k" * 32), Role.RESPONDER, renewal), NOW, WallTime(0))
    joined._tunnel.peer(NUMBER).has_drifted = has_drifted
    joined.session_stands(NUMBER, PskKind.INTERIM, NOW)
    assert joined.take_wanted(NOW) == [PEER] * has_drifted
    assert joined.take_wanted(Instant(NOW + 2 * SECOND)) == [PEER] * (not has_drifted)


def test_the_renewal_that_is_shown_is_that_of_the_last_exchange() -> None:
    joined = exchange(goes_first=True)
    assert joined.renewal_of(NUMBER) is None
    renewal = RosenpassInstant(NOW + 100 * SECOND)
    joined.take(KeyExchanged(PEER, bytearray(b"k" * 32), Role.INITIATOR, renewal), NOW, WallTime(0))
    assert joined.renewal_of(NUMBER) == renewal
    joined.part(PEER)
    assert joined.renewal_of(NUMBER) is None


@pytest.mark.parametrize("goes_first", [True, False])
def test_a_post_quantum_session_leaves_nothing_to_want(goes_first: bool) -> None:
    joined = exchange(goes_first=goes_first)
    joined.session_stands(NUMBER, PskKind.INTERIM, NOW)
    joined.session_stands(NUMBER, PskKind.PQ, NOW)
    assert joined.next_wanted() is None
