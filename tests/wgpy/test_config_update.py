"""wgpy.config_update: files as requests, and states as files."""

import base64
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_device import FakeDevice

from wgpy.config import HostPort, InterfaceSection, PeerSection, WgConfig, parse_quick, parse_wg
from wgpy.config_text import format_quick
from wgpy.config_update import addconf, from_state, saved, setconf, syncconf
from wgpy.errors import WgpyError
from wgpy.model import (
    NO_PRESHARED_KEY,
    AllowedIpChange,
    DeviceState,
    DeviceUpdate,
    PresharedKey,
    PrivateKey,
    PublicKey,
    SocketAddress,
)

A = base64.b64encode(bytes([1]) * 32).decode()
B = base64.b64encode(bytes([2]) * 32).decode()


def resolve(endpoint: HostPort) -> SocketAddress:
    return SocketAddress(ip_address(endpoint.host), endpoint.port)


def running(config: WgConfig) -> DeviceState:
    device = FakeDevice()
    device.apply(setconf(config, resolve))
    return device.state()


def comparable(state: DeviceState) -> tuple[object, ...]:
    peers = {replace(p, allowed_ips=tuple(sorted(p.allowed_ips, key=str))) for p in state.peers}
    return state.private_key, state.listen_port, state.fwmark, frozenset(peers)


KEYS = st.sampled_from([bytes([n]) * 32 for n in (1, 2, 3)])
PEERS = st.builds(
    PeerSection,
    KEYS.map(PublicKey),
    preshared_key=st.none() | KEYS.map(PresharedKey),
    endpoint=st.none() | st.sampled_from([HostPort("192.0.2.1", 1), HostPort("2001:db8::1", 2)]),
    persistent_keepalive=st.sampled_from([None, 0, 5]),
    allowed_ips=st.lists(
        st.sampled_from([AllowedIpChange(ip_network(f"10.{n}.0.0/16")) for n in range(4)]),
        max_size=3,
        unique=True,
    ).map(tuple),
)
CONFIGS = st.builds(
    WgConfig,
    st.builds(
        InterfaceSection,
        st.none() | st.just(PrivateKey(bytes([9]) * 32)),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, 0, 3]),
    ),
    st.lists(PEERS, max_size=4).map(tuple),
)


@given(CONFIGS, CONFIGS)
def test_syncing_reaches_what_setting_reaches(before: WgConfig, after: WgConfig) -> None:
    device = FakeDevice()
    device.apply(setconf(before, resolve))
    endpoints = {peer.public_key: peer.endpoint for peer in device.state().peers}
    device.apply(syncconf(after, device.state(), resolve))
    wanted = running(after)
    kept = tuple(
        replace(peer, endpoint=peer.endpoint or endpoints.get(peer.public_key)) for peer in wanted.peers
    )  # an endpoint the file leaves out stays: it may have roamed
    assert comparable(device.state()) == comparable(replace(wanted, peers=kept))


@given(CONFIGS)
def test_syncing_what_runs_already_sends_nothing(config: WgConfig) -> None:
    state = running(config)
    update = syncconf(config, state, resolve)
    assert replace(update, listen_port=None) == DeviceUpdate()


def test_adding_leaves_alone_what_the_file_leaves_out() -> None:
    config = parse_wg(f"[Peer]\nPublicKey={B}\nAllowedIPs=10.0.0.0/8", "x")
    update = addconf(config, resolve)
    assert (update.private_key, update.listen_port, update.fwmark, update.replace_peers) == (None,) * 3 + (
        False,
    )


def test_an_endpoint_nobody_knows_is_told_with_its_line() -> None:
    def unknown(endpoint: HostPort) -> SocketAddress:
        raise WgpyError(f"cannot find {endpoint}")

    config = parse_wg(f"[Peer]\nPublicKey={B}\nEndpoint=nowhere.example:1", "wg0.conf")
    with pytest.raises(WgpyError, match=r"^wg0\.conf:1: cannot find nowhere\.example:1$"):
        setconf(config, unknown)


@given(CONFIGS)
def test_a_state_as_a_file_sets_the_same_state(config: WgConfig) -> None:
    state = running(config)
    again = running(from_state(state))
    assert comparable(again) == comparable(state)


def test_saving_keeps_our_own_keys_and_hooks() -> None:
    text = (
        f"[Interface]\nPrivateKey={A}\nAddress=10.0.0.1/8\nPostUp=echo #1\nRosenpassPolicy=strict\n"
        f"[Peer]\nPublicKey={B}\nRosenpassPublicKey=x.pqpk\nRosenpassEndpoint=none\n"
    )
    config = parse_quick(text, "x")
    device = FakeDevice()
    device.apply(setconf(config.wg, resolve))
    after = parse_quick(format_quick(saved(config, device.state())), "x")
    assert after.wg.peers[0].rosenpass == config.wg.peers[0].rosenpass
    assert (after.post_up, after.rosenpass, after.addresses) == (
        config.post_up,
        config.rosenpass,
        config.addresses,
    )
    assert after.wg.interface.listen_port == 40000
    assert device.state().peers[0].preshared_key == NO_PRESHARED_KEY
