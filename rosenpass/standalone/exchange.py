"""The standalone exchange: composes configuration, worker, sockets and outputs; decides nothing itself."""

import asyncio
import base64
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..actions import Action, KeyConfirmed, KeyExchanged, KeyStale, SendMessage
from ..constants import Instant
from ..erasure import wipe
from ..errors import ConfigError, KeyFileError, RosenpassError
from ..identity import Kems, KeyHashes, StaticIdentity
from ..kem import StaticSecretKey
from ..keyfile import load_psk, load_public_key, load_secret_key
from ..peers import PeerConfig, PeerId
from ..server import CryptoServer
from .config import ExchangeConfig, PeerEntry
from .endpoints import ConfiguredEndpoint
from .outputs import EXCHANGED, STALE, Outputs
from .sockets import Sockets, listen_on
from .worker import Worker

log = logging.getLogger(__name__)

T = TypeVar("T")
OnKey = Callable[[PeerId, bytearray, str], None]


def load_identity(config: ExchangeConfig) -> StaticIdentity:
    """Read this end's key pair.

    Raises:
        ConfigError: a file is missing, unreadable or no key.
    """
    if config.public_key is None or config.secret_key is None:
        raise ConfigError("public_key and secret_key are missing; `wgpy rosenpass gen-keys` makes a pair")
    public = _loaded(load_public_key, config.public_key)
    secret = _loaded(load_secret_key, config.secret_key)
    try:
        return StaticIdentity(public, StaticSecretKey(secret))
    finally:
        wipe(secret)


def load_peer(entry: PeerEntry) -> PeerConfig:
    """Read one peer's keys.

    Raises:
        ConfigError: a file is missing, unreadable or no key.
    """
    spkt = _loaded(load_public_key, entry.public_key, entry.where)
    psk = bytearray(32)
    if entry.pre_shared_key is not None:
        psk = _loaded(load_psk, entry.pre_shared_key, entry.where)
    return PeerConfig(spkt, psk, entry.suite, reachable=entry.endpoint is not None, osk_label=entry.osk_label)


def _loaded(load: Callable[[Path], T], path: Path, where: str = "") -> T:
    try:
        return load(path)
    except KeyFileError as error:
        raise ConfigError(str(error), where) from None


