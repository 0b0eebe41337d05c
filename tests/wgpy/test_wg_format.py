"""wgpy.wg_format and the commands around it: the bytes and effects of stock `wg`, run side by side."""

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.uapi_world import World, full_state

from wgpy.model import DeviceState
from wgpy.uapi import format_get
from wgpy.uapi_ask import parse_get
from wgpy.wg_format import FIELDS, Interface, Style, bytes_text, duration_text, show, showconf

WGPY = (sys.executable, "-m", "wgpy")
A, B, C = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
COLOURED = {"WG_COLOR_MODE": "always", "WG_HIDE_KEYS": "never"}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def same_output(world: World, *words: str, **env: str) -> None:
    """Both programs print the same: stock runs before and after ours, as a second may pass; so may more."""
    for _ in range(5):
        before = world.run("wg", *words, env=env)
        ours = world.run(*WGPY, *words, env=env)
        stock = before if ours.stdout == before.stdout else world.run("wg", *words, env=env)
        if (stock.stdout, stock.returncode) == (ours.stdout, ours.returncode):
            break
    assert (ours.stdout, ours.returncode) == (stock.stdout, stock.returncode), ours.stderr


# ---- listings


@pytest.mark.parametrize("interface", ["wgfull", "wgblank", "wglonely", "all"])
def test_show_prints_the_bytes_of_wg(world: World, interface: str) -> None:
    same_output(world, "show", interface)
    same_output(world, "show", interface, **COLOURED)


@pytest.mark.parametrize("field", FIELDS)
def test_show_field_prints_the_bytes_of_wg(world: World, field: str) -> None:
    same_output(world, "show", "wgfull", field)
    same_output(world, "show", "all", field)


def test_show_alone_and_interfaces_print_the_bytes_of_wg(world: World) -> None:
    same_output(world, "show")
    same_output(world, "show", "interfaces")


@pytest.mark.parametrize("interface", ["wgfull", "wgblank", "wglonely"])
def test_showconf_prints_the_bytes_of_wg(world: World, interface: str) -> None:
    same_output(world, "showconf", interface)


def test_keys_print_as_wg_prints_them(world: World) -> None:
    private = world.run(*WGPY, "genkey").stdout
    assert world.run(*WGPY, "pubkey", text=private).stdout == world.run("wg", "pubkey", text=private).stdout
    assert len(private) == len(world.run("wg", "genpsk").stdout) == len(world.run(*WGPY, "genpsk").stdout)


