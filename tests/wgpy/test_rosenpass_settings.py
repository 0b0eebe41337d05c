"""Which Rosenpass exchange a wg-quick file asks for."""

import base64
import contextlib
from ipaddress import ip_address
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.config import RosenpassVia, parse_quick
from wgpy.config_values import HostPort
from wgpy.errors import ConfigError
from wgpy.model import Policy, SocketAddress
from wgpy.rosenpass_settings import RosenpassSettings, from_lines, peer_key_name, settings_of, to_lines

KEY = bytes([255] * 32)
PEER = base64.b64encode(KEY).decode()
PAIR = {"/etc/wg/wg0/pqsk", "/etc/wg/wg0/pqpk"}
PEER_FILE = "/etc/wg/wg0/" + peer_key_name(KEY)


def settings(interface: str = "", peer: str = "", files: set[str] | None = None) -> RosenpassSettings | None:
    present = PAIR | {PEER_FILE} if files is None else files
    text = (
        f"[Interface]\nAddress = 10.0.0.1/24, fd00::1/64\n{interface}\n[Peer]\nPublicKey = {PEER}\n"
        f"{peer or 'AllowedIPs = 10.0.0.0/24, 10.0.0.2/32'}\n"
    )
    config = parse_quick(text, "wg0.conf")
    return settings_of(config, PurePath("/etc/wg"), "wg0", lambda path: str(path) in present, "wg0.conf")


def test_a_file_without_keys_is_plain_wireguard() -> None:
    assert settings(files=set()) is None


def test_keys_beside_the_file_are_found_and_strict_is_the_default() -> None:
    found = settings()
    assert found is not None
    assert (found.secret_key, found.public_key, found.listen_port) == (
        "/etc/wg/wg0/pqsk",
        "/etc/wg/wg0/pqpk",
        51821,
    )
    peer = found.peers[0]
    assert (peer.policy, peer.rosenpass_public_key, peer.via) == (
        Policy.STRICT,
        PEER_FILE,
        RosenpassVia.TUNNEL,
    )
    assert peer.control == SocketAddress(ip_address("10.0.0.2"), 51821)
    assert found.control_pair(peer) == (SocketAddress(ip_address("10.0.0.1"), 51821), peer.control)


def test_the_peer_key_name_has_no_slash() -> None:
    assert "/" not in peer_key_name(KEY)
    assert peer_key_name(KEY) == PEER.replace("/", "") + ".pqpk"


def test_a_peer_without_a_key_keeps_its_policy() -> None:
    found = settings(files=PAIR)
    assert found is not None
    assert (found.peers[0].policy, found.peers[0].rosenpass_public_key) == (Policy.STRICT, None)


def test_a_full_tunnel_needs_the_address_said() -> None:
    with pytest.raises(ConfigError, match=r"wg0\.conf:4: .*tunnel:ADDRESS"):
        settings(peer="AllowedIPs = 0.0.0.0/0")
    found = settings(peer="AllowedIPs = 0.0.0.0/0\nRosenpassEndpoint = tunnel:10.0.0.9:7")
    assert found is not None
    assert found.peers[0].control == SocketAddress(ip_address("10.0.0.9"), 7)


def test_two_sections_of_one_peer_are_one_and_the_last_word_counts() -> None:
    again = f"RosenpassPolicy = permissive\n[Peer]\nPublicKey = {PEER}\n"
    found = settings(peer=f"AllowedIPs = 10.0.0.2/32\n{again}AllowedIPs = 10.0.0.3/32, 10.1.0.0/16")
    assert found is not None
    (peer,) = found.peers
    assert peer.policy is Policy.PERMISSIVE
    assert peer.control == SocketAddress(ip_address("10.0.0.3"), 51821)
    added = settings(peer=f"AllowedIPs = 10.0.0.2/32\n{again}AllowedIPs = +10.1.0.0/16")
    assert added is not None
    assert added.peers[0].control == SocketAddress(ip_address("10.0.0.2"), 51821)


def test_outside_needs_no_address_inside() -> None:
    found = settings(peer="AllowedIPs = 0.0.0.0/0\nRosenpassEndpoint = pq.example:9999")
    assert found is not None
    assert (found.peers[0].control, found.peers[0].outside) == (None, HostPort("pq.example", 9999))


@pytest.mark.parametrize(
    ("interface", "peer", "files", "words"),
    [
        ("", "", {"/etc/wg/wg0/pqsk"}, "half of this host's"),
        ("", "", {"/etc/wg/wg0/pqpk"}, "half of this host's"),
        ("RosenpassSecretKey = /gone", "", None, "/gone does not exist"),
        ("", "RosenpassPublicKey = gone", None, "/etc/wg/gone does not exist"),
        ("RosenpassPolicy = strict", "", set(), "needs this host's Rosenpass key pair"),
        ("", "RosenpassPolicy = strict", set(), r"wg0\.conf:4: .*needs this host's Rosenpass key pair"),
        ("", "RosenpassPublicKey = x", set(), "no Rosenpass key pair"),
    ],
)
def test_what_is_missing_is_named(interface: str, peer: str, files: set[str] | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(interface, peer, files)


def test_an_off_peer_takes_no_part() -> None:
    found = settings(peer="RosenpassPolicy = off")
    assert found is not None
    assert (found.peers[0].policy, found.peers[0].rosenpass_public_key) == (Policy.OFF, None)


@pytest.mark.parametrize("peer", ["", "RosenpassEndpoint = [::1]:7", "RosenpassPolicy = off"])
def test_lines_carry_everything(peer: str) -> None:
    found = settings(peer=f"AllowedIPs = fd00::2/128\n{peer}")
    assert from_lines(to_lines(found)) == found
    assert from_lines(to_lines(None)) is None


@given(
    st.lists(st.text(), min_size=1) | st.lists(st.text().map(lambda text: f"rosenpass={text}"), min_size=1)
)
def test_any_lines_raise_nothing_but_value_error(lines: list[str]) -> None:
    with contextlib.suppress(ValueError):
        from_lines(lines)
