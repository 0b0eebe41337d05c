"""A flood of handshakes costs the flooder a cookie's worth of answers and the honest peer a few seconds.

    h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
                                     ─── 10.99.0.66, fd99::66 the flooder, on h2

Every message of the flood carries a right mac1 (the public key is known), so only load stands in its way.
"""

import base64
import socket
from contextlib import suppress
from itertools import cycle
from types import TracebackType

import pytest
from capture import Capture
from handmade import COOKIE_REPLY, INITIATION, RESPONSE, HandmadePeer, junk_initiation
from lab import LabError, Namespace, wait_until
from traffic import Background, Echo, Numbered
from tunnel import tunnel
from wgpeer import PORT, BoringtunPeer, Peer

FLOODER, FLOODER6 = "10.99.0.66", "fd99::66"


class Flood(Background):
    """Initiations with right mac1 and nothing else, at most `per_second`: the lab has two cores for all."""

    def __init__(
        self, host: Namespace, public: str, source: str, target: str, per_second: int = 20_000
    ) -> None:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        self.socket = host.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self.socket.connect((target, PORT))
        raw = base64.b64decode(public)
        self._messages = [junk_initiation(raw, index) for index in range(2000)]
        self._pause = len(self._messages) / 10 / per_second
        self.sent = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.socket.close()

    def _run(self) -> None:
        for start in cycle(range(0, 2000, 200)):
            if self._ended.wait(self._pause):
                return
            for message in self._messages[start : start + 200]:
                with suppress(OSError):  # full, or refused while the port is not bound
                    self.socket.send(message)
                    self.sent += 1


@pytest.mark.parametrize("source", [FLOODER, FLOODER6], ids=["ipv4", "ipv6"])
def test_flooder_gets_cookies_and_the_honest_peer_a_session(other: type[Peer], source: str) -> None:
    with tunnel(other, initiator="other", both=False) as t:
        t.h2.add_address("eth0", f"{FLOODER}/24", f"{FLOODER6}/64")
        target = "fd99::1" if ":" in source else "10.99.0.1"
        answers = f"udp and src host {target} and dst host {source}"
        flood = Flood(t.h2, t.subject.keys.public, source, target)
        with Capture(t.h1, "eth0", answers) as to_flooder, flood:
            wait_until(lambda: to_flooder.messages(COOKIE_REPLY), 10, "a cookie reply")
            t.other.ping(t.subject.address4, within=40)
            assert t.subject.seen(t.other).latest_handshake > 0
        assert all(len(p.udp_payload) == 64 for p in to_flooder.messages(COOKIE_REPLY))
        assert to_flooder.messages(RESPONSE) == []
        print(f"{flood.sent} sent, {len(to_flooder.messages(COOKIE_REPLY))} cookie replies")


def test_standing_session_survives_a_flood(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        t.h2.add_address("eth0", f"{FLOODER}/24")
        flood = Flood(t.h2, t.subject.keys.public, FLOODER, "10.99.0.1")
        with Echo(t.h2, t.other.address4), flood, Numbered(t.h1, t.other.address4, per_second=200) as stream:
            wait_until(lambda: len(stream.sent) > 600, 10, "three seconds of traffic")
        assert len(stream.lost) < len(stream.sent) // 20
        t.subject.ping(t.other.address4, within=3)
        t.other.ping(t.subject.address4, within=3)


def test_flood_does_not_grow_the_process(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        process = t.subject.process
        assert process is not None
        before = process.resident_bytes()
        t.h2.add_address("eth0", f"{FLOODER}/24")
        with Flood(t.h2, t.subject.keys.public, FLOODER, "10.99.0.1", per_second=100_000) as flood:
            wait_until(lambda: flood.sent > 100_000, 30, "100,000 initiations")
        t.subject.ping(t.other.address4, within=3)
        assert process.resident_bytes() - before < 8 << 20


def test_peer_under_load_gets_our_mac2(other: type[Peer]) -> None:
    """The other end is flooded and asks us for a cookie: our next initiation carries it."""
    if other is BoringtunPeer:
        pytest.skip("boringtun limits by one counter for all and may starve anybody")
    with tunnel(other, initiator="subject", both=False) as t:
        t.h1.add_address("eth0", f"{FLOODER}/24")
        flood = Flood(t.h1, t.other.keys.public, FLOODER, "10.99.0.2", per_second=100_000)
        ours = "udp and host 10.99.0.1"
        loaded = f"udp and src host 10.99.0.2 and dst host {FLOODER}"
        with Capture(t.h1, "eth0", ours) as wire, Capture(t.h1, "eth0", loaded) as to_flooder, flood:
            wait_until(lambda: to_flooder.messages(COOKIE_REPLY), 10, "the other end to be under load")
            t.subject.ping(t.other.address4, within=40)
        assert wire.messages(COOKIE_REPLY)
        assert any(p.udp_payload[132:] != bytes(16) for p in wire.messages(INITIATION))


def test_wrong_mac1_is_not_even_counted_as_load(other: type[Peer]) -> None:
    with tunnel(other) as t:
        hand = HandmadePeer(t.h2, ("10.99.0.1", PORT), t.other.keys.public, "10.99.0.2")
        for index in range(3000):
            hand.send(junk_initiation(base64.b64decode(t.other.keys.public), index))  # another key's mac1
        with pytest.raises(LabError, match="no message of type 3"):
            hand.receive(COOKIE_REPLY, within=0.5)
        hand.close()
        t.subject.ping(t.other.address4)
