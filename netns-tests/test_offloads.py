"""Every offload has a fall-back, and both carry the same bytes.

    h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 another of ours: h2

Both ends run with the same offloads switched off by WGPY_DISABLE, or with the same cipher by WGPY_AEAD.
"""

import pytest
from test_transfer import transfer
from tunnel import tunnel
from wgpeer import WgpyPeer

OFFLOADS = ("tso", "uso", "udp_gso", "udp_gro", "tun_coalesce")
SIZE = 32 << 20


def check_transfers(environment: dict[str, str]) -> None:
    with tunnel(WgpyPeer, subject=WgpyPeer, environment=environment) as t:
        t.subject.ping(t.other.address4)
        sent, got = transfer("tcp", t.h1, t.h2, t.other.address4, SIZE)
        assert got["sha256"] == sent["sha256"]
        sent, got = transfer("udp", t.h2, t.h1, t.subject.address6, SIZE)
        assert (got["corrupt"], got["duplicated"]) == (0, 0)
        assert int(str(got["lost"])) <= int(str(sent["sent"])) // 1000


def test_without_any_offload_the_bytes_are_the_same() -> None:
    """Each alone is tried in test_dataplane.py, without handshakes."""
    check_transfers({"WGPY_DISABLE": ",".join(OFFLOADS)})


@pytest.mark.parametrize("aead", ["openssl", "ipsec_mb"])
def test_every_cipher_implementation_carries_the_same_bytes(aead: str) -> None:
    check_transfers({"WGPY_AEAD": aead})


def test_ends_with_different_offloads_understand_each_other() -> None:
    with tunnel(WgpyPeer, subject=WgpyPeer, environment={"WGPY_DISABLE": ",".join(OFFLOADS)}) as t:
        t.other.stop()
        t.other.environment = {}
        t.other.start()
        t.introduce(t.subject, both=True)
        t.subject.ping(t.other.address4)
        sent, got = transfer("tcp", t.h1, t.h2, t.other.address4, SIZE)
        assert got["sha256"] == sent["sha256"]
        sent, got = transfer("tcp", t.h2, t.h1, t.subject.address4, SIZE)
        assert got["sha256"] == sent["sha256"]
