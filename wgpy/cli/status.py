"""`wgpy status`: interfaces and peers, and what each session in use is worth against a quantum computer.

The standard part is read with get=1 from any userspace implementation; ours answers wgpy=1 with the rest.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wgpy import uapi_client
from wgpy.cli.completion import complete_interface
from wgpy.cli.show import read_interface, zone_name
from wgpy.errors import PolicyNotMet, WgpyError
from wgpy.model import NO_PRESHARED_KEY, SECOND, PeerState, prefix_text
from wgpy.wg_format import Interface, Style, ago_text, bytes_text, duration_text, endpoint_text, key_text

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = 1
REDRAW_S = 1.0
INDENTED_MAX = 1 << 20  # characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer: the standard state, and ours where the interface is ours."""

    state: PeerState
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def quantum(self) -> Mapping[str, Any]:
        """`state`, `reason`, `key_age_s`, `next_s`, `since` of the session in use."""
        found = self.extra.get("quantum")
        return found if isinstance(found, dict) else {"state": "no", "reason": "not a wgpy interface"}

    def violates_policy(self) -> bool:
        """Whether a strict peer has traffic, or packets that wait, without a post-quantum session."""
        busy = self.extra.get("session") is not None or bool(self.extra.get("staged"))
        return self.extra.get("policy") == "strict" and busy and self.quantum.get("state") != "yes"


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """One interface with its peers."""

    interface: Interface
    extra: Mapping[str, Any] | None  # None: another implementation's
    peers: tuple[PeerStatus, ...]


def read_status(name: str) -> InterfaceStatus:
    """Ask one interface for everything it knows."""
    interface, extra = read_interface(name), uapi_client.status(name)
    return InterfaceStatus(interface, extra, peers_of(name, interface.state.peers, extra))


def peers_of(
    name: str, peers: Sequence[PeerState], extra: Mapping[str, Any] | None
) -> tuple[PeerStatus, ...]:
    """Join each peer's standard state with what the interface says itself.

    Raises:
        WgpyError: it speaks another version of this.
    """
    _check_schema(name, extra)
    listed = extra.get("peers") if extra is not None else None
    extras = {
        peer.get("public_key"): peer
        for peer in (listed if isinstance(listed, list) else ())
        if isinstance(peer, dict) and isinstance(peer.get("public_key"), str)
    }
    return tuple(PeerStatus(peer, extras.get(key_text(peer.public_key), {})) for peer in peers)


def _check_schema(name: str, extra: Mapping[str, object] | None) -> None:
    if extra is not None and extra.get("schema") != SCHEMA:
        raise WgpyError(
            f"{name}: runs another version of wgpy; restart it, or use the `wgpy` it was started with"
        )


@click.command()
@click.argument("interface", required=False, shell_complete=complete_interface)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, schema 1.", envvar="WGPY_JSON")
@click.option("--watch", is_flag=True, help="Redraw once a second.")
@click.option(
    "--check", is_flag=True, help="Exit with 5 where a strict peer has traffic without quantum resistance."
)
@click.option("--prometheus", is_flag=True, help="Print metrics in Prometheus' text format.")
@click.pass_context
def status(
    ctx: click.Context, interface: str | None, as_json: bool, watch: bool, check: bool, prometheus: bool
) -> None:
    """Show interfaces, peers and the quantum resistance of the sessions in use."""
    if as_json + watch + prometheus + check > 1:
        raise click.UsageError("--json, --watch, --check and --prometheus exclude each other", ctx)
    if watch:
        _watch(interface)
        return
    if as_json:
        print(whole_json(interface))
        return
    found = read_all(interface)
    if check:
        _check(found)
    elif prometheus:
        from wgpy.cli.metrics import exposition

        print(exposition(found), end="")
    else:
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(page(found, int(time.time())), end="")


def read_all(interface: str | None) -> list[InterfaceStatus]:
    """The named interface, or all that are running.

    Raises:
        WgpyError: none is.
    """
    return _of_each(interface, read_status)


def _of_each(interface: str | None, read: Callable[[str], T]) -> list[T]:
    names = [interface] if interface is not None else sorted(uapi_client.interfaces())
    if not names:
        raise WgpyError("no interface is running; `wgpy up INTERFACE` starts one")
    if interface is not None:
        return [read(interface)]
    found = []
    for name in names:
        with contextlib.suppress(uapi_client.NoSuchInterface):  # it went since it was listed
            found.append(read(name))
    return found


