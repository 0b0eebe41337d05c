"""Runs the Rosenpass exchange of one device on its event loop; the public-key work on a thread of its own.

Carries: datagrams between sockets and CryptoServer, output keys into the rings of the WireGuard peers, and
the news of a session back to the exchange. Decides nothing: who starts is section 6 of the product, which key
serves is wgpy.psk_ring.

A partner is a WireGuard peer with a Rosenpass key. It takes part while the device has that peer.
"""

import asyncio
import logging
import os
from concurrent.futures import Future
from dataclasses import dataclass, replace

from rosenpass.actions import Action, SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import Instant as RosenpassInstant
from rosenpass.erasure import wipe
from rosenpass.errors import RosenpassError
from rosenpass.identity import Kems
from rosenpass.peers import Initiative, PeerConfig, PeerId
from rosenpass.server import CryptoServer
from rosenpass.standalone.endpoints import ConfiguredEndpoint
from rosenpass.standalone.sockets import Sockets
from rosenpass.standalone.values import HostPort
from rosenpass.standalone.worker import Worker
from wgpy.config import RosenpassVia
from wgpy.dispatch import boot_time, wall_time
from wgpy.errors import WgpyError
from wgpy.host import Host
from wgpy.model import SECOND, Instant, PeerNumber, PskKind, PublicKey
from wgpy.psk_exchange import PskExchange
from wgpy.rosenpass_keys import LoadedKeys, PeerKeys
from wgpy.rosenpass_settings import PeerSettings, RosenpassSettings
from wgpy.rosenpass_sockets import ExchangeSockets

logger = logging.getLogger(__name__)

# How a refusal of the exchange is counted, beside those of the device.
_REASONS = {
    "MalformedMessage": "exchange_malformed",
    "AuthenticationError": "exchange_authentication",
    "ReplayError": "exchange_replay",
    "StateError": "exchange_state",
    "Overloaded": "exchange_overloaded",
    "UnknownPeer": "exchange_stranger",
}


@dataclass(slots=True)
class Partner:
    """One peer of the exchange; `adding` ends when the worker has hashed its key, and then `id` is known."""

    settings: PeerSettings
    number: PeerNumber
    goes_first: bool
    adding: "Future[PeerId]"
    endpoint: ConfiguredEndpoint | None = None
    id: PeerId | None = None


