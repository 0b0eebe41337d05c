"""Two CryptoServers without a network: toy KEMs for speed, recorded ones for vectors, and a link that
loses."""

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from support.seeded import seeded_bytes

from rosenpass.actions import Action, KeyConfirmed, KeyExchanged, KeyStale, SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import DEFAULT_TIMERS, MILLISECOND, Instant, Timers
from rosenpass.identity import Kems, StaticIdentity
from rosenpass.peers import PeerConfig, PeerId
from rosenpass.server import CryptoServer

NOBODY = PeerId(b"")
START = Instant(1_000 * 1_000_000_000)


class ToyKem:
    """A KEM with the right lengths and no security: the public key is the hash of the secret key."""

    def __init__(
        self, ciphertext_len: int, public_key_len: int, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.ciphertext_len = ciphertext_len
        self.public_key_len = public_key_len
        self._random = random_bytes

    def keypair(self) -> tuple[bytes, bytearray]:
        secret = bytearray(self._random(32))
        return self.public_key(secret), secret

    def public_key(self, secret: bytes | bytearray) -> bytes:
        return hashlib.shake_256(b"public" + secret).digest(self.public_key_len)

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        ciphertext = self._random(self.ciphertext_len)
        return ciphertext, bytearray(hashlib.sha256(public_key + ciphertext).digest())

    def decaps(self, secret_key: bytes | bytearray, ciphertext: bytes) -> bytearray:
        return bytearray(hashlib.sha256(self.public_key(secret_key) + ciphertext).digest())


class RecordedKem:
    """Gives out what was recorded; opens ciphertexts with the real mechanism."""

    def __init__(
        self,
        real: object,
        keypairs: Iterable[tuple[bytes, bytes]] = (),
        encapsulations: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self._real = real
        self._keypairs = deque(keypairs)
        self._encapsulations = deque(encapsulations)
        self.ciphertext_len = real.ciphertext_len
        self.public_key_len = real.public_key_len

    def keypair(self) -> tuple[bytes, bytearray]:
        public, secret = self._keypairs.popleft()
        return public, bytearray(secret)

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        ciphertext, shared = self._encapsulations.popleft()
        return ciphertext, bytearray(shared)

    def decaps(self, secret_key: object, ciphertext: bytes) -> bytearray:
        return self._real.decaps(secret_key, ciphertext)


class ScriptedRandom:
    """Recorded draws by their length, then zeros of the right length where nothing was recorded."""

    def __init__(self, *draws: bytes) -> None:
        self._draws: dict[int, deque[bytes]] = {}
        for draw in draws:
            self._draws.setdefault(len(draw), deque()).append(draw)
        self._more = seeded_bytes("more")

    def __call__(self, length: int) -> bytes:
        queue = self._draws.get(length)
        return queue.popleft() if queue else self._more(length)


def toy_kems(seed: object, public_key_len: int = 64) -> Kems:
    draw = seeded_bytes(f"kem {seed}")
    return Kems(
        {form: ToyKem(form, public_key_len, draw) for form in (188, 156)},
        ToyKem(768, 800, draw),
    )


@dataclass
class End:
    """One server, what it was told to do and what it output."""

    name: str
    server: CryptoServer
    address: Address
    spk: bytes
    peer: PeerId = NOBODY
    keys: list[bytes] = field(default_factory=list)
    exchanged: list[KeyExchanged] = field(default_factory=list)
    confirmed: int = 0
    stale: int = 0
    sent: Counter[int] = field(default_factory=Counter)

    def handle(self, other: Address) -> list[tuple[bytes, Address]]:
        """Take the actions; return the datagrams with their destinations."""
        out = []
        for action in self.server.take_actions():
            match action:
                case SendMessage(destination=destination, datagram=datagram):
                    self.sent[datagram[0]] += 1
                    out.append((datagram, destination or other))
                case KeyExchanged(osk=osk):
                    self.keys.append(bytes(osk))
                    self.exchanged.append(action)
                case KeyConfirmed():
                    self.confirmed += 1
                case KeyStale(osk=osk):
                    self.stale += 1
                    self.keys.append(bytes(osk))
        return out


def make_end(name: str, seed: object, timers: Timers = DEFAULT_TIMERS, kems: Kems | None = None) -> End:
    kems = kems or toy_kems(f"{name} {seed}")
    public, secret = kems.static[188].keypair()
    server = CryptoServer(StaticIdentity(public, secret), seeded_bytes(f"{name} {seed}"), kems, timers)
    number = 1 + sum(name.encode()) % 200
    return End(name, server, Address(IPv4Address(f"192.0.2.{number}"), 9999), public)


def make_pair(
    seed: object = 0, timers: Timers = DEFAULT_TIMERS, now: Instant = START, **config: object
) -> tuple[End, End]:
    """Two ends that know each other; `a` has the initiative, `b` answers, unless `config` says otherwise."""
    a, b = make_end("a", seed, timers), make_end("b", seed, timers)
    psk = seeded_bytes(f"psk {seed}")(32)
    a.peer = a.server.add_peer(PeerConfig(b.spk, psk, **{"reachable": True} | config), now)
    b.peer = b.server.add_peer(PeerConfig(a.spk, psk, **config), now)
    return a, b


class Link:
    """Carries datagrams between two ends and moves time from event to event.

    Args:
        fate: for each datagram the delays in ns after which a copy arrives; none for a lost one.
    """

    def __init__(
        self, a: End, b: End, fate: Callable[[End, bytes], list[int]] = lambda *_: [MILLISECOND]
    ) -> None:
        self.ends = {a.address: a, b.address: b}
        self.now = START
        self.fate = fate
        self._flying: list[tuple[Instant, int, Address, Address, bytes]] = []
        self._serial = 0

    def other(self, end: End) -> End:
        return next(known for known in self.ends.values() if known is not end)

    def flush(self) -> None:
        for end in self.ends.values():
            for datagram, destination in end.handle(self.other(end).address):
                for delay in self.fate(end, datagram):
                    self._serial += 1
                    arrival = Instant(self.now + delay)
                    self._flying.append((arrival, self._serial, end.address, destination, datagram))

    def run(self, duration: int) -> None:
        """Live through `duration` ns."""
        end_of_run = Instant(self.now + duration)
        self.flush()
        while True:
            moments = [end.server.next_deadline() for end in self.ends.values()]
            moments.append(min((entry[0] for entry in self._flying), default=None))
            at = min((moment for moment in moments if moment is not None), default=None)
            if at is None or at > end_of_run:
                break
            self.now = Instant(max(self.now, at))
            self._deliver()
            for end in self.ends.values():
                end.server.tick(self.now)
            self.flush()
        self.now = end_of_run

    def _deliver(self) -> None:
        arrived = sorted(entry for entry in self._flying if entry[0] <= self.now)
        self._flying = [entry for entry in self._flying if entry[0] > self.now]
        for _, _, source, destination, datagram in arrived:
            if destination in self.ends:
                self.ends[destination].server.receive(datagram, source, self.now)


def sends(actions: list[Action]) -> list[SendMessage]:
    return [action for action in actions if isinstance(action, SendMessage)]


def bad_weather(
    seed: int, loss: float, duplicate: float, max_delay: int
) -> Callable[[End, bytes], list[int]]:
    chance = random.Random(seed)

    def fate(_end: End, _datagram: bytes) -> list[int]:
        if chance.random() < loss:
            return []
        copies = 2 if chance.random() < duplicate else 1
        return [chance.randrange(MILLISECOND, max_delay) for _ in range(copies)]

    return fate


def snapshot(server: CryptoServer) -> str:
    """All state that matters, with secrets, in one comparable text."""

    def of(value: object, seen: frozenset[int] = frozenset()) -> str:
        if id(value) in seen:
            return "..."
        inside = seen | {id(value)}
        if isinstance(value, bytes | bytearray):
            return bytes(value).hex() if len(value) < 4000 else f"{len(value)} bytes"
        if isinstance(value, dict):
            return "{" + ",".join(f"{of(k, inside)}:{of(v, inside)}" for k, v in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ",".join(of(v, inside) for v in value) + "]"
        if type(value).__module__.startswith("rosenpass."):
            names = getattr(value, "__slots__", None) or vars(value)
            return of({name: getattr(value, name) for name in names}, inside)
        return repr(value) if isinstance(value, int | str | None) else type(value).__name__

    parts = ("_peers", "_biscuits", "_actions", "_response_key")
    return of([getattr(server, name) for name in parts])
