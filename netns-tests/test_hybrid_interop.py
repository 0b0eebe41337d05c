"""`wgpy up` with Rosenpass keys, towards ends put together from other programs.

(a) NetBird's way: wireguard-go with an interim key, go-rosenpass over the tunnel, `wg set` for each new key;
(b) the Rust tool's way: wireguard-go, `rosenpass exchange ... wireguard` outside the tunnel.

Only our timers are shortened; what a test needs renewed soon is renewed by us.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from lab import Namespace, wait_until
from mixed import EXCHANGE_PORT, OUR_HOST, OURS, THEIR_HOST, THEIRS, Mixed, OurEnd, RosenpassPair, TheirEnd
from quickhost import WGPY
from rosenpass_programs import GO, RUST, Foreign
from traffic import Echo, Numbered
from wgpeer import NewestWireguardGoPeer, preshared_key

pytestmark = pytest.mark.interop

FAST = {"WGPY_ROSENPASS_TIMERS": "rekey_after_initiator=3,rekey_after_responder=3,overdue=1"}
RENEWALS = 3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[Foreign, list[RosenpassPair]]:
    """Two pairs in each program's form, the lesser public key first."""
    made: dict[Foreign, list[RosenpassPair]] = {}
    with Namespace("keys") as host:
        for kind in (RUST, GO):
            home = tmp_path_factory.mktemp(kind.name)
            made[kind] = []
            for name in ("a", "b"):
                pair = RosenpassPair(home / f"{name}.pk", home / f"{name}.sk")
                host.run(
                    *WGPY,
                    "rosenpass",
                    "gen-keys",
                    "--format",
                    kind.name,
                    "-p",
                    pair.public,
                    "-s",
                    pair.secret,
                )
                made[kind].append(pair)
            made[kind].sort()
    return made


@pytest.fixture
def psk(tmp_path: Path, hosts: tuple[Namespace, Namespace]) -> Path:
    path = tmp_path / "rosenpass.psk"
    hosts[0].run(*WGPY, "rosenpass", "gen-psk", path)
    return path


Arrange = Callable[..., Mixed]


@pytest.fixture
def arrange(
    hosts: tuple[Namespace, Namespace], pairs: dict[Foreign, list[RosenpassPair]], tmp_path: Path
) -> Arrange:
    """Makes the two ends, not yet started: the program of theirs, and who has the greater key."""

    def make(kind: Foreign, greater: str = "we", environment: Mapping[str, str] = FAST) -> Mixed:
        for program in (kind.path, Path(NewestWireguardGoPeer.program)):
            if not program.exists():
                pytest.skip(f"needs {program.name}: make interop builds it")
        theirs, ours = pairs[kind] if greater == "we" else reversed(pairs[kind])
        return Mixed(
            OurEnd(hosts[0], tmp_path / "we", ours, environment),
            TheirEnd(hosts[1], tmp_path / "they", kind, theirs),
        )

    return make


def start_netbird_like(m: Mixed, psk: Path | None, policy: str, order: str) -> None:
    """Interim key set beforehand; whoever has the greater Rosenpass key knows the other's address inside."""

    def they() -> None:
        m.they.start_wireguard(m.we.keys.public, m.seed())
        start_exchange(m, psk)

    def we() -> None:
        secret = {"RosenpassPresharedKey": str(psk)} if psk else {}
        m.we.up(
            m.they.wireguard.keys.public,
            policy=policy,
            RosenpassPublicKey=str(m.they.pair.public),
            **secret,
        )

    in_order(order, they, we)


def start_rust_like(m: Mixed, psk: Path | None, policy: str, order: str) -> None:
    """WireGuard without a preshared key; the exchange beside it."""

    def they() -> None:
        m.they.start_wireguard(m.we.keys.public, None)
        start_exchange(m, psk)

    def we() -> None:
        secret = {"RosenpassPresharedKey": str(psk)} if psk else {}
        m.we.up(
            m.they.wireguard.keys.public,
            policy=policy,
            RosenpassPublicKey=str(m.they.pair.public),
            RosenpassEndpoint=f"{THEIR_HOST}:9999",
            **secret,
        )

    in_order(order, they, we)


