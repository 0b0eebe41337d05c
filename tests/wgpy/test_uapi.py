"""wgpy.uapi and wgpy.uapi_ask: the configuration text."""

import errno
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_device import FakeDevice
from support.transcripts import GROUPS, replay

from wgpy.model import (
    AllowedIpChange,
    DeviceState,
    DeviceUpdate,
    PeerState,
    PeerUpdate,
    PresharedKey,
    PrivateKey,
    PublicKey,
    SocketAddress,
    WallTime,
)
from wgpy.uapi import (
    LINE_MAX,
    GetRequest,
    Hangup,
    RefusedRequest,
    Request,
    RequestParser,
    SetRequest,
    StatusRequest,
    format_errno,
    format_get,
)
from wgpy.uapi_ask import ReplyError, format_set, parse_get

KEY = "5e" * 32


def parse(text: str | bytes, step: int = 1 << 20) -> list[Request]:
    data = text.encode() if isinstance(text, str) else text
    parser = RequestParser(lambda zone: {"lo": 1}[zone])
    return [r for i in range(0, len(data), step) for r in parser.feed(data[i : i + step])]


def update_of(text: str) -> DeviceUpdate:
    (request,) = parse(text)
    assert isinstance(request, SetRequest)
    return request.update


def peer_of(lines: str) -> PeerUpdate:
    return update_of(f"set=1\npublic_key={KEY}\n{lines}\n").peers[0]


# ---- what the recorded conversations say


def converse(device: FakeDevice, sent: str) -> tuple[str, bool]:
    parser = RequestParser(lambda zone: {"lo": 1}[zone])
    reply = b""
    for request in parser.feed(sent.encode()):
        match request:
            case GetRequest():
                reply += format_get(device.state())
            case SetRequest(update):
                device.apply(update)
                reply += format_errno(0)
            case RefusedRequest(number, close):
                reply += format_errno(number)
                if close:
                    return reply.decode(), True
            case Hangup():
                return reply.decode(), True
    return reply.decode(), False


@pytest.mark.parametrize("group", GROUPS)
def test_recorded_conversations_with_wireguard_go_are_answered_alike(group: str) -> None:
    device = FakeDevice(listen_port=40000)
    replay(group, lambda sent: converse(device, sent))


# ---- requests


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_pipelined_requests_are_cut_wherever_the_bytes_are_split(step: int) -> None:
    text = f"get=1\n\nset=1\nfwmark=7\n\nset=1\nbogus=1\n\nwgpy=1\n\nset=1\npublic_key={KEY}\n\nget=1\n\n"
    assert [type(request) for request in parse(text, step)] == [
        *(GetRequest, SetRequest, RefusedRequest, StatusRequest, SetRequest, GetRequest)
    ]


@pytest.mark.parametrize(
    "first", ["", "get", "get=2", "get=1\r", "GET=1", "set=0", "wgpy=2", "x" * 5000, "é"]
)
def test_a_first_line_that_is_none_hangs_up_and_nothing_after_it_is_heard(first: str) -> None:
    assert parse(f"{first}\n\nget=1\n\n") == [Hangup()]


def test_a_get_with_more_lines_is_refused_and_closed() -> None:
    assert parse("get=1\nx=1\n\nget=1\n\n") == [RefusedRequest(errno.EINVAL, close=True)]


def test_the_first_bad_line_decides_the_errno() -> None:
    assert parse("set=1\nlisten_port\nbogus=1\n\n") == [RefusedRequest(errno.EPROTO)]
    assert parse("set=1\nbogus=1\nlisten_port\n\n") == [RefusedRequest(errno.EINVAL)]


@pytest.mark.parametrize(
    "line",
    [
        *("private_key=", f"private_key={KEY[:-1]}", f"private_key={KEY}0", f"private_key={'5e ' * 21}5"),
        *("listen_port=65536", "listen_port=+1", "listen_port= 1", "listen_port=1_0", "listen_port=\u0661"),
        *("fwmark=4294967296", "fwmark=0x10", "fwmark=", "replace_peers=false", "replace_peers=", "=", "=1"),
        "update_only=true",
    ],
)
def test_a_bad_device_line_is_einval(line: str) -> None:
    assert parse(f"set=1\n{line}\n\n") == [RefusedRequest(errno.EINVAL)]


@pytest.mark.parametrize(
    "line",
    [
        *("endpoint=1.2.3.4", "endpoint=1.2.3.4:", "endpoint=:1", "endpoint=[::1]", "endpoint=::1:1"),
        *("endpoint=[1.2.3.4]:1", "endpoint=1.2.3.4:65536", "endpoint=01.2.3.4:1", "endpoint=[fe80::1%]:1"),
        *(
            "allowed_ip=",
            "allowed_ip=-",
            "allowed_ip=10.0.0.0",
            "allowed_ip=10.0.0.0/08",
            "allowed_ip=::/129",
        ),
        *(
            "allowed_ip=10.0.0.0/255.0.0.0",
            "allowed_ip=fe80::%lo/64",
            "allowed_ip=--::/0",
            "allowed_ip=+::/0",
        ),
        *("persistent_keepalive_interval=off", "protocol_version=", "fwmark=1", "public_key=", "remove=1"),
    ],
)
def test_a_bad_peer_line_is_einval(line: str) -> None:
    assert parse(f"set=1\npublic_key={KEY}\n{line}\n\n") == [RefusedRequest(errno.EINVAL)]


