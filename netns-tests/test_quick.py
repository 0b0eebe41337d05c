"""`wgpy up` and `wgpy down`: what they do to a host, and that nothing of it stays.

h1 10.99.0.1, fd99::1 ── eth0 ── eth0 ── 10.99.0.2, fd99::2 h2
"""

import base64
import shutil
import signal
from pathlib import Path

import pytest
from lab import Namespace, wait_until
from quickhost import DEVICE, DEVICES, PEER_KEY, PRIVATE_KEY, WGPY, QuickHost

pytestmark = pytest.mark.netns

PEER = f"[Peer]\nPublicKey = {PEER_KEY}\nEndpoint = 10.99.0.2:51820\n"
PLAIN = (
    f"[Interface]\nAddress = 10.0.0.1/24, fd00::1/64\n{PEER}AllowedIPs = 10.0.0.2, 10.8.0.0/16, fd05::/64\n"
)
FULL = (
    "[Interface]\nAddress = 10.0.0.1/24\nAddress = fd00::1/64\nDNS = 10.0.0.53, corp.example\n"
    f"{PEER}AllowedIPs = 0.0.0.0/0, ::/0, 10.8.0.0/16\n"
)


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> QuickHost:
    h1, _ = hosts
    h1.ip("route add default via 10.99.0.2")
    h1.ip("-6 route add default via fd99::2")
    return QuickHost(h1, tmp_path, DEVICES[DEVICE])


def test_tunnel_comes_up_as_configured(quick: QuickHost) -> None:
    quick.up(quick.write(PLAIN))
    host = quick.host
    addresses = host.ip("-o address show dev wg0")
    assert "10.0.0.1/24" in addresses
    assert "fd00::1/64" in addresses
    assert "fe80::" not in addresses
    assert "mtu 1420" in host.ip("link show dev wg0")
    assert "10.8.0.0/16 scope link" in host.ip("route show dev wg0")
    assert "10.0.0.2" not in host.ip("route show dev wg0")
    assert "fd05::/64" in host.ip("-6 route show dev wg0")
    assert PEER_KEY in host.run("wg", "show", "wg0")


@pytest.mark.parametrize("text", [PLAIN, FULL], ids=["plain", "full"])
def test_down_leaves_the_host_as_it_was(quick: QuickHost, text: str) -> None:
    path = quick.write(text)
    before = quick.snapshot()
    quick.up(path)
    assert quick.snapshot() != before
    quick.down(path)
    assert quick.snapshot() == before
    wait_until(lambda: quick.processes() == [], 5, lambda: f"{quick.processes()} to end")


def test_second_up_is_refused_and_changes_nothing(quick: QuickHost) -> None:
    path = quick.write(FULL)
    quick.up(path)
    before, running = quick.snapshot(), quick.processes()
    refused = quick.wgpy("up", path)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("wgpy: wg0 already exists")
    assert quick.snapshot() == before
    wait_until(lambda: quick.processes() == running, 5, lambda: f"{quick.processes()} to be {running}")


def test_interface_of_somebody_else_is_neither_taken_nor_removed(quick: QuickHost) -> None:
    quick.host.ip("tuntap add dev wg0 mode tun")
    path = quick.write(PLAIN)
    before = quick.snapshot()
    assert quick.wgpy("up", path).returncode == 1
    refused = quick.wgpy("down", path)
    assert refused.returncode == 1
    assert "not brought up by wgpy" in refused.stderr
    assert quick.snapshot() == before
    wait_until(lambda: quick.processes() == [], 5, lambda: f"{quick.processes()} to end")


def test_down_of_what_is_not_up_says_so(quick: QuickHost) -> None:
    refused = quick.wgpy("down", quick.write(PLAIN))
    assert refused.returncode == 1
    assert refused.stderr == "wgpy: wg0 is not up\n"


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ("[Interface]\nAddress = 10.0.0.300\n", "wg0.conf:3"),
        ("[Interface]\nNonsense = 1\n", "wg0.conf:3"),
        ("[Interface]\nUser = nobody-of-that-name\n", "User"),
        ("[Interface]\nUser = root\n", "User"),
    ],
)
def test_bad_configuration_creates_nothing(quick: QuickHost, bad: str, word: str) -> None:
    before = quick.snapshot()
    refused = quick.wgpy("up", quick.write(bad))
    assert refused.returncode == 3, refused.stderr
    assert word in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert quick.snapshot() == before


def test_without_capability_it_is_exit_4_and_nothing(quick: QuickHost) -> None:
    path = quick.write(PLAIN)
    before = quick.snapshot()
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    words = " ".join([*command, *map(str, WGPY), "up", str(path)])
    refused = quick.host.result("sh", "-c", words)
    assert refused.returncode == 4, refused.stderr
    assert "CAP_NET_ADMIN" in refused.stderr
    assert quick.snapshot() == before


