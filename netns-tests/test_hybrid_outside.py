"""The exchange outside the tunnel, as `rosenpass` runs it, with wgpy at both ends.

h1: a 10.7.0.1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ 10.7.0.2 b: h2
                 :51821 ────────────────────── :51821 the exchange
"""

from pathlib import Path

import pytest
from hybrid import FAST_ROTATION, hybrid, up_together, wait_for_rotations, wait_for_yes


@pytest.mark.parametrize("hosts", [("10.99.0.1", "10.99.0.2"), ("[fd99::1]", "[fd99::2]")], ids=["v4", "v6"])
def test_exchange_starts_and_renews_outside_the_tunnel(tmp_path: Path, hosts: tuple[str, str]) -> None:
    with hybrid(tmp_path, environment=FAST_ROTATION) as (a, b):
        a.peers[0].extra = f"RosenpassEndpoint = {hosts[1]}:51821"
        b.peers[0].extra = f"RosenpassEndpoint = {hosts[0]}:51821"
        up_together(a, b)
        wait_for_yes(a, b)
        wait_for_rotations(a, 2, within=20)
        assert a.reaches(b.address4)
        b.kill()  # the link of the other stays up: what it sends now must not go into it
        b.quick.wgpy("down", b.write())
        b.up()
        wait_for_yes(b)


def test_end_that_only_answers_is_asked_by_the_other(tmp_path: Path) -> None:
    with hybrid(tmp_path) as (a, b):
        a.peers[0].extra = "RosenpassEndpoint = none"
        b.peers[0].extra = "RosenpassEndpoint = 10.99.0.1:51821"
        a.up()
        b.up()
        wait_for_yes(a, b)
