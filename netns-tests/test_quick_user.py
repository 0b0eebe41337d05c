"""`--user` and `User =`: the device process gives everything up but its descriptors.

h1 wg0 10.0.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.0.0.2 wg0 h2 (wireguard-go)
"""

import signal
from pathlib import Path

import pytest
from lab import Namespace, wait_until
from quickhost import DEVICE, DEVICES, OTHER_PEER_KEY, WGPY, QuickHost
from wgpeer import Keys, Remote, WireguardGoPeer

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        "wgpy" not in DEVICES or DEVICE != "wgpy", reason="another device keeps its privileges"
    ),
]

KEYS = Keys.generate()
# CAP_DAC_READ_SEARCH (behind Landlock), NET_BIND_SERVICE, NET_ADMIN, NET_RAW, IPC_LOCK
KEPT_BY_ROOT = {2, 10, 12, 13, 14}


@pytest.fixture
def quick(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> QuickHost:
    return QuickHost(hosts[0], tmp_path)


def text(peer: WireguardGoPeer, more: str = "") -> str:
    return (
        f"[Interface]\nPrivateKey = {KEYS.private}\nAddress = 10.0.0.1/24\n{more}"
        f"[Peer]\nPublicKey = {peer.keys.public}\nEndpoint = 10.99.0.2:51820\n"
        "AllowedIPs = 10.0.0.2/32, 10.8.0.0/16\n"
    )


def gateway(h2: Namespace) -> WireguardGoPeer:
    peer = WireguardGoPeer(h2, ("10.0.0.2/24",))
    peer.start()
    peer.configure([Remote(KEYS.public, ["10.0.0.1"])])
    return peer


def statuses(quick: QuickHost) -> list[dict[str, str]]:
    """What the kernel says of every thread of the device process."""
    script = f"cat /proc/{quick.device_pid()}/task/*/status"
    fields = [
        line.split(":\t", 1) for line in quick.host.run("sh", "-c", script).splitlines() if ":\t" in line
    ]
    threads: list[dict[str, str]] = []
    for name, value in fields:
        if name == "Name":
            threads.append({})
        threads[-1][name] = value
    return threads


@pytest.mark.parametrize("way", ["option", "file"])
def test_every_thread_drops_everything_and_packets_flow_on(
    quick: QuickHost, hosts: tuple[Namespace, Namespace], way: str
) -> None:
    path = quick.write(text(gateway(hosts[1]), "User = nobody\n" if way == "file" else ""))
    before = quick.snapshot()
    quick.up(path, *(["--user", "nobody"] if way == "option" else []))

    def dropped() -> bool:
        return all(set(thread["Uid"].split()) == {"65534"} for thread in statuses(quick))

    wait_until(dropped, 5, lambda: str(statuses(quick)))
    threads = statuses(quick)
    assert len(threads) > 2
    for thread in threads:
        assert {thread[f"Cap{name}"].strip("0") for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
        assert thread["NoNewPrivs"] == "1"
        assert thread["Groups"].split() == []
    wait_until(lambda: filtered(quick), 5, "every thread's system calls to be filtered")
    quick.host.run("ping", "-n", "-c3", "-i0.2", "-W5", "10.0.0.2")
    assert "10.0.0.2/32" in quick.host.run("wg", "show", "wg0")
    quick.down(path)
    assert quick.snapshot() == before
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")


def filtered(quick: QuickHost) -> bool:
    return all(thread["Seccomp"] == "2" for thread in statuses(quick))


def test_root_without_a_user_keeps_what_a_running_device_may_be_asked_for(
    quick: QuickHost, hosts: tuple[Namespace, Namespace]
) -> None:
    path = quick.write(text(gateway(hosts[1])))
    before = quick.snapshot()
    quick.up(path)
    wait_until(lambda: filtered(quick), 5, "every thread's system calls to be filtered")
    for thread in statuses(quick):
        kept = {number for number in range(64) if int(thread["CapPrm"], 16) >> number & 1}
        assert kept <= KEPT_BY_ROOT
        assert thread["CapEff"] == thread["CapPrm"]
        assert {thread[f"Cap{name}"].strip("0") for name in ("Inh", "Bnd", "Amb")} == {""}
        assert thread["NoNewPrivs"] == "1"
    quick.host.run("ping", "-n", "-c1", "-W5", "10.0.0.2")
    quick.host.run("wg", "set", "wg0", "fwmark", "7", "listen-port", "555")
    quick.host.run("ping", "-n", "-c1", "-W5", "10.0.0.2")
    quick.down(path)
    assert quick.snapshot() == before
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")


@pytest.mark.parametrize("more", ["", "User = nobody\n"], ids=["root", "nobody"])
def test_its_memory_is_locked_and_nobody_else_may_look_into_it(
    quick: QuickHost, hosts: tuple[Namespace, Namespace], more: str
) -> None:
    path = quick.write(text(gateway(hosts[1]), more))
    quick.up(path)
    wait_until(lambda: filtered(quick), 5, "every thread's system calls to be filtered")
    process = statuses(quick)[0]
    locked, size = (int(process[name].split()[0]) for name in ("VmLck", "VmSize"))
    assert locked > size // 2, f"{locked} of {size} KiB"
    # what is not dumpable belongs to root in /proc, whoever runs it
    assert quick.host.run("stat", "-c", "%u", f"/proc/{quick.device_pid()}/environ").strip() == "0"
    quick.down(path)


def test_sandbox_can_be_switched_off(quick: QuickHost, hosts: tuple[Namespace, Namespace]) -> None:
    path = quick.write(text(gateway(hosts[1])))
    quick.up(path, WGPY_SANDBOX="off")
    assert {thread["Seccomp"] for thread in statuses(quick)} == {"0"}
    quick.down(path)


@pytest.mark.parametrize("number", ["TERM", "KILL"])
def test_supervisor_cleans_up_after_a_device_process_that_cannot(
    quick: QuickHost, hosts: tuple[Namespace, Namespace], number: str
) -> None:
    path = quick.write(
        text(gateway(hosts[1]), "User = nobody\nDNS = 10.0.0.53\nPostDown = touch /run/gone\n")
    )
    before = quick.snapshot()
    quick.up(path)
    quick.host.run("kill", f"-{number}", quick.device_pid())
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before
    assert quick.host.ok("test", "-e", "/run/gone")


def test_failure_to_come_up_is_told_through_the_supervisor(quick: QuickHost) -> None:
    path = quick.write("[Interface]\nUser = nobody\nPostUp = false\n")
    before = quick.snapshot()
    refused = quick.wgpy("up", path)
    assert refused.returncode == 1
    assert refused.stderr.endswith("wgpy: hook failed (exit 1): false\n")
    assert quick.snapshot() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_up_with_a_user_that_is_ended_on_the_way_leaves_nothing(
    quick: QuickHost, number: signal.Signals
) -> None:
    held = "touch /run/begun; while [ -e /run/hold ]; do sleep 0.1; done"
    path = quick.write(f"[Interface]\nUser = nobody\nPreUp = {held}\n")
    before = quick.snapshot()
    quick.host.run("touch", "/run/hold")
    process = quick.host.spawn(*WGPY, "up", path, env=quick.environment)
    wait_until(lambda: quick.host.ok("test", "-e", "/run/begun"), 10, process.output)
    process.signal(number)
    if number == signal.SIGKILL:
        quick.host.run("rm", "/run/hold")
    assert process.wait(10) == (1 if number != signal.SIGKILL else -number), process.output()
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before


@pytest.mark.parametrize("number", ["TERM", "INT", "HUP"])
def test_detached_device_process_understands_signals(
    quick: QuickHost, hosts: tuple[Namespace, Namespace], number: str
) -> None:
    peer = gateway(hosts[1])
    path = quick.write(text(peer, "DNS = 10.0.0.53\nSaveConfig = true\nPreDown = ip link show dev %i\n"))
    before = quick.snapshot()
    quick.up(path)
    if number == "HUP":
        path.write_text(path.read_text().replace(", 10.8.0.0/16", ""))
    quick.host.run("kill", f"-{number}", quick.device_pid())
    if number == "HUP":
        wait_until(lambda: "10.8" not in quick.host.run("wg", "show", "wg0"), 10, "the file to be re-read")
        quick.down(path)
    wait_until(lambda: quick.processes() == [], 15, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before
    assert "ListenPort" in path.read_text()  # saved on the way down


def test_detached_device_process_does_not_wait_for_a_name_server_that_a_reload_asks(quick: QuickHost) -> None:
    path = quick.write("[Interface]\nAddress = 10.0.0.1/24\n")
    before = quick.snapshot()
    quick.up(path, RES_OPTIONS="timeout:1 attempts:1")
    path.write_text(f"{path.read_text()}[Peer]\nPublicKey = {OTHER_PEER_KEY}\nEndpoint = vpn.example.org:1\n")
    quick.host.run("kill", "-HUP", quick.device_pid())
    wait_until(lambda: any(" reload " in each for each in quick.processes()), 10, "the reload")
    quick.host.run("kill", "-TERM", quick.device_pid())
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before


def test_detached_device_process_ends_on_term_though_down_fails(quick: QuickHost) -> None:
    path = quick.write("[Interface]\nAddress = 10.0.0.1/24\n")
    before = quick.snapshot()
    quick.up(path)
    pid = quick.device_pid()
    quick.host.run("rm", "/run/wgpy/wg0.journal")
    quick.host.run("kill", "-TERM", pid)
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before


@pytest.mark.parametrize("number", ["TERM", "HUP"])
def test_link_to_a_file_of_another_name_means_its_own_tunnel(quick: QuickHost, number: str) -> None:
    path = quick.write("[Interface]\nAddress = 10.0.0.1/24\nSaveConfig = true\n")
    target = path.rename(path.with_name("secret-of-this-host"))
    path.symlink_to(target)
    before = quick.snapshot()
    quick.up(path)
    if number == "HUP":
        target.write_text(target.read_text() + f"[Peer]\nPublicKey = {OTHER_PEER_KEY}\n")
    quick.host.run("kill", f"-{number}", quick.device_pid())
    if number == "HUP":
        wait_until(lambda: OTHER_PEER_KEY in quick.host.run("wg", "show", "wg0"), 10, "the peer")
        quick.down(path)
    wait_until(lambda: quick.processes() == [], 10, lambda: f"{quick.processes()} to end")
    assert quick.snapshot() == before
    assert path.is_symlink()
    assert "ListenPort" in target.read_text()  # saved on the way down
