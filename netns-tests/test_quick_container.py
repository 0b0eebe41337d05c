"""`wgpy up` in a container with NET_ADMIN and the TUN device, nothing else; its /proc/sys is read-only."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lab import PROJECT
from quickhost import PEER_KEY, PRIVATE_KEY, WGPY

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        shutil.which("podman") is None or shutil.which("crun") is None, reason="no podman, no crun"
    ),
]

CONFIG = f"""[Interface]
PrivateKey = {PRIVATE_KEY}
Address = 10.0.0.1/24, fd00::1/64
DNS = 10.0.0.53
[Peer]
PublicKey = {PEER_KEY}
Endpoint = 192.0.2.1:51820
AllowedIPs = 0.0.0.0/0, ::/0
"""
WITHIN = f"""
look() {{ ip address; ip rule; ip -6 rule; ip route show table all; nft list ruleset; cat /etc/resolv.conf; }}
grep CapEff /proc/self/status
look > /tmp/before
{" ".join(WGPY)} up wg0 || exit 1
wg show wg0 && ip address show dev wg0 && ip rule && cat /etc/resolv.conf
{" ".join(WGPY)} down wg0 || exit 2
look > /tmp/after
cmp /tmp/before /tmp/after && echo AS-BEFORE
"""
NET_ADMIN_ALONE = "CapEff:\t0000000000001000"


def rootfs(directory: Path) -> Path:
    """A root file system whose programs are the host's."""
    for name in ("etc/wireguard", "usr", "tmp", "run", "var", "proc", "sys", "dev", "root"):
        (directory / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (directory / name).symlink_to(f"usr/{name}")
    (directory / "var" / "run").symlink_to("/run")
    (directory / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (directory / "etc" / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    config = directory / "etc" / "wireguard" / "wg0.conf"
    config.write_text(CONFIG)
    config.chmod(0o600)
    return directory


def run_in_container(root: Path, script: str) -> "subprocess.CompletedProcess[str]":
    shared = {"/usr", str(PROJECT), sys.prefix, sys.base_prefix}
    volumes = [word for path in sorted(shared) for word in ("-v", f"{path}:{path}:ro")]
    limits = ["--cgroups=disabled", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
    rights = ["--cap-drop", "all", "--cap-add", "NET_ADMIN", "--device", "/dev/net/tun", "--network=none"]
    podman = ["podman", "run", "--rm", *limits, *rights, *volumes, "--rootfs", str(root), "sh", "-c", script]
    # Without the unified hierarchy out of the way podman wants to manage it.
    prepare = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare, "sh"]
    return subprocess.run([*alone, *podman], capture_output=True, text=True, check=False, timeout=120)


def test_tunnel_comes_up_and_goes_with_net_admin_and_the_device_alone(tmp_path: Path) -> None:
    done = run_in_container(rootfs(tmp_path / "root"), f"export PYTHONPATH={PROJECT}\n{WITHIN}")
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert NET_ADMIN_ALONE in done.stdout, told
    assert "10.0.0.1/24" in done.stdout, told
    assert "fd00::1/64" in done.stdout, told
    assert "not from all fwmark 0xca6c lookup 51820" in done.stdout, told
    assert "nameserver 10.0.0.53" in done.stdout, told
    assert "Warning: net.ipv4.conf.all.src_valid_mark cannot be set" in done.stderr, told
    assert done.stdout.endswith("AS-BEFORE\n"), told