def _check(found: list[InterfaceStatus]) -> None:
    for status in found:
        for peer in status.peers:
            if peer.violates_policy():
                reason = peer.quantum.get("reason") or peer.quantum.get("state")
                peer_name = f"{status.interface.name}: peer {key_text(peer.state.public_key)}"
                raise PolicyNotMet(
                    f"{peer_name} is strict and its session is not quantum resistant: {reason}"
                )


def _watch(interface: str | None) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, screen=console.is_terminal) as live,
    ):
        while True:
            try:
                shown = page(read_all(interface), int(time.time()))
            except WgpyError as error:
                shown = _text(str(error))
            if console.is_terminal:
                live.update(shown, refresh=True)
            else:  # rich would keep it until the end
                console.print(shown, soft_wrap=True)
                console.file.flush()
            time.sleep(REDRAW_S)


# ---- JSON


def whole_json(interface: str | None) -> str:
    """What --json prints: indented for eyes, unless it is more than eyes would read."""
    text = f'{{"schema":{SCHEMA},"interfaces":[{",".join(_of_each(interface, _interface_json))}]}}'
    return text if len(text) > INDENTED_MAX else json.dumps(json.loads(text), indent=2)


def _interface_json(name: str) -> str:
    """One interface; ours is passed on as it came, for to read ten thousand peers in takes a while."""
    text = uapi_client.status_text(name)
    if text is None:
        return json.dumps(to_json(read_status(name)))
    if len(text) <= INDENTED_MAX or not text.startswith(f'{{"schema":{SCHEMA},'):
        extra = uapi_client.parse_status(name, text)
        _check_schema(name, extra)
        return json.dumps(extra)
    return text


def to_json(status: InterfaceStatus) -> dict[str, Any]:
    """One interface as JSON values: what it says itself, or the same shape from the standard state."""
    if status.extra is not None:
        return dict(status.extra)
    state = status.interface.state
    public_key = status.interface.public_key
    return {
        "schema": SCHEMA,
        "interface": status.interface.name,
        "public_key": key_text(public_key) if public_key is not None else None,
        "listen_port": state.listen_port,
        "fwmark": state.fwmark,
        "peers": [_peer_json(peer) for peer in status.peers],
    }


def _peer_json(peer: PeerStatus) -> dict[str, Any]:
    state = peer.state
    return {
        "public_key": key_text(state.public_key),
        "endpoint": endpoint_text(state.endpoint, zone_name) if state.endpoint is not None else None,
        "allowed_ips": [prefix_text(prefix) for prefix in state.allowed_ips],
        "last_handshake": state.last_handshake / SECOND,
        "rx_bytes": state.rx_bytes,
        "tx_bytes": state.tx_bytes,
        "keepalive": state.persistent_keepalive,
        "policy": None,
        "quantum": dict(peer.quantum),
    }


# ---- the page for people


def page(found: list[InterfaceStatus], now_s: int) -> "RenderableType":
    """Everything on one page."""
    from rich.console import Group

    style = Style(now_s, zone_name=zone_name)
    return Group(*(_text(line) for status in found for line in _interface_lines(status, style)))


def _text(line: str) -> "RenderableType":
    from rich.text import Text

    name, colon, value = line.partition(": ")
    if not colon:
        return Text(line)
    if not name.startswith(" "):
        tint = "green" if name == "interface" else "yellow"
        return Text.assemble((name, f"bold {tint}"), ": ", (value, tint))
    return Text.assemble((name, "bold"), ": ", (value, _tint(name.strip(), value)))


def _tint(name: str, value: str) -> str:
    if name != "quantum resistance":
        return ""
    return {"yes": "green", "pen": "yellow"}.get(value[:3], "red")


def _interface_lines(status: InterfaceStatus, style: Style) -> Iterator[str]:
    interface, extra = status.interface, status.extra or {}
    yield f"interface: {interface.name}"
    if interface.public_key is not None:
        yield f"  public key: {key_text(interface.public_key)}"
    if interface.state.listen_port:
        yield f"  listening port: {interface.state.listen_port}"
    if interface.state.fwmark:
        yield f"  fwmark: 0x{interface.state.fwmark:x}"
    for key, words in (("mtu", "mtu"), ("aead", "cipher"), ("fingerprint", "rosenpass fingerprint")):
        if extra.get(key):
            yield f"  {words}: {extra[key]}"
    if isinstance(extra.get("features"), list) and extra["features"]:
        yield f"  features: {', '.join(map(str, extra['features']))}"
    drops = _counts(extra.get("drops"))
    if drops:
        yield f"  dropped: {drops}"
    if status.extra is None:
        yield "  served by: another implementation; no post-quantum policy"
    for peer in status.peers:
        yield ""
        yield from _peer_lines(peer, style)
    yield ""