def test_the_zone_of_a_link_local_endpoint_is_an_index_or_a_name() -> None:
    for zone in ("lo", "1"):
        assert peer_of(f"endpoint=[fe80::2%{zone}]:9\n").endpoint == SocketAddress(
            ip_address("fe80::2"), 9, scope_id=1
        )


def test_a_mapped_ipv4_endpoint_is_the_ipv4_one() -> None:
    assert peer_of("endpoint=[::ffff:1.2.3.4]:9\n").endpoint == SocketAddress(ip_address("1.2.3.4"), 9)


def test_replace_allowed_ips_forgets_the_prefixes_written_before_it() -> None:
    peer = peer_of("allowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=11.0.0.0/8\n")
    assert peer.allowed_ips == (AllowedIpChange(ip_network("11.0.0.0/8")),)


def test_a_removed_peer_keeps_nothing_else_of_its_section() -> None:
    assert peer_of("allowed_ip=10.0.0.0/8\nremove=true\nendpoint=1.2.3.4:5\n") == PeerUpdate(
        PublicKey(bytes.fromhex(KEY)), remove=True
    )


def test_a_line_or_a_request_too_long_closes_the_connection() -> None:
    assert parse("set=1\n" + "x" * (LINE_MAX + 1)) == [RefusedRequest(errno.EINVAL, close=True)]
    parser = RequestParser()
    assert list(parser.feed(b"set=1\n")) == []
    block = b"fwmark=1\n" * 100_000
    answers: list[Request] = []
    for _ in range(30):
        answers += parser.feed(block)
    assert answers == [RefusedRequest(errno.EINVAL, close=True)]


@given(st.binary(max_size=400), st.sampled_from([b"", b"set=1\n", f"set=1\npublic_key={KEY}\n".encode()]))
def test_garbage_is_answered_or_hung_up_on_never_raised(garbage: bytes, before: bytes) -> None:
    whole = parse(before + garbage + b"\n\n")
    assert parse(before + garbage + b"\n\n", step=3) == whole


LINES = st.lists(
    st.one_of(
        st.from_regex(r"[a-z_]{0,12}=?[0-9a-f.:/%\-\[\]]{0,30}", fullmatch=True),
        st.sampled_from(
            (
                *(f"public_key={KEY}", "update_only=true", "remove=true", "replace_allowed_ips=true"),
                *("allowed_ip=10.0.0.0/8", "endpoint=1.2.3.4:5", "fwmark=5", "", "set=1", "get=1"),
            )
        ),
    ),
    max_size=12,
)


@given(LINES)
def test_nearly_right_lines_never_raise(lines: list[str]) -> None:
    for request in parse("set=1\n" + "\n".join(lines) + "\n\n"):
        if isinstance(request, SetRequest):
            assert parse(format_set(request.update)) == [SetRequest(request.update)]


# ---- both halves agree


def keys() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=32, max_size=32)


PREFIXES = st.one_of(
    st.ip_addresses(v=4).flatmap(
        lambda ip: st.integers(0, 32).map(lambda n: ip_network((ip, n), strict=False))
    ),
    st.ip_addresses(v=6).flatmap(
        lambda ip: st.integers(0, 128).map(lambda n: ip_network((ip, n), strict=False))
    ),
)
ENDPOINTS = st.builds(
    SocketAddress,
    st.ip_addresses().filter(lambda ip: ip.version == 4 or (ip.ipv4_mapped is None and not ip.is_link_local)),
    st.integers(0, 65535),
)
PEER_STATES = st.builds(
    PeerState,
    keys().map(PublicKey),
    keys().map(PresharedKey),
    st.none() | ENDPOINTS,
    st.integers(0, 1 << 62).map(WallTime),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 65535),
    st.lists(PREFIXES, max_size=3).map(tuple),
)
STATES = st.builds(
    DeviceState,
    st.none() | keys().filter(any).map(PrivateKey),
    st.integers(0, 65535),
    st.integers(0, 0xFFFFFFFF),
    st.lists(PEER_STATES, max_size=3).map(tuple),
)


@given(STATES)
def test_a_formatted_state_is_read_back(state: DeviceState) -> None:
    assert parse_get(format_get(state).decode()) == state


def test_unknown_keys_of_other_implementations_are_skipped() -> None:
    reply = f"own_public_key={KEY}\nfoo=bar\npublic_key={KEY}\nbar=foo\nerrno=0\n\n"
    assert parse_get(reply).peers[0].public_key == bytes.fromhex(KEY)


def nonsense() -> Iterator[str]:
    yield ""
    yield "listen_port=1\n\n"
    yield "errno=x\n\n"
    yield "listen_port=x\nerrno=0\n\n"
    yield "public_key=12\nerrno=0\n\n"
    yield "hello\nerrno=0\n\n"


@pytest.mark.parametrize("reply", list(nonsense()))
def test_a_reply_that_is_none_is_told(reply: str) -> None:
    with pytest.raises(ReplyError):
        parse_get(reply)


def test_a_refused_get_is_an_os_error() -> None:
    with pytest.raises(OSError, match="refused") as caught:
        parse_get("errno=-22\n\n")
    assert caught.value.errno == errno.EINVAL


@given(st.text())
def test_any_reply_is_read_or_refused(reply: str) -> None:
    try:
        parse_get(reply + "\nerrno=0\n\n")
    except (ReplyError, OSError):
        return
