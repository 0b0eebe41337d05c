"""The lab itself: what is in a namespace stays there and ends with it.

h1 (10.99.0.1, fd99::1) eth0 ─── eth0 h2 (10.99.0.2, fd99::2)
"""

import os
import socket
import subprocess

import pytest
from lab import LabError, Namespace, wait_until

Hosts = tuple[Namespace, Namespace]


@pytest.mark.parametrize("address", ["10.99.0.2", "fd99::2"])
def test_joined_hosts_reach_each_other_at_once(hosts: Hosts, address: str) -> None:
    hosts[0].run("ping", "-c1", "-W1", address)


def test_processes_even_daemons_end_with_their_namespace() -> None:
    with Namespace("short") as host:
        host.run("sh", "-c", "setsid sleep 4711 >/dev/null 2>&1 &")
        sleeper = host.spawn("sleep", "4712").pid
        wait_until(lambda: host.run("pgrep", "-f", "^sleep 471").count("\n") == 2, 5, "both to run")
    assert not os.path.exists(f"/proc/{sleeper}")


def test_run_directory_and_resolver_are_private(hosts: Hosts) -> None:
    h1, h2 = hosts
    h1.run("sh", "-c", "echo nameserver 192.0.2.1 > /etc/resolv.conf; touch /run/wireguard/mark")
    assert "192.0.2.1" not in h2.run("cat", "/etc/resolv.conf")
    assert "mark" not in h2.run("ls", "/run/wireguard")


def test_socket_of_the_test_lives_in_the_namespace(hosts: Hosts) -> None:
    with hosts[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
        inside.bind(("10.99.0.1", 0))


def test_a_condition_that_stays_false_is_named() -> None:
    with pytest.raises(LabError, match="the moon"):
        wait_until(lambda: False, within=0.05, what="the moon")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo why >&2; exit 3", "ended with exit status 3; its output:\nwhy"),
        ("kill -9 $$", "SIGKILL"),
        ("exec cat", "runs"),
    ],
)
def test_a_process_that_ended_is_reported_with_its_status_and_words(script: str, told: str) -> None:
    with Namespace("short") as host:
        process = host.spawn("sh", "-c", script, stdin=subprocess.PIPE)
        if told != "runs":
            wait_until(lambda: not process.running, within=5, what="its end")
        assert told in process.report()