def check(config: ExchangeConfig) -> None:
    """Check everything that can be checked without talking to anybody; reads every key.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    for entry in config.peers:
        if not entry.has_output:
            raise ConfigError("a peer needs key_out, or device and peer, or its keys go nowhere", entry.where)
    identity = load_identity(config)
    if not identity.is_pair(os.urandom):
        raise ConfigError(
            f"{config.public_key} and {config.secret_key} are no pair; `wgpy rosenpass gen-keys` makes one"
        )
    seen = {identity.spkm: "this end"}
    for entry in config.peers:
        peer = load_peer(entry)
        wipe(peer.psk if isinstance(peer.psk, bytearray) else None)
        if peer.spkt in seen:
            raise ConfigError(f"{entry.public_key} is the key of {seen[peer.spkt]} too", entry.where)
        seen[peer.spkt] = str(entry.where or entry.public_key)


class Exchange:
    """Serves until stopped. A new key of a peer goes to its outputs; nothing the network does ends it.

    Args:
        config: whom to exchange keys with.
        on_key: called on the event loop once for each new key, with peer id, key and EXCHANGED or STALE.
            The key is wiped when it returns: take a copy of what is needed longer.
    """

    def __init__(self, config: ExchangeConfig, on_key: OnKey | None = None) -> None:
        self._config = config
        self._on_key = on_key
        self._outputs: dict[PeerId, Outputs] = {}
        self._endpoints: dict[PeerId, ConfiguredEndpoint] = {}
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End run(); call it on the event loop."""
        self._stopped.set()

    async def run(self) -> None:
        """Serve until stop().

        Raises:
            ConfigError: the keys or peers cannot be.
            RosenpassError: a port is in use, or a KEM is missing.
        """
        identity = load_identity(self._config)
        try:
            await self._run(identity)
        finally:
            identity.sskm.wipe()

    async def _run(self, identity: StaticIdentity) -> None:
        loop = asyncio.get_running_loop()
        server = CryptoServer(identity, os.urandom, Kems.real(os.urandom), self._config.timers)

        def deliver(actions: list[Action]) -> None:
            loop.call_soon_threadsafe(self._perform, actions)

        self._worker = Worker(server, deliver)
        self._sockets = Sockets(listen_on(self._config.listen), self._worker.submit)
        self._worker.start()
        log.info("listening on %s", ", ".join(map(str, self._sockets.addresses)))
        try:
            for entry in self._config.peers:
                await self.add_peer(entry)
            await self._stopped.wait()
        finally:
            await self._close()

    async def add_peer(self, entry: PeerEntry) -> PeerId:
        """Begin to exchange keys with one more peer, while run() runs.

        Raises:
            ConfigError: its keys cannot be, or it is a peer already.
        """
        config = load_peer(entry)
        if entry.pre_shared_key is None:
            log.warning("%s has no preshared key; `wgpy rosenpass gen-psk` makes one", entry.public_key)
        # Known before the first action can name it, which comes from another thread.
        peer_id = PeerId(KeyHashes(config.spkt, config.suite.hash).peer_id)
        if peer_id in self._outputs:
            raise ConfigError("this public key belongs to another peer already", entry.where)
        self._outputs[peer_id] = Outputs(peer_id, entry)
        if entry.endpoint is not None:
            self._endpoints[peer_id] = ConfiguredEndpoint(entry.endpoint, self._sockets.send)
        try:
            return await asyncio.wrap_future(self._worker.call(partial(_add, config)))
        except RosenpassError as error:
            self._forget(peer_id)
            raise ConfigError(str(error), entry.where) from None
        finally:
            wipe(config.psk if isinstance(config.psk, bytearray) else None)

    async def remove_peer(self, peer_id: PeerId) -> None:
        """Stop exchanging keys with a peer.

        Raises:
            UnknownPeer: it is none.
        """
        await asyncio.wrap_future(self._worker.call(lambda server, _: server.remove_peer(peer_id)))
        await self._outputs[peer_id].close()
        self._forget(peer_id)

    def _forget(self, peer_id: PeerId) -> None:
        del self._outputs[peer_id]
        if (endpoint := self._endpoints.pop(peer_id, None)) is not None:
            endpoint.close()

    async def _close(self) -> None:
        self._worker.stop()
        await asyncio.sleep(0)  # what it delivered last is on the loop already: keys reach their files
        for endpoint in self._endpoints.values():
            endpoint.close()
        for outputs in self._outputs.values():
            await outputs.close()
        self._sockets.close()

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendMessage():
                    self._send(action)
                case KeyExchanged(peer=peer, osk=osk):
                    self._hand_on(peer, osk, EXCHANGED)
                case KeyStale(peer=peer, osk=osk):
                    self._hand_on(peer, osk, STALE)
                case KeyConfirmed():
                    pass  # these outputs, like the Rust tool's, do not wait for it

    def _hand_on(self, peer: PeerId, osk: bytearray, why: str) -> None:
        outputs = self._outputs.get(peer)
        if outputs is None:  # removed while this was under way
            wipe(osk)
            return
        log.info("peer(%s): key %s", short(peer), why)
        self._call_back(peer, osk, why)
        try:
            outputs.put(osk, why)
        except Exception:  # standard output is gone, say: the next key and the other peers go on
            wipe(osk)
            log.exception("peer(%s): the key could not be handed on", short(peer))

    def _call_back(self, peer: PeerId, osk: bytearray, why: str) -> None:
        if self._on_key is None:
            return
        try:
            self._on_key(peer, osk, why)
        except Exception:  # the embedder's: what else is to be done in this batch is still done
            log.exception("peer(%s): the callback for new keys failed", short(peer))

    def _send(self, message: SendMessage) -> None:
        if message.destination is not None:
            self._sockets.send(message.datagram, message.destination)
        elif message.peer is not None and message.peer in self._endpoints:
            self._endpoints[message.peer].send(message.datagram, message.resolve)


async def serve(config: ExchangeConfig) -> None:
    """Run an exchange until SIGINT or SIGTERM. Raises as Exchange.run."""
    exchange = Exchange(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, exchange.stop)
    await exchange.run()


def short(peer: PeerId) -> str:
    """Return a peer id as logs show it."""
    text = base64.b64encode(peer).decode()
    return f"{text[:4]}…{text[-5:-1]}"


def _add(config: PeerConfig, server: CryptoServer, now: Instant) -> PeerId:
    return server.add_peer(config, now)
