"""The main job, on a screen: two hosts, two wg-quick files, `wgpy up` on each, and post-quantum traffic.

    alice: wg0 10.0.0.1, fd00::1 ═ 192.0.2.1 ─── 192.0.2.2 ═ wg0 10.0.0.2, fd00::2 :bob

The hosts are two network namespaces; nothing of the machine's own network is touched, and nothing stays. A
renewal of the post-quantum key is due every two minutes; here after 6 s, so that one can be seen.
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
RosenpassPolicy = strict
# its own Rosenpass pair is found in /etc/wireguard/wg0: pqsk, pqpk

[Peer]
PublicKey = {public}
PresharedKey = {preshared}
AllowedIPs = 10.0.0.{peer}/32, fd00::{peer}/128
Endpoint = 192.0.2.{peer}:51820
RosenpassPublicKey = wg0/{name}.pqpk
"""
ENVIRONMENT = {
    "WG_COLOR_MODE": "never",
    "WGPY_ROSENPASS_TIMERS": "rekey_after_responder=6,rekey_after_initiator=7",
}


def main() -> int:
    if missing := missing_prerequisites():
        print(f"demo: needs {', '.join(missing)}", file=sys.stderr)
        return 4
    with Namespace("alice") as alice, Namespace("bob") as bob:
        connect(alice, "eth0", bob, "eth0")
        alice.add_address("eth0", "192.0.2.1/24")
        bob.add_address("eth0", "192.0.2.2/24")
        make_keys(alice, bob)
        write_configurations(alice, bob)
        bring_up(alice, bob)
        carry_traffic(alice, bob)
        for host in (alice, bob):
            show(host, "wgpy down wg0")
        show(alice, "ip -brief link", only=r"wg0|eth0")
    return 0


def make_keys(alice: Namespace, bob: Namespace) -> None:
    """A Rosenpass pair on each; the public halves, 512 KiB each, are carried to the other side."""
    for host in (alice, bob):
        show(host, "wgpy rosenpass gen-keys -d /etc/wireguard/wg0")
    for host, other in ((alice, bob), (bob, alice)):
        source, target = (Path(f"/proc/{side.pid}/root/etc/wireguard/wg0") for side in (other, host))
        (target / f"{other.name}.pqpk").write_bytes((source / "pqpk").read_bytes())
    show(alice, "wgpy rosenpass fingerprint /etc/wireguard/wg0/bob.pqpk")
    show(bob, "wgpy rosenpass fingerprint /etc/wireguard/wg0/pqpk")


def write_configurations(alice: Namespace, bob: Namespace) -> None:
    """/etc/wireguard/wg0.conf on both; their directory is private to each namespace."""
    keys, preshared = {alice: Keys.generate(), bob: Keys.generate()}, preshared_key()
    for host, other, me, peer in ((alice, bob, 1, 2), (bob, alice, 2, 1)):
        text = CONFIGURATION.format(
            private=keys[host].private, public=keys[other].public, preshared=preshared, me=me, peer=peer,
            name=other.name,
        )  # fmt: skip
        host.run("sh", "-c", "umask 077; cat > /etc/wireguard/wg0.conf", stdin=text)
    show(alice, "cat /etc/wireguard/wg0.conf")


def bring_up(alice: Namespace, bob: Namespace) -> None:
    """A ping that waits at the gate, until the session that carries user packets is post-quantum."""
    show(alice, "wgpy up wg0")
    say("A ping waits at the gate: under `strict` nothing leaves before there is a post-quantum session.")
    ping = alice.spawn("ping", "-c1", "-W20", "10.0.0.2")
    wait_until(lambda: "waiting to be sent" in run(alice, "wgpy status"), 5, "the ping to wait")
    show(alice, "wgpy status", only=r"policy|resistance|gate")
    show(bob, "wgpy up wg0")
    wait_until(lambda: "resistance: yes" in run(alice, "wgpy status"), 20, "a post-quantum session")
    show(alice, "wgpy status", only=r"policy|resistance|gate|session:")
    assert ping.wait(20) == 0, ping.output()
    say("The two ran the exchange over the tunnel itself, and the ping that waited was answered.")


def carry_traffic(alice: Namespace, bob: Namespace) -> None:
    """Ping, iperf3 over a rotation of the key, and what both tools say of it."""
    show(alice, "ping -c 3 -i 0.2 10.0.0.2", only=r"bytes from|received")
    show(alice, "ping -c 1 fd00::2", only=r"bytes from|received")
    bob.spawn("iperf3", "-s", "-1", "-B", "10.0.0.2")
    wait_until(lambda: bob.run("ss", "-Hlnt", "sport = :5201"), 5, "iperf3 to listen")
    say("The key is renewed every two minutes; here every six seconds, while a stream runs.")
    show(alice, "wgpy status", only=r"resistance")
    show(alice, "iperf3 -c 10.0.0.2 -t 9 -i 3 -f g", only=r"sec|Transfer")
    show(alice, "wgpy status", only=r"resistance")
    say("Younger than the stream was long: it was replaced meanwhile, and the stream did not notice.")
    show(alice, "wg show")
    show(alice, "wgpy status")


def run(host: Namespace, command: str) -> str:
    """What a command says; the demo ends where it fails."""
    words = command.split()
    if words[0] == "wgpy":
        words[0] = str(wgpy_program("wgpy"))
    done = host.result(*words, env=ENVIRONMENT)
    if done.returncode != 0:
        raise SystemExit(f"demo: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def say(text: str) -> None:
    """A word to the reader."""
    print(f"\n\033[3m# {text}\033[0m", flush=True)


def show(host: Namespace, command: str, only: str = "") -> None:
    """Print a command as typed and those lines of what it says that match `only`; no secret key."""
    print(f"\n\033[1m{host.name}# {command}\033[0m", flush=True)
    said = "\n".join(line for line in run(host, command).splitlines() if re.search(only, line))
    said = re.sub(r"((?:Private|Preshared)Key = )\S+", r"\1(not shown here)", said)
    print(textwrap.indent(said, "  "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
