"""What a device does for post-quantum security: a policy for each peer, its gate, and the exchange.

Knows no packets and no messages. The gate of a peer stands before the peer has a way out, so that no user
packet is early.

Product: sections 5 and 6.
"""

import asyncio
from typing import TYPE_CHECKING

from tun.records import Gate
from wgpy.errors import WgpyError
from wgpy.host import Host
from wgpy.model import Instant, PeerNumber, Policy, PskKind, PublicKey
from wgpy.peer import Peer
from wgpy.rosenpass_settings import PeerSettings, RosenpassSettings

if TYPE_CHECKING:
    from wgpy.rosenpass_driver import RosenpassDriver


class PostQuantum:
    """Lives as long as the device; without settings it is plain WireGuard and costs nothing."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._settings: RosenpassSettings | None = None
        self._policies: dict[PeerNumber, Policy] = {}
        self._driver: RosenpassDriver | None = None
        self._configuring = asyncio.Lock()

    async def configure(self, settings: RosenpassSettings | None) -> None:
        """Run the exchange by these settings from now on; equal ones only open the way again.

        Raises:
            WgpyError: a key file or a port stands in the way; what ran before goes on.
        """
        async with self._configuring:
            await self._exchange_by(settings)
            self._settings = settings
            for peer in self._host.tunnel.peers():
                self._apply(peer)
            self._host.perform()
        self.way_is_open()

    def close(self) -> None:
        """End the exchange."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    # -- what happens to the device

    def peer_added(self, peer: Peer) -> None:
        """Before the peer has an endpoint."""
        if self._settings is not None:
            self._apply(peer)

    def peer_removed(self, peer: Peer) -> None:
        """Its number may be another's next."""
        self._policies.pop(peer.number, None)
        if self._driver is not None:
            self._driver.peer_removed(peer.public_key)

    def session_stands(self, number: PeerNumber, kind: PskKind) -> None:
        """A WireGuard session was confirmed."""
        if self._driver is not None:
            self._driver.session_stands(number, kind)

    def way_is_open(self) -> None:
        """The interface came up: what could not leave before may leave now."""
        if self._driver is not None:
            self._driver.way_is_open()

    def set_mark(self, mark: int) -> None:
        """The device's fwmark changed."""
        if self._driver is not None:
            self._driver.set_mark(mark)

    # -- reports

    def policy_of(self, number: PeerNumber) -> Policy:
        """OFF for a peer nothing was said of."""
        return self._policies.get(number, Policy.OFF)

    @property
    def fingerprint(self) -> str | None:
        """Of our own Rosenpass key."""
        return self._driver.fingerprint if self._driver is not None else None

    @property
    def drops(self) -> dict[str, int]:
        """The exchange's datagrams that went no further, by reason; empty without an exchange."""
        return self._driver.drops if self._driver is not None else {}

    def fingerprint_of(self, public_key: PublicKey) -> str | None:
        """Of a peer's Rosenpass key."""
        return self._driver.fingerprint_of(public_key) if self._driver is not None else None

    def renewal_of(self, number: PeerNumber) -> Instant | None:
        """When the peer's key is expected to be replaced, at the latest."""
        return self._driver.renewal_of(number) if self._driver is not None else None

    # -- within

    async def _exchange_by(self, settings: RosenpassSettings | None) -> None:
        if settings is None:
            self.close()
            return
        # Only a device with Rosenpass keys pays for these imports.
        from wgpy.rosenpass_driver import RosenpassDriver
        from wgpy.rosenpass_keys import load_keys

        keys = await asyncio.to_thread(load_keys, settings)
        if self._driver is not None and self._driver.serves(settings, keys):
            self._driver.use(settings, keys)
            return
        inherited = self._driver.outer_port if self._driver is not None else None
        try:
            driver = RosenpassDriver(self._host, settings, keys, inherited)
        except WgpyError:
            keys.wipe()
            raise
        self.close()
        self._driver = driver

    def _apply(self, peer: Peer) -> None:
        """What the settings say of this peer; of one they do not know, the interface's policy."""
        if self._settings is None:
            self.set_policy(peer, PeerSettings(peer.public_key, Policy.OFF), Gate())
            return
        found = self._settings.peer(peer.public_key) or PeerSettings(peer.public_key, self._settings.policy)
        self.set_policy(peer, found, self._gate(self._settings, found))
        if self._driver is not None:
            self._driver.peer_added(peer.public_key, peer.number)

    def _gate(self, settings: RosenpassSettings, peer: PeerSettings) -> Gate:
        local, remote = settings.control_pair(peer) or (None, None)
        if peer.policy is not Policy.STRICT:
            return Gate(control_local=local, control_remote=remote)
        return Gate(1 << PskKind.PQ, self._host.tunnel.timings.pq_key_max_age, local, remote)

    def set_policy(self, peer: Peer, settings: PeerSettings, gate: Gate) -> None:
        """A peer's policy: its interim key, and the gate its user packets have to pass."""
        policy = settings.policy
        enabled = settings.rosenpass_public_key is not None and policy is not Policy.OFF
        self._policies[peer.number] = policy
        # The gate first: between the two no packet may leave under a weaker key.
        self._host.dataplane.peer_set_gate(peer.number, gate)
        self._host.tunnel.set_rosenpass(peer.number, enabled=enabled, permissive=policy is Policy.PERMISSIVE)
        self._host.start_peer(peer.number)
        self._host.perform()
