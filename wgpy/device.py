"""One WireGuard device: composes TUN, sockets, data plane and core; what UAPI may ask of it.

Decides nothing of the protocol. Everything runs on the event loop's thread; packets run in the data plane's
threads. The UDP sockets live in the network namespace the process started in, wherever the interface
goes.

Digest: sections 11, 13, 16, 17.
"""

import asyncio
import errno
import hmac
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from tun.dataplane import DataPlane
from tun.device import LinkWatch, Tun
from tun.records import Aead, Feature
from tun.udp import UdpSockets
from wgpy import crypto, report, watch
from wgpy.constants import MAX_PEERS, Timings
from wgpy.device_sockets import DeviceSockets
from wgpy.dispatch import DataPlaneIndices, Dispatch, boot_time, wall_time
from wgpy.key_log import KeyLog
from wgpy.model import (
    KEY_LEN,
    SECOND,
    DeviceState,
    DeviceUpdate,
    Endpoint,
    Instant,
    PeerNumber,
    PeerUpdate,
    PrivateKey,
    PublicKey,
)
from wgpy.noise_native import NativeNoise
from wgpy.peer import Peer
from wgpy.post_quantum import PostQuantum
from wgpy.replies import Replies
from wgpy.rosenpass_settings import RosenpassSettings
from wgpy.tunnel import Tunnel

if TYPE_CHECKING:
    from rosenpass.constants import Timers

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25
LOOK_S: Final = 1.0  # nothing wakes us when the interface goes down in a namespace we cannot enter
DEFAULT_MTU: Final = 1420
_NO_KEY: Final = bytes(KEY_LEN)


@dataclass(frozen=True, slots=True)
class Options:
    """What a device is made with, besides its interface."""

    timings: Timings = field(default_factory=Timings)
    features: Feature = Feature.ALL
    aead: Aead = Aead.AUTO
    max_peers: int = MAX_PEERS
    rosenpass_seconds: Mapping[str, float] = field(default_factory=dict)  # shortened timers, for test labs
    key_log: KeyLog | None = None  # for test labs

    def rosenpass_timers(self) -> "Timers":
        """The exchange's timers."""
        from rosenpass.constants import Timers

        return Timers(**{name: round(value * SECOND) for name, value in self.rosenpass_seconds.items()})


