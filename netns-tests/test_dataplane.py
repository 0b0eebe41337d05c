"""The data plane alone, real TUNs and static keys: every offload by itself off, and a TUN that goes away.

left: wg0 10.0.0.1, fd00::1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ wg0 10.0.0.2, fd00::2: right
"""

import json
import sys

import pytest
import stream
from lab import PROJECT, Namespace, wait_until
from planes import ADDRESSES, ADDRESSES6, planes

STREAM = str(PROJECT / "netns-tests" / "stream.py")
SIZE = 24 << 20
ALL = 0x7F
FEATURES = {
    "tso": 0x01,
    "uso": 0x02,
    "udp_gso": 0x04,
    "udp_gro": 0x08,
    "coalesce": 0x10,
    "ecn": 0x20,
    "icmp": 0x40,
}
Hosts = tuple[Namespace, Namespace]


def transfer(protocol: str, hosts: Hosts, address: str) -> None:
    """Every byte must arrive; of UDP a window may be lost before the receiver listens."""
    words = (sys.executable, STREAM)
    sink = hosts[1].spawn(*words, "receive", protocol, address, 5000, SIZE)
    sent = json.loads(hosts[0].run(*words, "send", protocol, address, 5000, SIZE, timeout=120))
    assert sink.wait(within=30) == 0, sink.output()
    got = json.loads(sink.output())
    if protocol == "tcp":
        assert (got["bytes"], got["sha256"]) == (SIZE, sent["sha256"])
    else:
        assert (got["corrupt"], got["duplicated"]) == (0, 0)
        assert got["lost"] <= stream.WINDOW


@pytest.mark.netns
@pytest.mark.parametrize("off", ["none", *FEATURES, "all"])
def test_bytes_arrive_whatever_offload_is_off(hosts: Hosts, off: str) -> None:
    features = 0 if off == "all" else ALL & ~FEATURES.get(off, 0)
    with planes(*hosts, options=(hex(features),)) as (a, b):
        for protocol, address in (("tcp", ADDRESSES[1]), ("udp", ADDRESSES[1]), ("tcp", ADDRESSES6[1])):
            transfer(protocol, hosts, address)
        drops = b.finish()["drops"]
        assert isinstance(drops, dict)
        assert not {"tun_write", "tun_merge_refused", "data_authentication", "data_replayed"} & set(drops)
        assert int(str(a.finish()["features"])) | features == features


@pytest.mark.netns
def test_bytes_arrive_over_ipv6_outside(hosts: Hosts) -> None:
    with planes(*hosts, version=6):
        transfer("tcp", hosts, ADDRESSES[1])
        transfer("udp", hosts, ADDRESSES6[1])


@pytest.mark.netns
@pytest.mark.parametrize("mtu", [1280, 1400])
def test_a_path_too_small_for_the_tunnel_still_carries_it(hosts: Hosts, mtu: int) -> None:
    """UDP_SEGMENT is refused there; single datagrams are fragmented."""
    for host in hosts:
        host.ip(f"link set eth0 mtu {mtu}")
    with planes(*hosts) as (a, _):
        transfer("tcp", hosts, ADDRESSES[1])
        drops = a.finish()["drops"]
        assert isinstance(drops, dict)
        assert 0 < drops["segments_refused"] < 10
        assert int(str(a.finish()["features"])) & FEATURES["udp_gso"]


@pytest.mark.netns
def test_a_link_that_goes_down_and_up_carries_on(hosts: Hosts) -> None:
    with planes(*hosts) as (a, _):
        hosts[0].run("ping", "-c", "1", "-W", "5", ADDRESSES[1])
        hosts[0].ip("link set wg0 down")
        hosts[1].result("ping", "-c", "2", "-i", "0.2", "-W", "1", ADDRESSES[0])
        hosts[0].ip("link set wg0 up")
        wait_until(lambda: hosts[0].ok("ping", "-c", "1", "-W", "1", ADDRESSES[1]), 10, "the tunnel after up")
        assert a.finish()["events"] == []


@pytest.mark.netns
def test_a_deleted_interface_is_told_once(hosts: Hosts) -> None:
    with planes(*hosts) as (a, _):
        hosts[0].ip("link delete wg0")
        hosts[1].result("ping", "-c", "2", "-i", "0.2", "-W", "1", ADDRESSES[0])
        assert "DEVICE_GONE" in str(a.finish()["events"])


@pytest.mark.netns
def test_an_endpoint_behind_the_tunnel_does_not_melt_the_host(hosts: Hosts) -> None:
    """The peer's outer address is routed into the tunnel itself: less than 70,000 bytes for one packet."""
    with planes(*hosts) as (a, _):
        hosts[0].ip("route add 10.99.0.2/32 dev wg0")
        hosts[0].result("ping", "-c", "1", "-W", "1", ADDRESSES[1])
        record, drops = a.finish()["record"], a.finish()["drops"]
        assert isinstance(record, dict)
        assert isinstance(drops, dict)
        assert record["tx_bytes"] < 70_000
        assert drops["tun_loop"] > 0
