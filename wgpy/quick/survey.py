"""Looks at a host and writes down the facts a plan depends on. Changes nothing."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tun.rtnl import Rtnl
from wgpy.model import IpAddress
from wgpy.quick.facts import Filter, HostFacts, Resolver
from wgpy.quick.host import PROC_SYS, read_or_none
from wgpy.quick.plan import SRC_VALID_MARK
from wgpy.quick.steps import MAIN_TABLE
from wgpy.socket_file import answers

FIRST_TABLE = 51820
RESOLV_CONF = Path("/etc/resolv.conf")
RESOLVED_SOCKET = Path("/run/systemd/resolve/io.systemd.Resolve")
INTERFACE_ORDER = Path("/etc/resolvconf/interface-order")
RT_TABLES = (
    Path("/usr/share/iproute2/rt_tables"),
    Path("/usr/lib/iproute2/rt_tables"),
    Path("/etc/iproute2/rt_tables"),
)


def survey(interface: str, endpoints: Sequence[IpAddress], rtnl: Rtnl) -> HostFacts:
    """The facts about this host for a device that exists and has no address yet."""
    link = rtnl.link(interface)
    disable_ipv6 = f"net/ipv6/conf/{interface}/disable_ipv6"
    ways = (rtnl.mtu_towards(endpoint) for endpoint in endpoints)
    return HostFacts(
        endpoint_mtus=tuple(mtu for mtu in ways if mtu is not None),
        default_mtu=rtnl.default_route_mtu(),
        free_table=free_table(rtnl),
        rule_priorities={version: frozenset(rtnl.rule_priorities(version)) for version in (4, 6)},
        named_tables=named_tables(RT_TABLES),
        sysctls=_sysctls(SRC_VALID_MARK, disable_ipv6),
        ipv6=_ipv6(PROC_SYS / disable_ipv6),
        link_mtu=link.mtu if link is not None else 1500,
        link_up=link.up if link is not None else False,
        packet_filter=packet_filter(),
        resolver=resolver(),
        record_prefix=record_prefix(INTERFACE_ORDER),
        resolv_conf_path=str(RESOLV_CONF),
        resolv_conf=read_or_none(RESOLV_CONF),
    )


def free_table(rtnl: Rtnl) -> int:
    """The first routing table from 51820 on without a route in either family."""
    table = FIRST_TABLE
    while not rtnl.table_is_empty(table):
        table += 1
    return table


def named_tables(paths: Sequence[Path]) -> dict[str, int]:
    """Names of routing tables; a later file overrides an earlier one, its .d directory the file."""
    names = {"default": 253, "main": MAIN_TABLE, "local": 255}
    for path in paths:
        for source in (path, *sorted(path.with_name(f"{path.name}.d").glob("*.conf"))):
            for line in (read_or_none(source) or "").splitlines():
                words = line.partition("#")[0].split()
                if len(words) == 2 and re.fullmatch(r"\d+|0x[0-9a-fA-F]+", words[0]):
                    names[words[1]] = int(words[0], 0) if words[0].startswith("0x") else int(words[0])
    return names


def packet_filter() -> Filter:
    """Nft where there is one, else iptables."""
    if shutil.which("nft"):
        return Filter.NFT
    return Filter.IPTABLES if shutil.which("iptables-restore") else Filter.ABSENT


def resolver() -> Resolver:
    """Who is told about name servers; a resolvconf that is resolvectl needs the service running."""
    resolved = answers(RESOLVED_SOCKET)
    resolvconf = shutil.which("resolvconf")
    if resolvconf and (resolved or Path(resolvconf).resolve().name != "resolvectl"):
        return Resolver.RESOLVCONF
    if resolved and shutil.which("resolvectl"):
        return Resolver.RESOLVED
    return Resolver.FILE


def record_prefix(interface_order: Path) -> str:
    """What makes resolvconf sort a record among the tunnels: the first `name*` of its interface order."""
    for line in (read_or_none(interface_order) or "").splitlines():
        if match := re.fullmatch(r"([A-Za-z0-9-]+)\*", line.strip()):
            return f"{match[1]}."
    return ""


def _sysctls(*keys: str) -> dict[str, str]:
    values = {}
    for key in keys:
        try:
            values[key] = (PROC_SYS / key).read_text().strip()
        except OSError:
            continue
    return values


def _ipv6(disable_ipv6: Path) -> bool:
    """Whether the interface can have IPv6: no such kernel, or switched off and not ours to switch on: no."""
    try:
        switched_off = disable_ipv6.read_text().strip() == "1"
    except OSError:
        return Path("/proc/net/if_inet6").exists()
    return not switched_off or os.access(disable_ipv6, os.W_OK)