class Device:
    """Runs from `start` to `close`.

    Args:
        tun: the interface; owned from now on.
        options: limits and features.
        sockets: bound ones that were handed in; kept over down and up.
        on_gone: called once when the interface was deleted or a socket died.
    """

    def __init__(
        self, tun: Tun, options: Options, sockets: UdpSockets | None, on_gone: Callable[[], None]
    ) -> None:
        self._tun = tun
        self._on_gone = on_gone
        self._timings = options.timings
        self._watch = LinkWatch(tun)
        self._watch.follow()
        self._mtu = self._watch.mtu() or DEFAULT_MTU
        self._dataplane = DataPlane(
            tun.queues,
            has_vnet_header=tun.has_vnet_header,
            mtu=self._mtu,
            features=options.features,
            aead=options.aead,
            max_peers=options.max_peers,
            reject_after_time=options.timings.reject_after_time,
            reject_after_messages=options.timings.reject_after_messages,
            rekey_after_messages=options.timings.rekey_after_messages,
        )
        self._noise = NativeNoise()
        indices = DataPlaneIndices(self._dataplane)
        self.tunnel = Tunnel(indices, os.urandom, options.timings, self._noise)
        self.post_quantum = PostQuantum(self)
        self._dispatch = Dispatch(
            self._dataplane, self.tunnel, self.post_quantum.session_stands, self._tick_at, options.key_log
        )
        self._options = options
        self._keepalive = np.zeros(options.max_peers, np.uint64)
        self._added: dict[PeerNumber, Instant] = {}
        self._numbers = 0  # the highest peer number ever given out, plus one
        self._replies = Replies(self._dataplane, self.tunnel, self.post_quantum, self._added)
        self._sockets = DeviceSockets(self._dataplane, sockets)
        self._is_up = False
        self._carries = False  # up, and with sockets
        self._is_gone = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None
        self._watched = -1
        self._waits_for_up = False

    # -- life

    def start(self) -> None:
        """Begin to move packets and to watch the interface; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._dataplane.start()
        self._loop.add_reader(self._dataplane.event_fd, self._on_events)
        self._tick()
        self._look_again()

    def close(self) -> None:
        """Stop the workers, wipe every key, close the interface. Twice is once."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._dataplane.event_fd)
        for timer in (self._ticker, self._looker):
            if timer is not None:
                timer.cancel()
        self._unwatch()
        self._loop = None
        self.post_quantum.close()
        for peer in self.tunnel.peers():
            self.tunnel.remove_peer(peer.number)
        self._noise.wipe()
        self._dataplane.close()
        self._sockets.close()
        self._watch.close()
        self._tun.close()
        if self._options.key_log is not None:
            self._options.key_log.close()

    @property
    def name(self) -> str:
        """The interface's present name."""
        return self._tun.name

    @property
    def dataplane(self) -> DataPlane:
        """The packets' side, where the gates are."""
        return self._dataplane

    # -- what UAPI asks

    def answer_get(self) -> Iterator[bytes]:
        """The reply to get=1, in pieces."""
        identity = self.tunnel.identity
        private_key = identity.private_key if identity is not None else None
        return self._replies.get(DeviceState(private_key, self._sockets.port, self._sockets.mark, ()))

    def answer_status(self) -> Iterator[bytes]:
        """The reply to our own request, in pieces; no secrets."""
        return self._replies.status(self._report())

    def apply(self, update: DeviceUpdate) -> None:
        """Do a whole set=1.

        Raises:
            OSError: EADDRINUSE for a port that is taken, EPERM for a mark without CAP_NET_ADMIN, ENOSPC for
                too many peers. What came before stays done.
        """
        try:
            if update.private_key is not None:
                self._set_private_key(update.private_key)
                self._dispatch.perform()  # or each peer removed below would look through this of all others
            if update.listen_port is not None and update.listen_port != self._sockets.port:
                self._sockets.set_port(update.listen_port)
                self._forget_sources()
            if update.fwmark is not None and update.fwmark != self._sockets.mark:
                self._set_mark(update.fwmark)
            if update.replace_peers:
                for peer in self.tunnel.peers():
                    self._remove_peer(peer)
            for section in update.peers:
                self._apply_peer(section)
        finally:
            self._dispatch.perform()

    async def configure_rosenpass(self, settings: RosenpassSettings | None) -> None:
        """Run the exchange by these settings from now on; WgpyError says why not."""
        await self.post_quantum.configure(settings)

    # -- what wgpy.post_quantum asks

    @property
    def mark(self) -> int:
        """SO_MARK of the UDP sockets, 0 = none."""
        return self._sockets.mark

    def rosenpass_timers(self) -> "Timers":
        """The exchange's."""
        return self._options.rosenpass_timers()

    def start_peer(self, number: PeerNumber) -> None:
        """The peer is configured: what waits may go."""
        self.tunnel.start_peer(number, boot_time(), wall_time(), self._dispatch.activity(number))

    def perform(self) -> None:
        """Carry out what a direct call of `tunnel` left to do."""
        self._dispatch.perform()

    # -- configuration

    def _set_private_key(self, private_key: PrivateKey) -> None:
        key = None if hmac.compare_digest(private_key, _NO_KEY) else PrivateKey(crypto.clamp(private_key))
        removed = self.tunnel.set_private_key(key, boot_time())
        self._noise.wipe()
        if removed is not None:
            self._forget_peer(removed)
        identity = self.tunnel.identity
        self._dataplane.set_identity(identity.public_key if identity is not None else None)

    def _set_mark(self, mark: int) -> None:
        self._sockets.set_mark(mark)
        self.post_quantum.set_mark(mark)
        self._forget_sources()

    def _forget_sources(self) -> None:
        for peer in self.tunnel.peers():
            self._dataplane.peer_clear_source(peer.number)

    def _apply_peer(self, section: PeerUpdate) -> None:
        identity = self.tunnel.identity
        if identity is not None and section.public_key == identity.public_key:
            return
        peer = self.tunnel.find_peer(section.public_key)
        if section.remove:
            if peer is not None:
                self._remove_peer(peer)
            return
        if peer is None:
            if section.update_only:
                return
            peer = self._add_peer(section.public_key)
        self._configure_peer(peer, section)

    def _configure_peer(self, peer: Peer, section: PeerUpdate) -> None:
        number, now, wall = peer.number, boot_time(), wall_time()
        if section.endpoint is not None:
            self._dataplane.peer_set_endpoint(number, Endpoint(section.endpoint))
            self.tunnel.set_endpoint_known(number)
        if section.replace_allowed_ips:
            self._dataplane.allowed_ips_clear(number)
        for change in section.allowed_ips:
            if change.remove:
                self._dataplane.allowed_ip_remove(number, change.prefix)
            else:
                self._dataplane.allowed_ip_insert(number, change.prefix)
        if section.preshared_key is not None:
            activity = self._dispatch.activity(number)
            self.tunnel.set_preshared_key(number, section.preshared_key, now, wall, activity)
        if section.persistent_keepalive is not None:
            self._keepalive[number] = section.persistent_keepalive * SECOND
            self.tunnel.set_persistent_keepalive(
                number, section.persistent_keepalive, now, wall, self._dispatch.activity(number)
            )
        self.start_peer(number)
        self._dispatch.perform()

    def _add_peer(self, public_key: PublicKey) -> Peer:
        number = PeerNumber(self._dataplane.peer_add())
        self.tunnel.add_peer(number, public_key)
        self._keepalive[number] = 0
        self._added[number] = boot_time()
        self._numbers = max(self._numbers, number + 1)
        peer = self.tunnel.peer(number)
        self.post_quantum.peer_added(peer)
        logger.info("%s added", peer)
        return peer

    def _remove_peer(self, peer: Peer) -> None:
        self.tunnel.remove_peer(peer.number)
        self._forget_peer(peer)
        logger.info("%s removed", peer)

    def _forget_peer(self, peer: Peer) -> None:
        self._dataplane.peer_remove(peer.number)
        self._added.pop(peer.number, None)
        self._keepalive[peer.number] = 0
        self.post_quantum.peer_removed(peer)

    def _report(self) -> dict[str, object]:
        identity = self.tunnel.identity
        return {
            "schema": 1,
            "interface": self._tun.name,
            "public_key": report.base64_text(identity.public_key) if identity is not None else None,
            "listen_port": self._sockets.port,
            "fwmark": self._sockets.mark,
            "mtu": self._mtu,
            "features": report.feature_names(self._dataplane.features),
            "aead": self._dataplane.aead_name,
            "workers": self._dataplane.workers,
            "drops": {
                **self._dataplane.drops,
                **self._dispatch.refused,
                **self.post_quantum.drops,
            },
            "fingerprint": self.post_quantum.fingerprint,
        }

    # -- events and time

    def _on_events(self) -> None:
        if self._loop is None:
            return  # closed since this was put on the loop
        if self._dispatch.take_events() and self._loop is not None:
            # A batch at a time, so that a flood of handshakes does not keep timers and UAPI waiting.
            self._loop.call_soon(self._on_events)
        if self._dispatch.device_error:
            self._gone()

    def _tick(self) -> None:
        assert self._loop is not None
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        self._tick_peers(boot_time())

    def _tick_at(self, moment: Instant) -> None:
        if self._loop is not None:
            # A millisecond more: the loop's clock is that coarse, and too early is in vain.
            self._loop.call_later(max(0, moment - boot_time()) / SECOND + 0.001, self._tick_once)

    def _tick_once(self) -> None:
        if self._loop is not None:  # else closed meanwhile
            self._tick_peers(boot_time())

    def _tick_peers(self, now: Instant) -> None:
        numbers = set(self.tunnel.due_by(now))
        ever = self._numbers
        restless = watch.restless(self._dataplane.records[:ever], self._keepalive[:ever], now, self._timings)
        numbers.update(PeerNumber(int(number)) for number in restless)
        if numbers:
            activity = {number: self._dispatch.activity(number) for number in sorted(numbers)}
            self.tunnel.tick(now, wall_time(), activity)
            self._dispatch.perform()

    # -- the interface: up, down, MTU, gone

    def _look_again(self) -> None:
        assert self._loop is not None
        self._looker = self._loop.call_later(LOOK_S, self._look_again)
        self._look()

    def _on_link_message(self) -> None:
        self._watch.drain()
        self._look()

    def _look(self) -> None:
        try:
            self._tun.name  # noqa: B018  (DeviceGone where the interface was deleted)
        except OSError:
            self._gone()
            return
        if self._watch.follow() or self._watched < 0:
            self._rewatch()
        mtu = self._watch.mtu()
        if mtu is not None and mtu != self._mtu:
            self._mtu = mtu
            self._dataplane.set_mtu(mtu)
        is_up = self._tun.is_up
        if is_up and not self._is_up:
            self._up()
        elif self._is_up and not is_up:
            self._down()
        elif self._is_up and not self._carries:
            with suppress(OSError):  # the port may be free by now
                self._start_traffic()
        self._wait_for_up()

    def _rewatch(self) -> None:
        assert self._loop is not None
        if self._watched >= 0:
            self._loop.remove_reader(self._watched)
        self._watched = self._watch.fileno()
        if self._watched >= 0:
            self._loop.add_reader(self._watched, self._on_link_message)

    def _wait_for_up(self) -> None:
        """While down, the TUN becoming writable is what says up, also from another namespace."""
        assert self._loop is not None
        if self._is_up == (not self._waits_for_up):
            return
        self._waits_for_up = not self._is_up
        if self._waits_for_up:
            self._loop.add_writer(self._tun.fd, self._look)
        else:
            self._loop.remove_writer(self._tun.fd)

    def _unwatch(self) -> None:
        assert self._loop is not None
        if self._watched >= 0:
            self._loop.remove_reader(self._watched)
            self._watched = -1
        if self._waits_for_up:
            self._loop.remove_writer(self._tun.fd)
            self._waits_for_up = False

    def _up(self) -> None:
        self._is_up = True
        try:
            self._start_traffic()
        except OSError as error:
            logger.error("cannot open the UDP sockets, trying on: %s", error.strerror)

    def _start_traffic(self) -> None:
        self._sockets.carry()
        self._carries = True
        activity = {peer.number: self._dispatch.activity(peer.number) for peer in self.tunnel.peers()}
        self.tunnel.device_up(boot_time(), wall_time(), activity)
        self._dispatch.perform()
        self.post_quantum.way_is_open()
        logger.info("interface up, port %d", self._sockets.port)

    def _down(self) -> None:
        self._is_up = self._carries = False
        self.tunnel.device_down()
        self._dispatch.perform()
        self._sockets.rest()
        logger.info("interface down")

    def _gone(self) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        number = self._dispatch.device_error or errno.EBADFD
        logger.info("the interface is gone: %s", os.strerror(number))
        with suppress(OSError):
            self._sockets.rest()
        self._on_gone()
