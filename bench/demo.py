"""The main job, on a screen: two hosts, two wg-quick files, `wgpy up` on each, and traffic.

    alice: wg0 10.0.0.1, fd00::1 ═ 192.0.2.1 ─── 192.0.2.2 ═ wg0 10.0.0.2, fd00::2 :bob

The hosts are two network namespaces; nothing of the machine's own network is touched, and nothing stays.
"""

import re
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "netns-tests"))

from lab import Namespace, connect, missing_prerequisites, wait_until
from wgpeer import Keys, preshared_key, wgpy_program

CONFIGURATION = """\
[Interface]
PrivateKey = {private}
Address = 10.0.0.{me}/24, fd00::{me}/64
ListenPort = 51820

[Peer]
PublicKey = {public}
PresharedKey = {preshared}
AllowedIPs = 10.0.0.{peer}/32, fd00::{peer}/128
Endpoint = 192.0.2.{peer}:51820
"""


def main() -> int:
    if missing := missing_prerequisites():
        print(f"demo: needs {', '.join(missing)}", file=sys.stderr)
        return 4
    with Namespace("alice") as alice, Namespace("bob") as bob:
        connect(alice, "eth0", bob, "eth0")
        alice.add_address("eth0", "192.0.2.1/24")
        bob.add_address("eth0", "192.0.2.2/24")
        write_configurations(alice, bob)
        for host in (alice, bob):
            show(host, "wgpy up wg0")
        show(alice, "ping -c 3 -i 0.2 10.0.0.2")
        show(alice, "ping -c 1 fd00::2")
        bob.spawn("iperf3", "-s", "-1", "-B", "10.0.0.2")
        wait_until(lambda: bob.run("ss", "-Hlnt", "sport = :5201"), 5, "iperf3 to listen")
        show(alice, "iperf3 -c 10.0.0.2 -t 5 -f g", only=r"sender|receiver|Transfer")
        show(alice, "wg show")
        show(alice, "wgpy status")
        for host in (alice, bob):
            show(host, "wgpy down wg0")
        show(alice, "ip -brief link", only=r"wg0|eth0")
    return 0


def write_configurations(alice: Namespace, bob: Namespace) -> None:
    """/etc/wireguard/wg0.conf on both; their directory is private to each namespace."""
    keys, preshared = {alice: Keys.generate(), bob: Keys.generate()}, preshared_key()
    for host, other, me, peer in ((alice, bob, 1, 2), (bob, alice, 2, 1)):
        text = CONFIGURATION.format(
            private=keys[host].private, public=keys[other].public, preshared=preshared, me=me, peer=peer
        )
        host.run("sh", "-c", "umask 077; cat > /etc/wireguard/wg0.conf", stdin=text)
    show(alice, "cat /etc/wireguard/wg0.conf")


def show(host: Namespace, command: str, only: str = "") -> None:
    """Print a command as typed and those lines of what it says that match `only`; no secret key."""
    print(f"\n\033[1m{host.name}# {command}\033[0m", flush=True)
    words = command.split()
    if words[0] == "wgpy":
        words[0] = str(wgpy_program("wgpy"))
    done = host.result(*words, env={"WG_COLOR_MODE": "never"})
    said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if re.search(only, line))
    said = re.sub(r"((?:Private|Preshared)Key = )\S+", r"\1(not shown here)", said)
    print(textwrap.indent(said, "  "), flush=True)
    if done.returncode != 0:
        raise SystemExit(f"demo: {command}: exit {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
