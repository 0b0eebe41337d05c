"""The thread around a CryptoServer: bounded, prompt under a flood, and it ends when told."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest
from support.rosenpass_lab import START, make_end

from rosenpass.actions import Action, KeyExchanged, KeyStale, SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import Instant, Role
from rosenpass.errors import UnknownPeer
from rosenpass.identity import Kems, StaticIdentity
from rosenpass.kem import StaticKem, StaticSecretKey
from rosenpass.msgs import InitHello
from rosenpass.peers import PeerConfig, PeerId
from rosenpass.server import CryptoServer
from rosenpass.standalone.inbox import INIT_HELLO_SLOTS, OTHER_SLOTS, Inbox
from rosenpass.standalone.worker import Worker

A, B = Address(IPv4Address("192.0.2.1"), 1), Address(IPv4Address("192.0.2.2"), 2)


def test_a_flood_of_init_hello_pushes_out_init_hello_only() -> None:
    inbox = Inbox()
    for i in range(OTHER_SLOTS):
        inbox.put(b"\x82" + i.to_bytes(4), A)
    for i in range(10_000):
        inbox.put(b"\x81" + i.to_bytes(4), A)
    taken = []
    while (arrival := inbox.take()) is not None:
        taken.append(arrival.datagram)
    assert [d[0] for d in taken] == [0x82] * OTHER_SLOTS + [0x81] * INIT_HELLO_SLOTS
    assert taken[-1] == b"\x81" + (9999).to_bytes(4), "the oldest made room"
    assert inbox.dropped == 10_000 - INIT_HELLO_SLOTS


def test_the_other_queue_is_bounded_too_and_giants_are_not_kept() -> None:
    inbox = Inbox()
    for i in range(OTHER_SLOTS + 10):
        inbox.put(b"\x84" + i.to_bytes(4), A)
    inbox.put(bytes(65535), A)
    inbox.put(b"", A)
    assert inbox.dropped == 12
    assert inbox.take().datagram == b"\x84" + (10).to_bytes(4)


class Wire:
    """Two workers joined by a queue; what `pass_` refuses is lost."""

    def __init__(self, servers: dict[Address, CryptoServer]) -> None:
        self.keys: dict[Address, list[tuple[float, bytes]]] = {a: [] for a in servers}
        self.lost_types: set[int] = set()
        self.to_others: queue.SimpleQueue[SendMessage] = queue.SimpleQueue()
        self.workers = {a: Worker(s, self._deliver_of(a)) for a, s in servers.items()}
        for worker in self.workers.values():
            worker.start()

    def _deliver_of(self, own: Address) -> object:
        other = {A: B, B: A}[own]

        def deliver(actions: list[Action]) -> None:
            for action in actions:
                match action:
                    case SendMessage(destination=destination, datagram=datagram):
                        to = destination or other
                        if to in self.workers and datagram[0] not in self.lost_types:
                            self.workers[to].submit(datagram, own)
                    case KeyExchanged(osk=osk):
                        self.keys[own].append((time.monotonic(), bytes(osk)))

        return deliver

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()


@pytest.fixture(scope="module")
def key_pairs() -> list[tuple[bytes, bytearray]]:
    kem = StaticKem(188, os.urandom)
    return [kem.keypair() for _ in range(2)]


@pytest.fixture
def wire(key_pairs: list[tuple[bytes, bytearray]]) -> Iterator[Wire]:
    servers = {
        address: CryptoServer(
            StaticIdentity(public, StaticSecretKey(secret)), os.urandom, Kems.real(os.urandom)
        )
        for address, (public, secret) in zip((A, B), key_pairs, strict=True)
    }
    wire = Wire(servers)
    yield wire
    wire.stop()


def introduce(wire: Wire, key_pairs: list[tuple[bytes, bytearray]]) -> tuple[PeerId, PeerId]:
    spk_a, spk_b = key_pairs[0][0], key_pairs[1][0]
    b = wire.workers[B].call(lambda s, now: s.add_peer(PeerConfig(spk_a), now)).result(5)
    a = wire.workers[A].call(lambda s, now: s.add_peer(PeerConfig(spk_b, reachable=True), now)).result(5)
    return a, b


def wait_for(condition: object, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_two_workers_exchange_a_key(wire: Wire, key_pairs: list[tuple[bytes, bytearray]]) -> None:
    introduce(wire, key_pairs)
    assert wait_for(lambda: wire.keys[A] and wire.keys[B], 5)
    assert wire.keys[A][0][1] == wire.keys[B][0][1]


class Flood(threading.Thread):
    """About 1,000 InitHello a second with good macs, from many addresses or one."""

    def __init__(self, worker: Worker, spk: bytes, many: bool) -> None:
        super().__init__(daemon=True)
        from rosenpass.constants import HashVariant
        from rosenpass.identity import KeyHashes

        self._hashes = KeyHashes(spk, HashVariant.BLAKE2B)
        self._worker = worker
        self._many = many
        self.sent = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        begun = time.monotonic()
        while not self.stopping.wait(0.01):
            while self.sent < (time.monotonic() - begun) * 1000:
                payload = InitHello(
                    os.urandom(4), os.urandom(800), os.urandom(188), os.urandom(48), os.urandom(16)
                ).pack()
                mac = self._hashes.domains.hash(self._hashes.mac_key, payload)[:16]
                host = 1 + self.sent % 60_000 if self._many else 1
                source = Address(IPv4Address("198.18.0.0") + host, 9)
                self._worker.submit(payload + mac + bytes(16), source)
                self.sent += 1


@pytest.mark.flaky(reruns=1)  # five seconds of a machine that is seldom ours alone
@pytest.mark.parametrize("many", [False, True], ids=["one source", "sixty thousand sources"])
@pytest.mark.parametrize("cookies", [True, False], ids=["peer with cookies", "peer without"])
def test_under_1000_forged_init_hello_per_second_a_peer_completes_within_5_s(
    wire: Wire,
    key_pairs: list[tuple[bytes, bytearray]],
    many: bool,
    cookies: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """A peer without cookies (every release) comes through from an address of its own or a known one."""
    if not cookies:
        wire.lost_types = {0x86}
    peers = introduce(wire, key_pairs)
    if not cookies and many:
        assert wait_for(lambda: wire.keys[B], 5)  # heard once before: its address is known
    flood = Flood(wire.workers[B], key_pairs[1][0], many)
    flood.start()
    time.sleep(1.5)
    before = len(wire.keys[B])
    begun = time.monotonic()
    wire.workers[A].call(lambda s, now: s.initiate(peers[0], now)).result(5)
    done = wait_for(lambda: len(wire.keys[B]) > before and wire.keys[A][-1][1] == wire.keys[B][-1][1], 5)
    elapsed = time.monotonic() - begun
    flood.stopping.set()
    flood.join()
    server = wire.workers[B]._server
    record_property("seconds", round(elapsed, 3))
    record_property("decapsulations", server.decapsulations)
    assert done
    assert server.cookies_demanded > 0


def test_an_exception_of_a_call_reaches_the_caller_and_the_worker_lives() -> None:
    end = make_end("a", 1)
    worker = Worker(end.server, lambda _: None)
    worker.start()
    with pytest.raises(UnknownPeer):
        worker.call(lambda s, _: s.status(PeerId(b"nobody"))).result(5)
    assert worker.call(lambda s, _: len(s.refused)).result(5) == 0
    worker.stop()
    worker.stop()
    with pytest.raises(RuntimeError):
        worker.call(lambda s, _: None)


def test_timers_run_without_any_datagram() -> None:
    a, b = make_end("a", 2), make_end("b", 2)
    sent: list[float] = []
    worker = Worker(a.server, lambda actions: sent.extend(time.monotonic() for _ in actions))
    worker.start()
    worker.call(lambda s, now: s.add_peer(PeerConfig(b.spk, reachable=True), now)).result(5)
    worker.call(lambda s, now: s.initiate(PeerId(next(iter(s._peers)).id), now)).result(5)
    assert wait_for(lambda: len(sent) >= 2, 3)
    worker.stop()


def test_a_bug_in_the_core_is_loud_and_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    end = make_end("a", 3)
    worker = Worker(end.server, lambda _: None)
    end.server.receive = lambda *_: 1 / 0
    worker.start()
    worker.submit(b"\x84" + bytes(63), A)
    assert wait_for(lambda: "stumbled" in caplog.text, 3)
    assert worker.call(lambda s, _: 7).result(5) == 7
    worker.stop()


@pytest.mark.parametrize("place", ["next_deadline", "take_actions"])
def test_a_bug_anywhere_in_a_turn_does_not_end_the_thread_and_stop_still_wipes(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    end = make_end("a", 4)
    worker = Worker(end.server, lambda _: None)
    failures, sound = [ZeroDivisionError, KeyError], getattr(end.server, place)

    def failing_twice() -> object:
        if failures:
            raise failures.pop()
        return sound()

    setattr(end.server, place, failing_twice)
    worker.start()
    worker.call(lambda s, _: None)
    assert wait_for(lambda: caplog.text.count("stumbled") >= 1, 3)
    assert worker.call(lambda s, _: 7).result(5) == 7
    worker.stop()
    assert not any(end.server._response_key)


def test_a_peer_that_comes_while_the_worker_stops_leaves_no_preshared_key() -> None:
    end = make_end("a", 0)
    worker = Worker(end.server, lambda actions: None, lambda: START)
    added: list[bytearray] = []

    def add(server: CryptoServer, now: Instant) -> None:
        peer = server.add_peer(PeerConfig(make_end("b", 0).spk, b"p" * 32), now)
        added.append(server._peers.by_id(peer).psk)

    done = worker.call(add)
    worker._stopping = True  # as stop() on another thread
    worker._run()
    assert done.done()
    assert not any(added[0])


def test_keys_that_cannot_be_delivered_are_wiped(caplog: pytest.LogCaptureFixture) -> None:
    """The event loop may be closed already."""
    end, keys = make_end("a", 5), [bytearray(b"k" * 32), bytearray(b"s" * 32)]

    def deliver(_: list[Action]) -> None:
        raise RuntimeError("Event loop is closed")

    worker = Worker(end.server, deliver)
    end.server._actions += [
        KeyExchanged(PeerId(b"p"), keys[0], Role.RESPONDER, START),
        KeyStale(PeerId(b"p"), keys[1]),
    ]
    worker.start()
    worker.call(lambda s, _: None).result(5)
    assert wait_for(lambda: "stumbled" in caplog.text, 3)
    assert not any(keys[0] + keys[1])
    worker.stop()