@pytest.mark.parametrize(
    "broken",
    [
        "PostUp = false",
        "PreUp = exit 3",
        "PostUp = true\nPostUp = kill -9 $$",
        "Address = 10.0.0.1/24",  # the second time
        "Table = no-such-table",
        "MTU = 576\nAddress = fd00::2/64",
    ],
)
def test_failure_on_the_way_leaves_nothing(quick: QuickHost, broken: str) -> None:
    path = quick.write(FULL.replace("[Interface]\n", f"[Interface]\n{broken}\n"))
    before = quick.snapshot()
    refused = quick.wgpy("up", path)
    assert refused.returncode in (1, 3), refused.stderr
    assert quick.snapshot() == before
    wait_until(lambda: quick.processes() == [], 5, lambda: f"{quick.processes()} to end")


def test_signal_on_the_way_leaves_nothing(quick: QuickHost) -> None:
    path = quick.write(FULL.replace("[Interface]\n", "[Interface]\nPostUp = touch /run/here; sleep 60\n"))
    before = quick.snapshot()
    for number in (signal.SIGTERM, signal.SIGINT):
        process = quick.host.spawn(*WGPY, "up", path, env=quick.environment)
        wait_until(lambda: quick.host.ok("rm", "/run/here"), 10, process.output)
        process.signal(number)
        assert process.wait(10) == 1
        assert "nothing was left behind" in process.output()
        assert quick.snapshot() == before


TABLES = {
    "off": ([], "", []),
    "auto": (["10.8.0.0/16"], "51820", ["default"]),
    "1234": ([], "1234", ["default", "10.0.0.2", "10.8.0.0/16"]),
    "main": (["default", "10.0.0.2", "10.8.0.0/16"], "", []),
}


@pytest.mark.parametrize("table", TABLES)
def test_table_says_where_routes_go(quick: QuickHost, table: str) -> None:
    main, other, there = TABLES[table]
    text = f"[Interface]\nAddress = 10.0.0.1/24\nTable = {table}\n{PEER}AllowedIPs = 10.0.0.2/32, 10.8.0.0/16"
    path = quick.write(f"{text}{'' if table == 'main' else ', 0.0.0.0/0'}\n")
    if table == "main":
        path = quick.write(f"{text}, 0.0.0.0/0\n")
        quick.host.ip("route delete default")
    before = quick.snapshot()
    quick.up(path)
    routes = quick.host.ip("route show dev wg0").splitlines()
    assert [line.split()[0] for line in routes if "proto kernel" not in line] == main
    if other:
        routes = quick.host.ip(f"route show table {other}").splitlines()
        assert [line.split()[0] for line in routes] == there
    assert ("suppress_prefixlength" in quick.host.ip("rule")) == (table == "auto")
    quick.down(path)
    assert quick.snapshot() == before


MTUS = [
    ("", "MTU = 1234\n", 1234),
    ("", "", 1420),
    ("link set dev eth0 mtu 1400", "", 1320),
    ("route add 10.99.0.2 dev eth0 mtu 1380", "", 1300),
    ("route add 10.99.0.2 dev eth0 mtu 1280", "Address = fd00::1/64\n", 1280),
]


@pytest.mark.parametrize(("preparation", "key", "expected"), MTUS)
def test_mtu_follows_the_way_to_the_peer(quick: QuickHost, preparation: str, key: str, expected: int) -> None:
    if preparation:
        quick.host.ip(preparation)
    quick.up(
        quick.write(
            PLAIN.replace(", fd00::1/64", "")
            .replace(", fd05::/64", "")
            .replace("[Interface]\n", f"[Interface]\n{key}")
        )
    )
    assert f"mtu {expected} " in quick.host.ip("link show dev wg0")


def test_two_full_tunnels_do_not_disturb_each_other(quick: QuickHost) -> None:
    first = quick.write(FULL)
    second = quick.write(FULL.replace("10.0.0.", "10.1.0.").replace("fd00:", "fd01:"), "wg1")
    before = quick.snapshot()
    quick.up(first)
    only_first = quick.snapshot()
    quick.up(second)
    quick.down(second)
    assert quick.snapshot() == only_first
    quick.up(second)
    quick.down(first)
    assert "10.1.0.1" in quick.host.run("nft", "list", "ruleset")
    assert "lookup 51821" in quick.host.ip("rule")
    assert quick.host.run("cat", "/proc/sys/net/ipv4/conf/all/src_valid_mark") == "1\n"
    assert quick.host.run("cat", "/etc/resolv.conf").startswith("# wgpy: wg1 ")
    quick.down(second)
    assert quick.snapshot() == before


def test_read_only_sysctls_are_a_warning(quick: QuickHost) -> None:
    path = quick.write(FULL)
    quick.host.run("mount", "--bind", "/proc/sys", "/proc/sys")
    quick.host.run("mount", "-o", "remount,ro,bind", "/proc/sys")
    before = quick.snapshot()
    done = quick.up(path)
    assert "Warning: net.ipv4.conf.all.src_valid_mark cannot be set" in done.stderr
    assert "lookup 51820" in quick.host.ip("rule")
    quick.down(path)
    assert quick.snapshot() == before