class RosenpassDriver:
    """Runs from construction, on the running event loop, to `close`.

    Args:
        host: the device.
        settings: where and with whom.
        keys: what the settings' files hold; owned once this returns.
        inherited: the port outside the tunnel that a driver to be closed has, None = there is none.

    Raises:
        WgpyError: a port is in use, or no library here offers Kyber512.
    """

    def __init__(
        self, host: Host, settings: RosenpassSettings, keys: LoadedKeys, inherited: int | None = None
    ) -> None:
        self._host = host
        self._settings = settings
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._partners: dict[PublicKey, Partner] = {}
        self._by_id: dict[PeerId, Partner] = {}
        self._exchange = PskExchange(host.tunnel)
        self._wanted: asyncio.TimerHandle | None = None
        try:
            server = CryptoServer(keys.identity, os.urandom, Kems.real(os.urandom), host.rosenpass_timers())
        except RosenpassError as error:
            raise WgpyError(str(error)) from None
        self._bound = ExchangeSockets(settings, host.name, host.mark, inherited)
        self._worker = Worker(server, self._deliver, boot_time)
        # Where the tunnel is down, what belongs into it does not leave outside it instead.
        self._sockets = Sockets(self._bound.opened, self._worker.submit, is_strict=True)
        self._worker.start()

    def close(self) -> None:
        """End the exchange and wipe its keys."""
        if self._wanted is not None:
            self._wanted.cancel()
        for public_key in list(self._partners):
            self._forget(public_key)
        self._worker.stop()
        self._sockets.close()
        self._keys.wipe()

    @property
    def fingerprint(self) -> str:
        """Of our own Rosenpass key."""
        return self._keys.fingerprint

    @property
    def outer_port(self) -> int | None:
        """Where the exchange listens outside the tunnel; None where it does not."""
        return self._bound.outer_port

    @property
    def drops(self) -> dict[str, int]:
        """The exchange's datagrams that went no further, by reason."""
        refused = self._worker.refused
        counted = {reason: refused.get(name, 0) for name, reason in _REASONS.items()}
        return {
            **counted,
            "exchange_full": self._worker.dropped,
            "exchange_overflow": self._sockets.dropped,
        }

    def fingerprint_of(self, public_key: PublicKey) -> str | None:
        """Of a peer's Rosenpass key; None for a peer without one."""
        keys = self._keys.peers.get(public_key)
        return keys.fingerprint if keys is not None else None

    def renewal_of(self, number: PeerNumber) -> Instant | None:
        """When the peer's key is expected to be replaced, at the latest; None before there is one."""
        return self._exchange.renewal_of(number)

    def serves(self, settings: RosenpassSettings, keys: LoadedKeys) -> bool:
        """Whether other settings change nothing but peers, so that `use` can take them."""
        mine, theirs = self._settings, settings
        return (
            self._keys.identity.spkm == keys.identity.spkm
            and (mine.listen_port, mine.addresses) == (theirs.listen_port, theirs.addresses)
            and any(peer.via is not RosenpassVia.TUNNEL for peer in mine.peers)
            == any(peer.via is not RosenpassVia.TUNNEL for peer in theirs.peers)
        )

    def use(self, settings: RosenpassSettings, keys: LoadedKeys) -> None:
        """Take settings that `serves` has accepted; unchanged partners go on undisturbed."""
        before = {public_key: self._entry(public_key) for public_key in self._partners}
        old, identity = self._keys, self._keys.identity
        self._settings, self._keys = settings, replace(keys, identity=identity)
        for public_key, entry in before.items():
            if self._entry(public_key) != entry:
                self._forget(public_key)
        keys.identity.sskm.wipe()  # the running exchange has its own
        old.wipe_psks()

    def set_mark(self, mark: int) -> None:
        """The device's fwmark changed."""
        self._bound.set_mark(mark)

    # -- what happens to the device

    def peer_added(self, public_key: PublicKey, number: PeerNumber) -> None:
        """The device has this peer now; nothing happens where it is a partner already or has no key."""
        settings, keys = self._entry(public_key)
        if settings is None or keys is None or public_key in self._partners:
            return
        goes_first = self._keys.identity.spkm > keys.spkt
        psk = bytearray(keys.psk)
        config = PeerConfig(
            keys.spkt,
            psk,
            reachable=settings.control is not None or settings.outside is not None,
            initiative=_initiative(settings.via, goes_first=goes_first),
        )
        endpoint = None
        if settings.outside is not None:
            target = HostPort(settings.outside.host, settings.outside.port)
            endpoint = ConfiguredEndpoint(target, self._send_outside)
        adding = self._worker.call(lambda server, now: server.add_peer(config, now))
        partner = self._partners[public_key] = Partner(settings, number, goes_first, adding, endpoint)
        adding.add_done_callback(lambda _: wipe(psk))
        adding.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._joined, partner))

    def peer_removed(self, public_key: PublicKey) -> None:
        """The device has lost this peer."""
        if public_key in self._partners:
            self._forget(public_key)

    def way_is_open(self) -> None:
        """The interface came up, or its routes did: what failed to leave before may leave now."""
        for partner in self._partners.values():
            if partner.id is not None and partner.goes_first and not self._has_output(partner):
                self._initiate(partner.id)

    def session_stands(self, number: PeerNumber, kind: PskKind) -> None:
        """A WireGuard session was confirmed."""
        self._exchange.session_stands(number, kind, boot_time())
        self._look_for_wanted()

    # -- from the worker

    def _deliver(self, actions: list[Action]) -> None:
        self._loop.call_soon_threadsafe(self._take, actions)

    def _take(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SendMessage):
                self._send(action)
            elif self._exchange.take(action, boot_time(), wall_time()) is not None:
                logger.info("%s from the exchange", type(action).__name__)
        self._host.perform()

    def _joined(self, partner: Partner) -> None:
        if self._partners.get(partner.settings.public_key) is not partner:
            return  # gone again meanwhile
        error = partner.adding.exception()
        if error is not None:
            logger.error("a peer cannot take part in the exchange: %s", error)
            return
        partner.id = partner.adding.result()
        self._by_id[partner.id] = partner
        self._exchange.join(partner.id, partner.number, goes_first=partner.goes_first)

    # -- within

    def _entry(self, public_key: PublicKey) -> tuple[PeerSettings | None, PeerKeys | None]:
        return self._settings.peer(public_key), self._keys.peers.get(public_key)

    def _forget(self, public_key: PublicKey) -> None:
        partner = self._partners.pop(public_key)
        if partner.endpoint is not None:
            partner.endpoint.close()
        if partner.id is not None:
            del self._by_id[partner.id]
            self._exchange.part(partner.id)
        # The worker comes to this after the adding, which may be waiting for it still.
        self._worker.call(lambda server, _: server.remove_peer(partner.adding.result()))

    def _has_output(self, partner: Partner) -> bool:
        peer = self._host.tunnel.find_peer(partner.settings.public_key)
        return peer is not None and peer.ring.has_output

    def _initiate(self, peer_id: PeerId) -> None:
        partner = self._by_id.get(peer_id)
        if partner is None or partner.settings.via is RosenpassVia.ANSWER_ONLY:
            return

        def initiate(server: CryptoServer, now: RosenpassInstant) -> None:
            server.initiate(peer_id, now)

        self._worker.call(initiate)

    def _look_for_wanted(self) -> None:
        for peer_id in self._exchange.take_wanted(boot_time()):
            self._initiate(peer_id)
        if self._wanted is not None:
            self._wanted.cancel()
            self._wanted = None
        moment = self._exchange.next_wanted()
        if moment is not None:
            delay = max(0, moment - boot_time()) / SECOND
            self._wanted = self._loop.call_later(delay, self._look_for_wanted)

    def _send(self, message: SendMessage) -> None:
        if message.destination is not None:
            self._sockets.send(message.datagram, message.destination)
            return
        partner = self._by_id.get(message.peer) if message.peer is not None else None
        if partner is None:
            return
        if partner.endpoint is not None:
            partner.endpoint.send(message.datagram, resolve=message.resolve)
        elif partner.settings.control is not None:
            control = partner.settings.control
            inner = self._bound.inner(control.ip.version)
            self._sockets.send(message.datagram, Address(control.ip, control.port, socket=inner))

    def _send_outside(self, datagram: bytes, destination: Address) -> None:
        outer = self._bound.outer(destination.ip.version)
        self._sockets.send(datagram, replace(destination, socket=outer))


def _initiative(via: RosenpassVia, *, goes_first: bool) -> Initiative:
    """Over the tunnel the greater key starts (section 6); outside both may, as the Rust program does."""
    match via:
        case RosenpassVia.ANSWER_ONLY:
            return Initiative.NEVER
        case RosenpassVia.OUTSIDE:
            return Initiative.AT_ONCE
        case RosenpassVia.TUNNEL:
            return Initiative.AT_ONCE if goes_first else Initiative.WHEN_OVERDUE
