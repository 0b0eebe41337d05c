"""The keys of a session that ended are nowhere in the process: its memory is searched for them.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:random ═ a handmade peer 10.7.0.9: h2

The peer is ours by hand, so both keys of the session are known without any key log.
"""

import time
from pathlib import Path

import pytest
from handmade import HandmadePeer, Session, udp
from lab import Namespace, wait_until
from traffic import ECHO_PORT, Echo
from tunnel import LEFT
from wgpeer import PORT, Remote, WgpyPeer

pytestmark = pytest.mark.netns

US, THEM = "10.7.0.1", "10.7.0.9"
CHUNK = 1 << 20
# Keys are wiped three times this after the last session.
SHORT = {"WGPY_TIMINGS": "rekey_after_time=2,reject_after_time=3,rekey_timeout=1,keepalive_timeout=1"}


def found_in(pid: int, needles: list[bytes]) -> int:
    """How often any of these occurs in what the process can write to."""
    count, longest = 0, max(map(len, needles))
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            start, end = (int(word, 16) for word in span.split("-"))
            tail = b""
            for at in range(start, end, CHUNK):
                try:
                    memory.seek(at)
                    piece = memory.read(min(CHUNK, end - at))
                except OSError:
                    break
                count += sum((tail + piece).count(needle) for needle in needles)
                tail = piece[-longest + 1 :]
    return count


def talk(hand: HandmadePeer, session: Session) -> None:
    """Both keys are used."""
    for number in range(3):
        hand.send(session.seal(udp(THEM, US, (9, ECHO_PORT), b"question %d" % number)))
        assert b"question" in hand.receive_inner(session)


@pytest.mark.parametrize("aead", ["openssl", "ipsec_mb"])
@pytest.mark.parametrize("end", ["removed", "too old", "down"])
def test_keys_of_a_session_that_ended_are_nowhere_in_memory(
    hosts: tuple[Namespace, Namespace], end: str, aead: str
) -> None:
    h1, h2 = hosts
    environment = {"WGPY_AEAD": aead, **(SHORT if end == "too old" else {})}
    subject = WgpyPeer(h1, LEFT, environment=environment)
    subject.start()
    assert subject.process is not None
    hand = HandmadePeer(h2, ("10.99.0.1", PORT), subject.keys.public, "10.99.0.2")
    subject.configure([Remote(hand.keys.public, [THEM])])
    with Echo(h1, US):
        session = hand.shake_hands()
        talk(hand, session)
        keys = [session.send_key, session.receive_key]
        pid = subject.process.pid
        before = found_in(pid, keys)
        assert before >= 2  # so that the search can fail
        if end == "removed":
            subject.wg("peer", hand.keys.public, "remove")
        elif end == "down":
            h1.ip("link set dev wg0 down")
    begun = time.monotonic()
    wait_until(lambda: found_in(pid, keys) == 0, 15, lambda: f"no copy of {found_in(pid, keys)}", every=0.5)
    print(f"\n{aead}, {end}: {before} copies, none {time.monotonic() - begun:.1f} s later")
    hand.close()