def start_exchange(m: Mixed, psk: Path | None) -> None:
    """Their exchange; NetBird gives our address to the end with the greater key only."""
    if m.they.program is GO:
        endpoint = f"{OURS}:{EXCHANGE_PORT}" if m.we.pair < m.they.pair else None
        m.they.start_go(m.we.pair.public, m.we.keys.public, endpoint, psk)
    else:
        endpoint = f"{OUR_HOST}:{EXCHANGE_PORT}" if m.they.calls else None
        m.they.start_rust(m.we.pair.public, m.we.keys.public, endpoint, psk)


def start_all(m: Mixed, psk: Path | None = None, policy: str = "strict", order: str = "they-first") -> None:
    start = start_netbird_like if m.they.program is GO else start_rust_like
    start(m, psk, policy, order)


def in_order(order: str, they: Callable[[], None], we: Callable[[], None]) -> None:
    for start in (they, we) if order == "they-first" else (we, they):
        start()


def renews_under_traffic(m: Mixed, within: float = 20) -> None:
    took = m.await_quantum(within=20)
    with Echo(m.they.host, THEIRS), Numbered(m.we.host, THEIRS, per_second=100) as stream:
        renewals = [m.await_renewal(within) for _ in range(RENEWALS)]
    print(
        f"post-quantum after {took:.1f} s; renewals after {', '.join(f'{each:.1f}' for each in renewals)} s;"
        f" {len(stream.sent)} packets, lost {len(stream.lost)}, twice {stream.duplicates},"
        f" longest gap {stream.longest_gap() * 1000:.0f} ms"
    )
    assert stream.lost == []
    assert stream.duplicates == 0
    assert stream.longest_gap() < 1.0
    assert m.they.exchange is not None
    assert m.they.exchange.running


@pytest.mark.parametrize("order", ["they-first", "we-first"])
@pytest.mark.parametrize("greater", ["we", "they"])
def test_netbird_like_peer_reaches_and_renews_a_post_quantum_session(
    arrange: Arrange,
    greater: str,
    order: str,
) -> None:
    m = arrange(GO, greater)
    start_netbird_like(m, None, "strict", order)
    renews_under_traffic(m)


@pytest.mark.parametrize("order", ["they-first", "we-first"])
@pytest.mark.parametrize("calls", [True, False], ids=["both-call", "we-call"])
def test_rosenpass_peer_outside_the_tunnel_reaches_and_renews_a_post_quantum_session(
    arrange: Arrange,
    calls: bool,
    order: str,
) -> None:
    m = arrange(RUST, "they")
    m.they.calls = calls
    start_rust_like(m, None, "strict", order)
    renews_under_traffic(m)


@pytest.mark.parametrize("kind", [GO, RUST], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("policy", "with_psk"),
    [("permissive", False), ("permissive", True), ("strict", True)],
    ids=["permissive", "permissive-psk", "strict-psk"],
)
def test_permissive_policy_and_a_secret_of_the_exchange_work_too(
    arrange: Arrange,
    psk: Path,
    kind: Foreign,
    with_psk: bool,
    policy: str,
) -> None:
    m = arrange(kind)
    start_all(m, psk if with_psk else None, policy)
    renews_under_traffic(m)


def test_a_configured_preshared_key_stands_in_for_the_seed_and_go_rosenpass_may_set_keys_itself(
    arrange: Arrange,
) -> None:
    m = arrange(GO)
    m.they.uses_own_output = True
    interim = preshared_key()
    m.they.start_wireguard(m.we.keys.public, interim)
    m.we.up(m.they.wireguard.keys.public, PresharedKey=interim, RosenpassPublicKey=str(m.they.pair.public))
    start_exchange(m, None)
    renews_under_traffic(m)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("greater", ["we", "they"])
@pytest.mark.parametrize("kind", [GO, RUST], ids=lambda kind: kind.name)
def test_everybody_keeps_his_own_timers(
    arrange: Arrange,
    kind: Foreign,
    greater: str,
) -> None:
    """Nothing shortened: seven minutes, in which the roles change as they do in the field."""
    m = arrange(kind, greater, environment={})
    start_all(m)
    renews_under_traffic(m, within=200)