def test_writing_a_key_to_an_exposed_file_warns_as_wg_does(world: World, tmp_path: Path) -> None:
    script = f"umask 022; wg genkey >{tmp_path}/a; {' '.join(WGPY)} genkey >{tmp_path}/b"
    said = world.run("sh", "-c", script).stderr
    assert said == said[: len(said) // 2] * 2
    assert "world accessible" in said


# ---- effects


CONFIG = f"""[Interface]
PrivateKey = {A}
ListenPort = 5000
[Peer]
PublicKey = {B}
PresharedKey = {C}
AllowedIPs = 10.0.0.1/24,fd00::1
Endpoint = 192.0.2.1:1
PersistentKeepalive = 25
[Peer]
PublicKey = {C}
AllowedIPs = 10.1.0.0/16
"""
BEFORE = f"""[Interface]
PrivateKey = {A}
ListenPort = 6000
FwMark = 7
[Peer]
PublicKey = {A}
AllowedIPs = 10.9.0.0/16
[Peer]
PublicKey = {B}
PresharedKey = {A}
AllowedIPs = 10.0.0.0/24, 10.8.0.0/16
Endpoint = 192.0.2.9:9
PersistentKeepalive = 5
"""
# What a file leaves out of a kept peer: the newest `wg syncconf` and ours reset it, that of 2021 does not.
UNTOLD = (f"PresharedKey = {A}\n", "PersistentKeepalive = 5\n")


def section(key: str, *lines: str) -> str:
    return "\n".join(("[Peer]", f"PublicKey={key}", *lines, ""))


FILES = {
    "whole": CONFIG,
    "empty": "",
    "interface only": f"[Interface]\nPrivateKey={A}\nFwMark=0x12",
    "no keepalive, no key": f"[Interface]\nPrivateKey={A}\nListenPort=5000\n{section(B)}",
    "one key twice": section(B, "AllowedIPs=10.0.0.0/8") + section(B, "AllowedIPs=11.0.0.0/8"),
    "one prefix twice": section(B, "AllowedIPs=1.0.0.0/8") + section(C, "AllowedIPs=1.0.0.0/8"),
    "swapped prefixes": section(A, "AllowedIPs=10.0.0.0/24") + section(B, "AllowedIPs=10.9.0.0/16"),
    "off": "[Interface]\nFwMark=off\nListenPort=1\n" + section(B, "PersistentKeepalive=off"),
    "odd layout": f"# c\n[INTERFACE]#c\n private key={A}#c\n\n[peer]\npublickey = {B}\nallowedips=::/0",
}


def dumped(world: World, interface: str) -> list[list[str]]:
    """A dump that does not depend on the order of peers."""
    lines = world.run("wg", "show", interface, "dump").stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    for row in rows[1:]:
        row[3] = ",".join(sorted(row[3].split(",")))
    return rows[:1] + sorted(rows[1:])


@pytest.mark.parametrize("command", ["setconf", "addconf", "syncconf"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_effect_it_has_with_wg(world: World, command: str, name: str, tmp_path: Path) -> None:
    file, before = tmp_path / "x.conf", tmp_path / "before.conf"
    file.write_text(FILES[name])
    before.write_text(
        BEFORE if command != "syncconf" else BEFORE.replace(UNTOLD[0], "").replace(UNTOLD[1], "")
    )
    for interface in ("wgours", "wgstock"):
        assert world.run("wg", "setconf", interface, str(before)).returncode == 0
    stock = world.run("wg", command, "wgstock", str(file))
    ours = world.run(*WGPY, command, "wgours", str(file))
    assert (ours.returncode, ours.stdout) == (stock.returncode, stock.stdout), ours.stderr + stock.stderr
    assert dumped(world, "wgours") == dumped(world, "wgstock")


def test_syncconf_resets_what_the_file_leaves_out_of_a_kept_peer(world: World, tmp_path: Path) -> None:
    file, before = tmp_path / "x.conf", tmp_path / "before.conf"
    file.write_text(section(B, "AllowedIPs=10.0.0.0/24"))
    before.write_text(BEFORE)
    assert world.run(*WGPY, "setconf", "wgours", str(before)).returncode == 0
    assert world.run(*WGPY, "syncconf", "wgours", str(file)).returncode == 0
    assert dumped(world, "wgours")[1:] == [[B, "(none)", "192.0.2.9:9", "10.0.0.0/24", "0", "0", "0", "off"]]


SETS = {
    "device": "listen-port 7 fwmark 0x10 private-key KEY",
    "off": "fwmark off listen-port 0 private-key /dev/null",
    "new peer": f"peer {C} preshared-key KEY endpoint 192.0.2.3:3 persistent-keepalive 7 allowed-ips ::/0",
    "v6": f"peer {C} endpoint [2001:db8::1]:3",
    "bare peer": f"peer {C}",
    "remove": f"peer {B} remove",
    "remove unknown": f"peer {C} remove",
    "empty list": f"peer {B} allowed-ips EMPTY",
    "two peers": f"peer {B} persistent-keepalive off preshared-key /dev/null peer {C} allowed-ips 1.0.0.0/8",
    "port and peer": f"listen-port 9 peer {B} allowed-ips 10.3.0.0/16,10.4.0.0/16",
    "bad word": "listen-prt 5",
    "bad key": "peer abc",
    "bad prefix": f"peer {B} allowed-ips 10.0.0.0/33",
    "bad endpoint": f"peer {B} endpoint 192.0.2.1",
    "bad keepalive": f"peer {B} persistent-keepalive 65536",
    "no value": "listen-port",
    "no file": "private-key /nonexistent",
    "device word after peer": f"peer {B} listen-port 5",
}


@pytest.mark.parametrize("name", SETS)
def test_set_has_the_effect_it_has_with_wg(world: World, name: str, tmp_path: Path) -> None:
    key, before = tmp_path / "key", tmp_path / "before.conf"
    key.write_text(B + "\n")
    key.chmod(0o600)
    before.write_text(BEFORE)
    words = ["" if word == "EMPTY" else str(key) if word == "KEY" else word for word in SETS[name].split(" ")]
    for interface in ("wgours", "wgstock"):
        assert world.run("wg", "setconf", interface, str(before)).returncode == 0
    stock = world.run("wg", "set", "wgstock", *words)
    ours = world.run(*WGPY, "set", "wgours", *words)
    assert bool(ours.returncode) == bool(stock.returncode), ours.stderr + stock.stderr
    assert dumped(world, "wgours") == dumped(world, "wgstock")
    if ours.returncode:
        assert ours.returncode in (2, 3)
        assert ours.stderr.count("\n") == 1


def test_set_takes_signed_prefixes_away_and_adds_them(world: World) -> None:
    world.run(*WGPY, "set", "wgours", "peer", B, "allowed-ips", "10.0.0.0/8,11.0.0.0/8")
    assert (
        world.run(*WGPY, "set", "wgours", "peer", B, "allowed-ips", "-10.0.0.0/8,+12.0.0.0/8").returncode == 0
    )
    shown = world.run("wg", "show", "wgours", "allowed-ips").stdout
    assert f"{B}\t11.0.0.0/8 12.0.0.0/8\n" in shown


def test_stock_wg_syncs_our_showconf_without_change(world: World, tmp_path: Path) -> None:
    file = tmp_path / "x.conf"
    file.write_text(world.run(*WGPY, "showconf", "wgfull").stdout)
    before = dumped(world, "wgfull")
    assert world.run("wg", "syncconf", "wgfull", str(file)).returncode == 0
    assert dumped(world, "wgfull") == before


def test_strip_prints_the_bytes_of_wg_quick(world: World, tmp_path: Path) -> None:
    file = tmp_path / "wgs0.conf"
    file.write_bytes(
        b"# caf\xe9\n[Interface]\n  Address = 10.0.0.1/24\nprivatekey = "
        + A.encode()
        + b" # k\n\tPostUp = x # y\n"
        b"\nTABLE=off\n[Peer] # p\nPublicKey = " + B.encode() + b"\nAllowedIPs = 10.0.0.0/8\n\n\n"
    )
    file.chmod(0o600)
    stock = os.popen(f"wg-quick strip {file} | od -c").read()
    assert stock
    assert os.popen(f"{' '.join(WGPY)} strip {file} | od -c").read() == stock


# ---- pure parts


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        ((1 << 20) - 1, "1024.00 KiB"),
        (1 << 50, "1024.00 TiB"),
    ],
)
def test_bytes_are_shown_in_the_greatest_unit_that_has_one(count: int, text: str) -> None:
    assert bytes_text(count, Style(0)) == text


def test_durations_name_every_unit_that_is_not_zero() -> None:
    assert duration_text(365 * 86400 + 3601, Style(0)) == "1 year, 1 hour, 1 second"
    assert duration_text(0, Style(0)) == ""


def test_secrets_are_hidden_unless_asked_for() -> None:
    state: DeviceState = parse_get(format_get(full_state()).decode())
    interface = Interface("wg0", state, None)
    text = show(interface, Style(0))
    assert state.private_key is not None
    for secret in (state.private_key, state.peers[1].preshared_key):
        encoded = base64.b64encode(secret).decode()
        assert encoded not in text
        assert encoded in showconf(state)
