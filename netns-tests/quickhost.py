"""A namespace in which `wgpy up` and `wgpy down` are run, and what there is to compare before and after."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from lab import PROJECT, Namespace

PRIVATE_KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PEER_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
OTHER_PEER_KEY = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
WGPY = (sys.executable, "-P", "-m", "wgpy")

# Debian's wireguard-go as the device shows that `up` itself is right whatever the device.
DEVICES = {"wireguard-go": {"WGPY_USERSPACE_IMPLEMENTATION": "wireguard-go"}}
if find_spec("wgpy.daemon") is not None:
    DEVICES["wgpy"] = {}
DEVICE = os.environ.get("WGPY_QUICK_DEVICE", list(DEVICES)[-1])

# Link-local addresses come and go by themselves in a namespace's first seconds.
SNAPSHOT = """
((ip -o link; ip -o address) | sed 's/^[0-9]*: //; s/@[^:]*:/:/'
ip route show table all; ip -6 route show table all; ip rule; ip -6 rule) | grep -v -e fe80: -e ff00::/8
nft list ruleset
stat -c %i /etc/resolv.conf; cat /etc/resolv.conf; cat /proc/sys/net/ipv4/conf/all/src_valid_mark
ls -A /run/wireguard /run/wgpy 2>/dev/null | sed "/:$/d;/^$/d"
"""


@dataclass
class QuickHost:
    """`wgpy` in one namespace, with configurations in a directory of the test's."""

    host: Namespace
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def write(self, text: str, interface: str = "wg0") -> Path:
        """Write INTERFACE.conf; the [Interface] section's key is put in where the text has none."""
        if "PrivateKey" not in text:
            text = text.replace("[Interface]\n", f"[Interface]\nPrivateKey = {PRIVATE_KEY}\n", 1)
        path = self.directory / f"{interface}.conf"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def wgpy(self, *words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run one command, whatever its status."""
        every = {"PYTHONPATH": str(PROJECT), **self.environment, **environment}
        return self.host.result(*WGPY, *words, env=every)

    def up(self, path: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """`wgpy up` that must succeed."""
        done = self.wgpy("up", *options, path, **environment)
        assert done.returncode == 0, done.stderr
        return done

    def down(self, path: Path) -> "subprocess.CompletedProcess[str]":
        """`wgpy down` that must succeed."""
        done = self.wgpy("down", path)
        assert done.returncode == 0, done.stderr
        return done

    def snapshot(self) -> list[str]:
        """Everything of the host that `up` may touch."""
        return self.host.run("sh", "-c", SNAPSHOT).splitlines()

    def processes(self) -> list[str]:
        """What runs in the namespace, without the holder, zombies and this question."""
        lines = self.host.run("ps", "-eo", "stat=,args=").splitlines()
        words = [line.split(None, 1) for line in lines]
        return [
            text for state, text in words if state[0] != "Z" and text != "cat" and not text.startswith("ps ")
        ]

    def device_pid(self, interface: str = "wg0") -> int:
        """The device process's number inside the namespace, from the journal."""
        script = f"grep -o '\"pid\": [0-9]*' /run/wgpy/{interface}.journal"
        return int(self.host.run("sh", "-c", script).split()[-1])


def fake(directory: Path, name: str, script: str) -> Path:
    """An executable of that name to be found first on the PATH; returns its directory."""
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return directory


def path_with(directory: Path) -> str:
    """A PATH that begins with the directory."""
    return f"{directory}:{os.environ['PATH']}"
