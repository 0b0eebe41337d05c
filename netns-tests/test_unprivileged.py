"""An ordinary user, a user namespace, and a UDP socket opened before: the same tunnel, by docs/security.md.

    h1: uid 4711; wg0 10.7.0.1 in its own namespace ═ 10.99.0.1, its socket ─── 10.99.0.2 ═ 10.7.0.2 :h2

/dev/net/tun is the host's own, root's alone here: h1 has one that is open to all, as udev makes it elsewhere.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from lab import PROJECT, Namespace, wait_until
from wgpeer import Keys, Remote, WireguardGoPeer

pytestmark = pytest.mark.netns

UID = 4711
# What the user may not reach by its path is shown to it in its place: this Python may be root's own, and this
# tree in a directory of root's. Arguments: the Python; directories that are closed, "--"; what is in them.
STAGE = """
set -e
python=$1; shift
closed=
while [ "$1" != -- ]; do closed="$closed $1"; shift; done
shift
mknod -m 666 /run/tun c 10 200
mount --bind /run/tun /dev/net/tun
n=0
for kept in "$@"; do
    n=$((n + 1)); mkdir -p "/run/kept/$n"; mount --bind "$kept" "/run/kept/$n"
done
for place in $closed; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
n=0
for kept in "$@"; do
    n=$((n + 1)); mkdir -p "$kept"; mount --bind "/run/kept/$n" "$kept"
done
mkdir -p -m 755 /root/bin /root/home
printf '#!/bin/sh\\nexec %s -P -m wgpy "$@"\\n' "$python" > /root/bin/wgpy
ln -s "$python" /root/bin/python3
chmod 755 /root/bin/wgpy
"""


def documented_command() -> str:
    """The one of docs/security.md, from `python3` to the closing quote."""
    text = (PROJECT / "docs" / "security.md").read_text()
    found = re.search(r"^(python3 -c '\n.*?\n.*?\"\]\)')$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def closed_above(path: Path) -> Path | None:
    """The first directory on the way to it that is not for everybody."""
    way = [*reversed(path.parents), path]
    return next((place for place in way if not place.stat().st_mode & 0o001), None)


@pytest.fixture
def user(hosts: tuple[Namespace, Namespace]) -> Namespace:
    h1, _ = hosts
    kept = dict.fromkeys(Path(path).resolve() for path in (sys.base_prefix, sys.prefix, PROJECT))
    closed = dict.fromkeys((Path("/root"), *filter(None, map(closed_above, kept))))
    h1.run("sh", "-c", STAGE, "stage", sys.executable, *closed, "--", *kept)
    return h1


def test_an_ordinary_user_has_the_tunnel_in_a_namespace_of_its_own(
    user: Namespace, hosts: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    h1, h2 = hosts
    far, keys = WireguardGoPeer(h2, ("10.7.0.2/24",)), Keys.generate()
    far.start()
    far.configure([Remote(keys.public, ["10.7.0.1"])])
    home = Path("/root/home")
    config = (
        f"[Interface]\nPrivateKey = {keys.private}\nAddress = 10.7.0.1/24\n"
        f"[Peer]\nPublicKey = {far.keys.public}\nEndpoint = 10.99.0.2:51820\nAllowedIPs = 10.7.0.2/32\n"
    )
    script = (
        "ping -n -c3 -i0.2 -W5 10.7.0.2; cat /proc/self/uid_map; ip -br link; wg show wg0 latest-handshakes; "
        "grep -hE 'Seccomp:|NoNewPrivs|CapBnd' /proc/$(pgrep -f wgpy.daemon | head -1)/status; "
        "sleep 1; echo END"
    )
    h1.run(
        "sh", "-c", f"cat > {home}/wg0.conf; chmod 600 {home}/wg0.conf; chown -R {UID} {home}", stdin=config
    )
    h1.run(
        "sh", "-c", f"printf '%s\\n' '#!/bin/sh' {shell_quoted(script)} > /root/shell; chmod 755 /root/shell"
    )
    environment = {
        "SHELL": "/root/shell",
        "PATH": f"/root/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
    }
    as_user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs", "--")
    done = h1.result(
        *as_user, "sh", "-c", f"cd {home} && {documented_command()}", env=environment, timeout=60
    )
    told = done.stdout + done.stderr
    assert "3 received" in done.stdout, told
    assert re.search(rf"^\s+0\s+{UID}\s+1$", done.stdout, re.MULTILINE), told
    assert "eth0" not in done.stdout, told
    assert far.keys.public in done.stdout, told
    assert "Seccomp:\t2" in done.stdout, told
    assert far.seen(keys.public).endpoint == "10.99.0.1:51820"
    wait_until(lambda: "51820" not in h1.run("ss", "-lun"), 15, "the socket to go with the shell")


def test_socket_activation_hands_the_socket_in(user: Namespace, hosts: tuple[Namespace, Namespace]) -> None:
    h1, h2 = hosts
    if shutil.which("systemd-socket-activate") is None:
        pytest.skip("needs systemd-socket-activate")
    far, keys = WireguardGoPeer(h2, ("10.7.0.2/24",)), Keys.generate()
    far.start()
    far.configure([Remote(keys.public, ["10.7.0.1"], "10.99.0.1:51820", keepalive=1)])  # what wakes it up
    h1.run(
        "sh",
        "-c",
        "umask 077; cat > /run/wg0.conf",
        stdin=f"[Interface]\nPrivateKey = {keys.private}\nAddress = 10.7.0.1/24\n"
        f"[Peer]\nPublicKey = {far.keys.public}\nAllowedIPs = 10.7.0.2/32\n",
    )
    environment = {"PYTHONPATH": str(PROJECT), "PATH": f"/root/bin:{os.environ['PATH']}"}
    activated = ("systemd-socket-activate", "-d", "-l", "0.0.0.0:51820", "-E", "PYTHONPATH", "-E", "PATH")
    process = h1.spawn(*activated, "/root/bin/wgpy", "up", "-f", "/run/wg0.conf", env=environment)
    far_reaches = ("ping", "-n", "-c1", "-W1", "10.7.0.1")
    wait_until(lambda: h2.ok(*far_reaches), 20, process.output)
    assert h1.run("wg", "show", "wg0", "listen-port").strip() == "51820"
    process.stop()


def shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
