"""The common arrangement: the subject on h1, another peer on h2, and a tunnel between them.

h1: subject 10.7.0.1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ 10.7.0.2 other: h2
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lab import Namespace, two_hosts
from wgpeer import PORT, SUBJECT, Peer, Remote, WgpyPeer, preshared_key

LEFT = ("10.7.0.1/24", "fd07::1/64")
RIGHT = ("10.7.0.2/24", "fd07::2/64")
OUTSIDE = {4: ("10.99.0.1", "10.99.0.2"), 6: ("[fd99::1]", "[fd99::2]")}

# What the tests shorten: a session is renewed after 3 s instead of 120, refused after 8 instead of 180.
FAST_REKEY = {
    "WGPY_TIMINGS": "rekey_after_time=3,reject_after_time=8,rekey_timeout=1.5,keepalive_timeout=2,"
    "rekey_attempt_time=27"
}


@dataclass
class Tunnel:
    """Two hosts, and on each the peer at work. `outside` is the IP version that carries the tunnel."""

    h1: Namespace
    h2: Namespace
    subject: Peer
    other: Peer
    outside: int

    @property
    def subject_endpoint(self) -> str:
        return f"{OUTSIDE[self.outside][0]}:{PORT}"

    @property
    def other_endpoint(self) -> str:
        return f"{OUTSIDE[self.outside][1]}:{PORT}"

    def introduce(self, initiator: Peer, preshared: str | None = None, both: bool = False) -> None:
        """Tell each of the other. Only the initiator knows where the other is, unless `both`."""
        pairs = (
            (self.subject, self.other, self.other_endpoint),
            (self.other, self.subject, self.subject_endpoint),
        )
        # The responder first: an initiator may begin at once and would otherwise wait for its 5 s retry.
        for peer, remote, endpoint in sorted(pairs, key=lambda pair: pair[0] is initiator):
            known = endpoint if both or peer is initiator else None
            addresses = [address.split("/")[0] for address in remote.addresses]
            peer.configure([Remote(remote.keys.public, addresses, known, preshared)])


@contextmanager
def tunnel(
    other: type[Peer],
    *,
    subject: type[Peer] = SUBJECT,
    outside: int = 4,
    initiator: str = "subject",
    preshared: bool = False,
    both: bool = True,
    environment: Mapping[str, str] | None = None,
    mtu: int = 1420,
) -> Iterator[Tunnel]:
    """Both peers started and introduced; `initiator` ("subject" or "other") is configured last.

    `environment` reaches the subject, and the other too where that is wgpy.
    """
    with two_hosts() as (h1, h2):
        left = subject(h1, LEFT, environment=environment, mtu=mtu)
        right = other(h2, RIGHT, environment=environment if issubclass(other, WgpyPeer) else None, mtu=mtu)
        made = Tunnel(h1, h2, left, right, outside)
        for peer in (left, right):
            peer.start()
        made.introduce(
            left if initiator == "subject" else right, preshared_key() if preshared else None, both
        )
        yield made