@pytest.mark.parametrize("kind", [GO, RUST], ids=lambda kind: kind.name)
def test_what_they_send_before_the_first_key_is_refused(
    arrange: Arrange,
    kind: Foreign,
) -> None:
    """Their end has no gate: ours alone keeps the promise, for both directions."""
    m = arrange(kind)
    m.they.start_wireguard(m.we.keys.public, m.seed())
    outside = {"RosenpassEndpoint": f"{THEIR_HOST}:9999"} if kind is RUST else {}
    m.we.up(m.they.wireguard.keys.public, RosenpassPublicKey=str(m.they.pair.public), **outside)
    wait_until(lambda: (m.we.peer()["session"] or {}).get("psk_kind") == "interim", 15, "an interim session")
    for host, target in ((m.they.host, OURS), (m.we.host, THEIRS)):
        assert not host.ok("ping", "-n", "-c3", "-i0.2", "-W1", target)
    peer = m.we.peer()
    assert peer["rx_gated"] >= 3
    assert peer["tx_gated"] + peer["staged"] >= 3
    assert peer["quantum"]["state"] != "yes"
    start_exchange(m, None)
    print(f"post-quantum {m.await_quantum(within=20):.1f} s after their exchange started")
    assert m.they.host.ok("ping", "-n", "-c1", "-W2", OURS)


@pytest.mark.parametrize("what", ["exchange", "all"])
@pytest.mark.parametrize("greater", ["we", "they"])
@pytest.mark.parametrize("kind", [GO, RUST], ids=lambda kind: kind.name)
def test_a_killed_and_restarted_peer_comes_back(
    arrange: Arrange,
    kind: Foreign,
    greater: str,
    what: str,
) -> None:
    m = arrange(kind, greater)
    start_all(m)
    m.await_quantum(within=20)
    assert m.they.exchange is not None
    m.they.exchange.kill()
    with Echo(m.they.host, "0.0.0.0"), Numbered(m.we.host, THEIRS, per_second=100) as stream:
        if what == "all":
            m.they.kill_wireguard()
            m.they.start_wireguard(m.we.keys.public, m.seed() if kind is GO else None)
        began = time.monotonic()
        start_exchange(m, None)
        took = m.await_renewal(within=30)
        back = wait_until(lambda: came_since(stream, began), 30, "user traffic")
        time.sleep(1)
    print(
        f"renewed after {took:.1f} s; first user packet {back - began:.1f} s after the restart;"
        f" lost {len(stream.lost)} of {len(stream.sent)}"
    )
    if what == "exchange":
        assert stream.lost == []
    # A device that lost its sessions says nothing: we notice after 12 s of silence.
    assert back - began < 30


@pytest.mark.parametrize("kind", [GO, RUST], ids=lambda kind: kind.name)
def test_when_their_exchange_ends_for_good_our_gate_closes_at_the_key_s_age_limit(
    arrange: Arrange,
    kind: Foreign,
) -> None:
    """WireGuard alone would go on under the last key for ever; ten minutes are twelve seconds here."""
    m = arrange(kind, environment={**FAST, "WGPY_TIMINGS": "pq_key_max_age=12"})
    start_all(m)
    m.await_quantum(within=20)
    assert m.they.exchange is not None
    m.they.exchange.kill()
    assert m.they.host.ok("ping", "-n", "-c1", "-W2", OURS), "the last key still serves"
    wait_until(lambda: m.we.quantum()["state"] != "yes", 20, "the gate to close")
    refused = m.we.peer()["rx_gated"]
    assert not m.they.host.ok("ping", "-n", "-c2", "-i0.2", "-W1", OURS)
    assert not m.we.host.ok("ping", "-n", "-c2", "-i0.2", "-W1", THEIRS)
    assert m.we.peer()["rx_gated"] >= refused + 2
    print(m.we.quantum())
    start_exchange(m, None)
    print(f"post-quantum {m.await_quantum(within=40):.1f} s after their exchange came back")
    wait_until(lambda: m.they.host.ok("ping", "-n", "-c1", "-W1", OURS), 15, "user traffic")


def came_since(stream: Numbered, moment: float) -> float | None:
    """When the first packet sent after `moment` was back."""
    return next((back for n, back in list(stream.came_back.items()) if stream.sent[n] > moment), None)
