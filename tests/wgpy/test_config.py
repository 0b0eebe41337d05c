"""wgpy.config and wgpy.config_text: what a file means, and back."""

import base64
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.config import (
    HostPort,
    PeerRosenpass,
    RosenpassEndpoint,
    RosenpassVia,
    parse_quick,
    parse_wg,
)
from wgpy.config_text import format_quick, format_wg, strip
from wgpy.errors import ConfigError
from wgpy.model import AllowedIpChange, Policy

A = base64.b64encode(bytes(range(32))).decode()
B = base64.b64encode(bytes(range(1, 33))).decode()

WHOLE = f"""# a comment
[Interface]
PrivateKey = {A}
ListenPort = 51820 # the usual
FwMark = 0xca6c
Address = 10.0.0.1/24, fd00::1
DNS = 1.1.1.1, corp.example
DNS = fd00::53
MTU = 1380
Table = off
PreUp = echo '#1' %i
PostUp = a
PostUp = b
PreDown = c
PostDown = d
SaveConfig = false
User = nobody
Workers = 2
RosenpassSecretKey = keys/pqsk
RosenpassPublicKey = keys/pqpk
RosenpassListenPort = 7777
RosenpassPolicy = permissive

[Peer]
PublicKey = {A}
PresharedKey = {B}
AllowedIPs = 10.0.0.2/32, fd00::2
AllowedIPs = 192.168.0.0/16
Endpoint = vpn.example.org:51820
PersistentKeepalive = 25
RosenpassPublicKey = keys/peer.pqpk
RosenpassPresharedKey = keys/peer.psk
RosenpassEndpoint = tunnel:7777
RosenpassPolicy = strict

[Peer]
PublicKey = {B}
Endpoint = [2001:db8::1]:5
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_quick(text, "wg0.conf")
    return str(caught.value)


def test_every_key_of_a_quick_file_is_understood() -> None:
    config = parse_quick(WHOLE, "wg0.conf")
    assert config.wg.interface.private_key == bytes(range(32))
    assert (config.wg.interface.listen_port, config.wg.interface.fwmark) == (51820, 0xCA6C)
    assert config.addresses[0] == IPv4Interface("10.0.0.1/24")
    assert str(config.addresses[1]) == "fd00::1/128"
    assert config.dns[0] == IPv4Address("1.1.1.1")
    assert config.search == ("corp.example",)
    assert (config.mtu, config.table, config.save_config, config.user) == (1380, "off", False, "nobody")
    assert config.workers == 2
    assert config.pre_up == ("echo '#1' %i",)
    assert config.post_up == ("a", "b")
    assert config.rosenpass.listen_port == 7777
    assert config.rosenpass.policy is Policy.PERMISSIVE
    first, second = config.wg.peers
    assert first.allowed_ips == tuple(
        AllowedIpChange(ip_network(p)) for p in ("10.0.0.2/32", "fd00::2/128", "192.168.0.0/16")
    )
    assert first.endpoint == HostPort("vpn.example.org", 51820)
    assert first.rosenpass == PeerRosenpass(
        "keys/peer.pqpk", RosenpassEndpoint(port=7777), "keys/peer.psk", Policy.STRICT
    )
    assert second.endpoint == HostPort("2001:db8::1", 5)
    assert second.where == "wg0.conf:36"
    assert config.policy_of(first) is Policy.STRICT
    assert config.policy_of(second) is Policy.PERMISSIVE


def test_a_formatted_file_means_the_same() -> None:
    config = parse_quick(WHOLE, "wg0.conf")
    assert parse_quick(format_quick(config), "wg0.conf") == config


def test_a_stripped_file_is_one_for_wg_and_formats_back() -> None:
    config = parse_wg(strip(WHOLE), "wg0.conf")
    assert "osenpass" not in strip(WHOLE)
    assert "User" not in strip(WHOLE)
    assert "Workers" not in strip(WHOLE)
    assert "# a comment" in strip(WHOLE)
    assert parse_wg(format_wg(config), "wg0.conf") == config


def test_brackets_are_for_any_host_as_with_wg() -> None:
    for written in ("1.2.3.4", "vpn.example"):
        config = parse_quick(f"[Peer]\nPublicKey={A}\nEndpoint = [{written}]:5\n", "x")
        assert config.wg.peers[0].endpoint == HostPort(written, 5)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tunnel", RosenpassEndpoint()),
        ("Tunnel:9", RosenpassEndpoint(port=9)),
        ("tunnel:10.0.0.1", RosenpassEndpoint(address=ip_address("10.0.0.1"))),
        ("tunnel:10.0.0.1:9", RosenpassEndpoint(port=9, address=ip_address("10.0.0.1"))),
        ("tunnel:[fd00::1]", RosenpassEndpoint(address=ip_address("fd00::1"))),
        ("tunnel:[fd00::1]:9", RosenpassEndpoint(port=9, address=ip_address("fd00::1"))),
        ("none", RosenpassEndpoint(RosenpassVia.ANSWER_ONLY)),
        ("pq.example:9999", RosenpassEndpoint(RosenpassVia.OUTSIDE, outside=HostPort("pq.example", 9999))),
        ("[::1]:9999", RosenpassEndpoint(RosenpassVia.OUTSIDE, outside=HostPort("::1", 9999))),
    ],
)
def test_the_forms_of_a_rosenpass_endpoint(written: str, meant: RosenpassEndpoint) -> None:
    config = parse_quick(f"[Peer]\nPublicKey={A}\nRosenpassEndpoint = {written}\n", "x")
    assert config.wg.peers[0].rosenpass.endpoint == meant
    assert parse_quick(format_quick(config), "x") == config


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[Interface]\nListenPrt = 1", 2, "did you mean ListenPort?"),
        ("[Interface]\nPublicKey = x", 2, "belongs in [Peer]"),
        ("[Interface]\nAllowedIPs = x", 2, "belongs in [Peer]"),
        ("[Peer]\nAddress = 1.2.3.4", 2, "belongs in [Interface]"),
        ("[Pear]\n", 1, "did you mean [Peer]?"),
        ("PrivateKey = x", 1, "before any section"),
        ("[Interface]\nPrivateKey = short", 2, "44 characters"),
        ("[Interface]\nPrivateKey", 2, "not `Key = value`"),
        ("[Interface]\nListenPort = 65536", 2, "not a port"),
        ("[Interface]\nListenPort = -1", 2, "not a port"),
        ("[Interface]\nListenPort = ", 2, "not a port"),
        ("[Interface]\nFwMark = 0x100000000", 2, "FwMark"),
        ("[Interface]\nFwMark = 0xzz", 2, "FwMark"),
        ("[Interface]\nAddress = 10.0.0.1/33", 2, "Address"),
        ("[Interface]\nDNS = 1.2.3", 2, "DNS"),
        ("[Interface]\nMTU = 67", 2, "MTU"),
        ("[Interface]\nTable = ", 2, "Table"),
        ("[Interface]\nSaveConfig = yes", 2, "neither `true` nor `false`"),
        ("[Interface]\nRosenpassPolicy = maybe", 2, "`strict`"),
        ("[Interface]\nRosenpassListenPort = 0", 2, "RosenpassListenPort"),
        ("[Interface]\n\n[Peer]\nEndpoint = a:1\n[Peer]", 3, "no PublicKey"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/255.0.0.0", 2, "AllowedIPs"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/8,,", 2, "AllowedIPs"),
        ("[Peer]\nAllowedIPs = fe80::1%eth0/64", 2, "AllowedIPs"),
        ("[Peer]\nEndpoint = 1.2.3.4", 2, "Endpoint"),
        ("[Peer]\nEndpoint = 2001:db8::zz:1", 2, "Endpoint"),
        ("[Peer]\nEndpoint = [2001:db8::zz]:1", 2, "Endpoint"),
        ("[Peer]\nEndpoint = []:5", 2, "Endpoint"),
        ("[Peer]\nEndpoint = :5", 2, "Endpoint"),
        ("[Peer]\nPersistentKeepalive = 65536", 2, "PersistentKeepalive"),
        ("[Peer]\nRosenpassEndpoint = nowhere", 2, "`tunnel[:ADDRESS][:PORT]`"),
        ("[Peer]\nRosenpassEndpoint = tunnel:0", 2, "port 0"),
        ("[Interface]\nPriv\0ateKey = x", 2, "zero byte"),
    ],
)
def test_a_mistake_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    message = refusal(text)
    assert message.startswith(f"wg0.conf:{line}: ")
    assert words in message
    assert "\n" not in message


def test_keys_and_sections_are_read_in_any_case_and_with_any_blanks() -> None:
    config = parse_wg(f"[ INTERFACE ]\r\n\tprivate Key={A}\r\nlistenPORT = 5 1\r\n", "x")
    assert config.interface.private_key == bytes(range(32))
    assert config.interface.listen_port == 51


def test_a_port_may_be_the_name_of_a_service() -> None:
    config = parse_wg("[Interface]\nListenPort = openvpn", "x", {"openvpn": 1194}.__getitem__)
    assert config.interface.listen_port == 1194


def test_a_plain_file_refuses_keys_of_quick_and_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"x:2: Address is a key of `up`.*wgpy strip"):
        parse_wg("[Interface]\nAddress = 10.0.0.1", "x")


def test_signed_allowed_ips_replace_nothing() -> None:
    peer = parse_wg(f"[Peer]\nPublicKey={A}\nAllowedIPs=+10.0.0.0/8,-fd00::/8", "x").peers[0]
    assert not peer.replace_allowed_ips
    assert [change.remove for change in peer.allowed_ips] == [False, True]


def test_an_empty_list_of_allowed_ips_replaces_them_all() -> None:
    peer = parse_wg(f"[Peer]\nPublicKey={A}\nAllowedIPs=", "x").peers[0]
    assert (peer.replace_allowed_ips, peer.allowed_ips) == (True, ())


def test_host_bits_are_cleared_with_a_warning() -> None:
    config = parse_wg(f"[Peer]\nPublicKey={A}\nAllowedIPs=10.0.0.3/24", "x")
    assert config.peers[0].allowed_ips[0].prefix == ip_network("10.0.0.0/24")
    assert config.warnings == ("x:3: AllowedIP has nonzero host part: 10.0.0.3/24",)


def test_secrets_appear_neither_in_repr_nor_in_refusals() -> None:
    config = parse_quick(WHOLE.replace(f"PublicKey = {A}", f"PublicKey = {B}"), "x")
    assert repr(bytes(range(32))) not in repr(config)
    for text in (f"[Interface]\n{A}\n", f"[Interface]\nPrivateKey = {A}x\n", f"[Peer]\nPresharedKey {A}\n"):
        assert A[:8].lower() not in refusal(text).lower()


@given(st.text())
def test_any_text_is_read_or_refused_as_a_config_error(text: str) -> None:
    for source in (text, f"[Interface]\n{text}", f"[Peer]\nPublicKey={A}\n{text}"):
        try:
            config = parse_quick(source, "x")
        except ConfigError:
            continue
        assert parse_quick(format_quick(config), "x") == config


KEYS = (
    *("PrivateKey", "ListenPort", "FwMark", "Address", "DNS", "MTU", "Table", "PreUp", "SaveConfig", "User"),
    *("RosenpassPolicy", "RosenpassSecretKey", "RosenpassListenPort"),
    *("AllowedIPs", "Endpoint", "PersistentKeepalive", "RosenpassEndpoint", "RosenpassPublicKey"),
)
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\n\0"), max_size=20),
    st.from_regex(r"[0-9a-fx.:/,+\[\]%-]{0,30}", fullmatch=True),
    st.sampled_from((A, "off", "true", "strict", "10.0.0.1/8, fd00::1", "tunnel:5", "h:1", "[::1]:2")),
)


@given(st.sampled_from(KEYS), VALUES)
def test_any_value_of_any_key_survives_formatting_or_is_refused(key: str, value: str) -> None:
    for source in (f"[Interface]\n{key}={value}", f"[Peer]\nPublicKey={A}\n{key}={value}"):
        try:
            config = parse_quick(source, "x")
        except ConfigError:
            continue
        assert parse_quick(format_quick(config), "x") == config


@pytest.mark.parametrize("value", ["0", "9", "-1", "two", ""])
def test_a_number_of_workers_out_of_range_is_refused(value: str) -> None:
    said = refusal(f"[Interface]\nWorkers = {value}\n")
    assert "wg0.conf:2" in said
    assert "from 1 to 8" in said