def _counts(drops: object) -> str:
    if not isinstance(drops, dict):
        return ""
    return ", ".join(f"{count} {name}" for name, count in drops.items() if count)


def _peer_lines(peer: PeerStatus, style: Style) -> Iterator[str]:
    state, extra = peer.state, peer.extra
    yield f"peer: {key_text(state.public_key)}"
    if extra.get("policy"):
        yield f"  policy: {extra['policy']}"
    off = extra.get("policy", "off") == "off"  # nobody waits for it then
    yield f"  quantum resistance: {quantum_text({**peer.quantum, 'since': None} if off else peer.quantum)}"
    if isinstance(extra.get("session"), dict):
        yield f"  session: {session_text(extra['session'])}"
    if extra.get("fingerprint"):
        yield f"  rosenpass fingerprint: {extra['fingerprint']}"
    if state.preshared_key != NO_PRESHARED_KEY:
        yield "  preshared key: (hidden)"
    if state.endpoint is not None:
        yield f"  endpoint: {endpoint_text(state.endpoint, style.zone_name)}"
    yield f"  allowed ips: {', '.join(map(prefix_text, state.allowed_ips)) or '(none)'}"
    if state.last_handshake >= SECOND:
        yield f"  latest handshake: {ago_text(state.last_handshake // SECOND, style)}"
    if state.rx_bytes or state.tx_bytes:
        received, sent = bytes_text(state.rx_bytes, style), bytes_text(state.tx_bytes, style)
        yield f"  transfer: {received} received, {sent} sent"
    if state.persistent_keepalive:
        yield f"  persistent keepalive: every {duration_text(state.persistent_keepalive, style)}"
    yield from _gate_lines(extra)


def _gate_lines(extra: Mapping[str, Any]) -> Iterator[str]:
    gate = [
        f"{extra[key]} {words}"
        for key, words in (
            ("staged", "waiting to be sent"),
            ("tx_gated", "held back"),
            ("rx_gated", "refused on arrival"),
        )
        if extra.get(key)
    ]
    if gate:
        yield f"  gate: {', '.join(gate)}"
    dropped = [
        f"{extra[key]} {words}"
        for key, words in (("rx_dropped", "received"), ("rx_replayed", "replayed"), ("tx_dropped", "unsent"))
        if extra.get(key)
    ]
    if dropped:
        yield f"  dropped: {', '.join(dropped)}"


def quantum_text(quantum: Mapping[str, Any]) -> str:
    """`yes (key 34 s old, next in 1 min 26 s)`, `pending (handshake 2 s ago)` or `no (reason, for 2 min)`."""
    state = quantum.get("state", "no")
    age, following, since = quantum.get("key_age_s"), quantum.get("next_s"), quantum.get("since")
    parts = []
    if quantum.get("reason"):
        parts.append(str(quantum["reason"]))
    if state == "yes" and isinstance(age, int | float):
        parts.append(f"key {short_duration(age)} old")
    if isinstance(following, int | float):
        parts.append(f"next in {short_duration(following)}" if following >= 1 else "next is due")
    if state != "yes" and isinstance(since, int | float) and since > 0:
        parts.append(f"for {short_duration(since)}")
    return f"{state} ({', '.join(parts)})" if parts else str(state)


_PSK_WORDS = {
    "pq": "a Rosenpass key",
    "psk": "the configured preshared key",
    "interim": "a derived key that is not secret",
    "none": "no preshared key",
}


def session_text(session: Mapping[str, Any]) -> str:
    """`12 s old, with a Rosenpass key, started here`."""
    kind = _PSK_WORDS.get(str(session.get("psk_kind")), "an unknown kind of key")
    started = "here" if session.get("initiator") else "there"
    age = session.get("age_s")
    return f"{short_duration(age if isinstance(age, int | float) else 0)} old, with {kind}, started {started}"


def short_duration(seconds: float) -> str:
    """The two greatest units: `34 s`, `1 min 26 s`, `2 h 5 min`."""
    left, parts = max(int(seconds), 0), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
