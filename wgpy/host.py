"""What post-quantum security asks of the device it serves. Edge, but of types alone."""

from typing import TYPE_CHECKING, Protocol

from tun.dataplane import DataPlane
from wgpy.model import PeerNumber
from wgpy.tunnel import Tunnel

if TYPE_CHECKING:
    from rosenpass.constants import Timers


class Host(Protocol):
    """The device, as wgpy.post_quantum and wgpy.rosenpass_driver see it."""

    @property
    def tunnel(self) -> Tunnel:
        """The core whose rings take the keys."""

    @property
    def dataplane(self) -> DataPlane:
        """Where the gates are."""

    @property
    def name(self) -> str:
        """The interface."""

    @property
    def mark(self) -> int:
        """SO_MARK of what leaves outside the tunnel."""

    def rosenpass_timers(self) -> "Timers":
        """The exchange's."""

    def start_peer(self, number: PeerNumber) -> None:
        """The peer is configured: what waits may go."""

    def perform(self) -> None:
        """Carry out what the core asks for."""
