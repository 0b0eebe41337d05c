"""`wgpy bench` gives a figure for everything it promises, and says why where it cannot."""

import json

import pytest

from wgpy.cli import bench_tunnel, run


def test_crypto_and_syscalls_are_measured_without_privilege(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "crypto", "syscalls", "--seconds", "0.05", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == 1
    assert {"X25519", "WireGuard handshake, both sides", "Kyber512, encapsulate"} <= set(said["crypto"])
    assert all(figure.endswith(" us") for part in ("crypto", "syscalls") for figure in said[part].values())


def test_tunnel_without_root_is_left_out_by_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_tunnel.os, "geteuid", lambda: 1000)
    assert run(["bench", "tunnel"]) == 0
    assert "needs root" in capsys.readouterr().out


def test_unknown_part_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "moon"]) == 2
    assert "moon" in capsys.readouterr().err