def test_ipv6_switched_off_for_new_interfaces_is_switched_on_for_ours(quick: QuickHost) -> None:
    quick.host.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    path = quick.write(FULL)
    before = quick.snapshot()
    quick.up(path)
    assert "fd00::1/64" in quick.host.ip("address show dev wg0")
    quick.down(path)
    assert quick.snapshot() == before


def test_ipv6_switched_off_for_good_is_left_out_with_a_warning(quick: QuickHost) -> None:
    quick.host.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    quick.host.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    quick.host.run("mount", "--bind", "/proc/sys", "/proc/sys")
    quick.host.run("mount", "-o", "remount,ro,bind", "/proc/sys")
    path = quick.write(FULL)
    before = quick.snapshot()
    assert "Warning: IPv6 is off" in quick.up(path).stderr
    assert "lookup 51820" in quick.host.ip("rule")
    quick.down(path)
    assert quick.snapshot() == before


HOOKS = (
    "[Interface]\nAddress = 10.0.0.1/24\n"
    + "".join(
        f"{key} = echo {key} {number} %i $(ls /sys/class/net | grep -c %i) >> $HOOK_LOG\n"
        for number in (1, 2)
        for key in ("PostDown", "PostUp", "PreDown", "PreUp")
    )
    + f"{PEER}AllowedIPs = 10.0.0.2/32\n"
)


def test_hooks_run_in_the_order_of_wg_quick(quick: QuickHost, tmp_path: Path) -> None:
    path = quick.write(HOOKS)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    quick.up(path, HOOK_LOG=str(ours))
    assert quick.wgpy("down", path, HOOK_LOG=str(ours)).returncode == 0
    stock = {"WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go", "HOOK_LOG": str(theirs)}
    for command in ("up", "down"):
        quick.host.run("wg-quick", command, path, env=stock)

    def names(log: Path) -> list[str]:
        return [" ".join(line.split()[:3]) for line in log.read_text().splitlines()]

    assert names(ours) == names(theirs)
    assert [line.split()[3] for line in ours.read_text().splitlines()] == [
        "1",
        "1",
        "1",
        "1",
        "1",
        "1",
        "0",
        "0",
    ]


def test_no_secret_reaches_a_hook_or_an_argument(quick: QuickHost) -> None:
    hook = "PostUp = env > /run/seen; cat /proc/*/cmdline /proc/*/environ >> /run/seen 2>/dev/null || true\n"
    quick.up(quick.write(PLAIN.replace("[Interface]\n", f"[Interface]\n{hook}")))
    seen = quick.host.run("cat", "-v", "/run/seen")
    private = PRIVATE_KEY
    assert "PATH=" in seen
    assert private not in seen
    assert base64.b64decode(private).hex() not in seen


def test_failing_hooks_do_not_keep_down_from_undoing(quick: QuickHost) -> None:
    hooks = "PreDown = echo before; false\nPostDown = echo after; exit 7\n"
    path = quick.write(FULL.replace("[Interface]\n", f"[Interface]\n{hooks}"))
    before = quick.snapshot()
    quick.up(path)
    done = quick.wgpy("down", path)
    assert done.returncode == 1
    assert done.stdout == "before\nafter\n"
    assert "wg0 is down, but: hook failed (exit 1)" in done.stderr
    assert "exit 7" in done.stderr
    assert quick.snapshot() == before


def test_down_needs_no_file(quick: QuickHost) -> None:
    path = quick.write(FULL.replace("[Interface]\n", "[Interface]\nPostDown = echo gone\n"))
    before = quick.snapshot()
    quick.up(path)
    path.unlink()
    assert quick.wgpy("down", "wg0").stdout == "gone\n"
    assert quick.snapshot() == before


@pytest.mark.skipif(shutil.which("iptables-restore") is None, reason="no iptables")
def test_host_without_nft_gets_its_rules_through_iptables(quick: QuickHost, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("iptables-restore", "ip6tables-restore", "wireguard-go", "bash"):
        (tools / name).symlink_to(shutil.which(name) or "/nowhere")
    path = quick.write(FULL)
    rules = "iptables-save; ip6tables-save"
    before = without_tables(quick.snapshot())
    without_nft = ("/usr/bin/env", f"PATH={tools}", *WGPY)
    done = quick.host.result(*without_nft, "up", path, env=quick.environment)
    assert done.stderr.count("tables-restore -n") == 2, done.stderr
    there = quick.host.run("sh", "-c", rules)
    assert there.count('--comment "wg-quick(8) rule for wg0"') == 6
    assert "-d 10.0.0.1/32 ! -i wg0 -m addrtype ! --src-type LOCAL" in there
    quick.host.run(*without_nft, "down", path)
    assert "wg0" not in quick.host.run("sh", "-c", rules)
    assert without_tables(quick.snapshot()) == before


def without_tables(snapshot: list[str]) -> list[str]:
    """Where iptables is nft in disguise, looking at it makes empty tables."""
    return [line for line in snapshot if line and not line.startswith(("table", "\t", "}", "#"))]
