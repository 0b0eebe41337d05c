"""Between the core and the data plane: one match from action to call, one from event to verb.

Decides nothing.
"""

import errno
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

from tun.dataplane import DataPlane
from tun.records import Event, EventKind
from wgpy import crypto, watch
from wgpy.actions import (
    Action,
    ClearKeypairs,
    ClearSource,
    DropStaged,
    Flush,
    InstallKeypair,
    PeerAuthenticated,
    SendHandshake,
    SessionStands,
    StopSending,
    TickAt,
)
from wgpy.errors import (
    AuthenticationError,
    MalformedMessage,
    RemoteError,
    ReplayError,
    StateError,
    UnknownPeer,
)
from wgpy.key_log import KeyLog
from wgpy.log import Rate
from wgpy.model import Endpoint, Instant, PeerNumber, PskKind, SocketAddress, WallTime
from wgpy.timers import IDLE, Activity
from wgpy.tunnel import Tunnel

logger = logging.getLogger(__name__)

# How a refusal of the core is counted, beside the data plane's own reasons.
_REASONS: dict[type[RemoteError], str] = {
    MalformedMessage: "handshake_malformed",
    AuthenticationError: "handshake_authentication",
    ReplayError: "handshake_replay",
    StateError: "handshake_state",
    UnknownPeer: "handshake_stranger",
}

# The network's answers to a handshake message are no news: the next resend tries again.
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EDESTADDRREQ, errno.ECONNREFUSED}


def boot_time() -> Instant:
    """Now, in ns since boot; counts suspend."""
    return Instant(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def wall_time() -> WallTime:
    """Now, in ns since the Unix epoch."""
    return WallTime(time.time_ns())


OnSession = Callable[[PeerNumber, PskKind], None]
TickAtMoment = Callable[[Instant], None]


class DataPlaneIndices:
    """The data plane's index table, as the core asks for it."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def reserve(self, peer: PeerNumber) -> int:
        """A fresh index that now belongs to the peer."""
        return self._dataplane.index_reserve(peer)

    def release(self, index: int) -> None:
        """Give back the index of a handshake that came to nothing."""
        with suppress(OSError):  # it may have become a keypair's, or gone with its peer
            self._dataplane.index_release(index)


class Dispatch:
    """Carries values both ways.

    Args:
        on_session: hears of each session that was confirmed.
        tick_at: has the peers that are due looked at then, and not only at the next regular look.
        key_log: test labs only.

    Attributes:
        refused: messages the core refused, by reason.
        device_error: errno of the TUN or a socket that is gone for good, 0 while all is well.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        tunnel: Tunnel,
        on_session: OnSession,
        tick_at: TickAtMoment,
        key_log: KeyLog | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._tunnel = tunnel
        self._on_session = on_session
        self._tick_at = tick_at
        self._key_log = key_log
        self._rate = Rate()
        self.refused: Counter[str] = Counter()
        self.device_error = 0

    def activity(self, number: PeerNumber) -> Activity:
        """The peer's stamps as they are now."""
        return watch.activity_of(self._dataplane.records[number])

    def take_events(self) -> bool:
        """Handle what waits, a batch of it; returns whether there may be more."""
        events = self._dataplane.events()
        for event in events:
            try:
                self._take(event)
            except OSError as error:  # the index table is full, or memory is out: the others shall not suffer
                logger.warning("%s was lost: %s", event.kind.name, error.strerror)
        return bool(events)

    def _take(self, event: Event) -> None:
        now, wall, peer = boot_time(), wall_time(), PeerNumber(event.peer)
        match event.kind:
            case EventKind.HANDSHAKE:
                self._receive(event, now, wall)
            case EventKind.WANT_SESSION:
                self._tunnel.want_session(peer, now, wall, self._activity_or_idle(peer))
            case EventKind.CONFIRMED:
                self._tunnel.session_confirmed(peer, event.index, now, wall)
            case EventKind.DEVICE_GONE:
                self.device_error = event.error or errno.EBADFD
            case _:
                assert_never(event.kind)
        self.perform()

    def _receive(self, event: Event, now: Instant, wall: WallTime) -> None:
        assert event.source is not None
        remote = event.source.remote
        source = Endpoint(
            SocketAddress(remote.ip, remote.port, remote.scope_id), event.source.local, event.source.ifindex
        )
        try:
            self._tunnel.receive(event.message, source, now, wall)
        except RemoteError as error:
            self.refused[_REASONS[type(error)]] += 1
            if self._rate.allows():
                logger.debug("%s from %s: %s", type(error).__name__, source.remote, error)

    def _activity_or_idle(self, number: PeerNumber) -> Activity:
        return self.activity(number) if number < len(self._dataplane.records) else IDLE

    def perform(self) -> None:
        """Do what the core asked for, in its order."""
        for action in self._tunnel.take_actions():
            try:
                self._perform(action)
            except OSError as error:
                level = logging.DEBUG if error.errno in _NO_WAY else logging.WARNING
                logger.log(level, "%s for peer %d: %s", type(action).__name__, action.peer, error.strerror)

    def _perform(self, action: Action) -> None:
        plane, peer = self._dataplane, action.peer
        # Nothing is bound in the patterns: on Python 3.11 each would leave a string in the method cache.
        match action:
            case SendHandshake():
                plane.send_handshake(peer, action.message)
            case PeerAuthenticated():
                plane.peer_authenticated(peer, action.source, action.length)
            case InstallKeypair():
                self._install(action)
            case Flush():
                plane.peer_flush(peer, keepalive=action.keepalive)
            case DropStaged():
                plane.peer_drop_staged(peer)
            case ClearKeypairs():
                plane.keypairs_clear(peer)
            case StopSending():
                plane.keypairs_stop_sending(peer)
            case ClearSource():
                plane.peer_clear_source(peer)
            case SessionStands():
                self._on_session(peer, action.psk_kind)
            case TickAt():
                self._tick_at(action.moment)
            case _:
                assert_never(action)

    def _install(self, action: InstallKeypair) -> None:
        if self._key_log is not None:
            self._key_log.installed(action)
        try:
            self._dataplane.keypair_install(
                action.peer,
                send_key=action.send_key,
                receive_key=action.receive_key,
                local_index=action.local_index,
                remote_index=action.remote_index,
                birthdate=action.birthdate,
                is_initiator=action.is_initiator,
                psk_kind=action.psk_kind,
                psk_birthdate=action.psk_birthdate,
            )
        finally:
            crypto.wipe(action.send_key)
            crypto.wipe(action.receive_key)
