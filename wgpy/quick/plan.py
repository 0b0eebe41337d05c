"""From a configuration and the facts about a host to the steps that make the tunnel. Pure.

The order is wg-quick's: addresses, MTU and link up, name servers, routes with the longest prefix first. A
default route in the main table would send the encrypted packets back into the tunnel; so with Table = auto it
goes into a table of its own, which every packet without the device's firewall mark looks into after all
routes of the main table that are better than a default route.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from wgpy.config import QuickConfig
from wgpy.errors import ConfigError, WgpyError
from wgpy.model import IpNetwork
from wgpy.quick import firewall
from wgpy.quick.facts import Filter, HostFacts, Resolver
from wgpy.quick.steps import (
    MAIN_TABLE,
    AddAddress,
    AddRoute,
    AddRule,
    LoadIptables,
    LoadNft,
    SetFwMark,
    SetSysctl,
    SetUp,
    Step,
    TellResolvconf,
    TellResolved,
    WriteResolvConf,
)

OVERHEAD = 80  # outer IPv6 40, UDP 8, transport header 16, tag 16
FALLBACK_MTU = 1500
IPV6_MIN_MTU = 1280
LOWEST_SYSTEM_RULE = 32766  # the main table's; 32767 is the default table's
SRC_VALID_MARK = "net/ipv4/conf/all/src_valid_mark"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, and what the person should be told about them."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()


def plan(interface: str, config: QuickConfig, fwmark: int, facts: HostFacts) -> Plan:
    """What `up` does once the device is there and configured.

    Args:
        interface: its name.
        config: the file.
        fwmark: the device's present firewall mark, 0 = none.
        facts: the host.

    Raises:
        ConfigError: an MTU that cannot carry the IPv6 addresses asked for, an unknown routing table.
        WgpyError: the host lacks what a full tunnel needs.
    """
    skipped: list[str] = []
    addresses = [address for address in config.addresses if facts.ipv6 or address.version == 4]
    prefixes = [prefix for prefix in routed(config) if facts.ipv6 or prefix.version == 4]
    if len(addresses) < len(config.addresses) or len(prefixes) < len(routed(config)):
        skipped.append(
            "IPv6 is off on this host and cannot be switched on: its addresses and routes are left out"
        )
    routes = list(_routes(interface, config, prefixes, fwmark, facts))
    has_ipv6 = any(address.version == 6 for address in addresses) or any(
        isinstance(step, AddRoute) and ":" in step.prefix for step in routes
    )
    steps = (
        *_enable_ipv6(interface, facts, has_ipv6),
        *(AddAddress(interface, str(address)) for address in addresses),
        SetUp(interface, choose_mtu(config.mtu, facts, has_ipv6), facts.link_mtu, facts.link_up),
        *_name_servers(interface, config, facts),
        *routes,
    )
    return Plan(steps, tuple(skipped))


def choose_mtu(configured: int | None, facts: HostFacts, has_ipv6: bool) -> int:
    """The configured MTU, else that of the narrowest way to a peer less the overhead.

    Below 1280 the kernel takes an interface's IPv6 addresses away: computed, 1280 is the least (the encrypted
    packets are then fragmented outside); configured, it is refused.
    """
    if configured is not None:
        if has_ipv6 and configured < IPV6_MIN_MTU:
            raise ConfigError(
                f"MTU = {configured} cannot carry IPv6, which needs {IPV6_MIN_MTU}: "
                "raise it, or leave IPv6 out"
            )
        return configured
    underneath = min(facts.endpoint_mtus, default=None) or facts.default_mtu or FALLBACK_MTU
    return max(underneath - OVERHEAD, IPV6_MIN_MTU) if has_ipv6 else underneath - OVERHEAD


def routed(config: QuickConfig) -> list[IpNetwork]:
    """Every prefix a peer may send from, once, the longest first."""
    prefixes = {change.prefix for peer in config.wg.peers for change in peer.allowed_ips if not change.remove}
    return sorted(
        prefixes, key=lambda prefix: (-prefix.prefixlen, prefix.version, int(prefix.network_address))
    )


def table_number(name: str, facts: HostFacts) -> int:
    """The routing table of a `Table =` that is neither off nor auto."""
    try:
        number = int(name, 0)
    except ValueError:
        known = facts.named_tables.get(name)
        if known is None:
            raise ConfigError(
                f"Table = {name} is not a routing table of this host; name it in /etc/iproute2/rt_tables"
            ) from None
        return known
    return number


def _enable_ipv6(interface: str, facts: HostFacts, wanted: bool) -> Iterator[Step]:
    key = f"net/ipv6/conf/{interface}/disable_ipv6"
    if wanted and facts.sysctls.get(key) == "1":
        yield SetSysctl(key, "0", "1")


def _name_servers(interface: str, config: QuickConfig, facts: HostFacts) -> Iterator[Step]:
    if not config.dns:
        return
    servers = tuple(str(server) for server in config.dns)
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(config.search)}"] if config.search else []
    text = "".join(f"{line}\n" for line in lines)
    match facts.resolver:
        case Resolver.RESOLVCONF:
            yield TellResolvconf(facts.record_prefix + interface, text)
        case Resolver.RESOLVED:
            yield TellResolved(interface, servers, config.search)
        case Resolver.FILE:
            yield WriteResolvConf(
                facts.resolv_conf_path, resolv_conf_mark(interface) + text, facts.resolv_conf
            )


def resolv_conf_mark(interface: str) -> str:
    """The first line of a resolv.conf of ours, by which `down` knows it again."""
    return f"# wgpy: {interface} is up; `wgpy down {interface}` brings the former file back\n"


def _routes(
    interface: str, config: QuickConfig, prefixes: list[IpNetwork], fwmark: int, facts: HostFacts
) -> Iterator[Step]:
    if config.table == "off":
        return
    if config.table not in (None, "auto"):
        table = table_number(config.table, facts)
        yield from (AddRoute(interface, str(prefix), table) for prefix in prefixes)
        return
    for prefix in prefixes:
        if prefix.prefixlen and not _connected(prefix, config):
            yield AddRoute(interface, str(prefix))
    defaults = [prefix for prefix in prefixes if prefix.prefixlen == 0]
    if defaults:
        mark = fwmark or facts.free_table
        if not fwmark:
            yield SetFwMark(interface, mark)
        for prefix in defaults:
            yield from _full_tunnel(interface, config, prefix, mark, facts)


def _connected(prefix: IpNetwork, config: QuickConfig) -> bool:
    """Whether an address of ours has made the kernel route this prefix to the interface already."""
    for address in config.addresses:
        network = address.network
        if address.version == 4 and network.prefixlen == 32:
            continue  # goes into the local table, which routes nothing to the interface
        if network.version == prefix.version and ip_network(prefix).subnet_of(network):  # type: ignore[arg-type]
            return True
    return False


def _full_tunnel(
    interface: str, config: QuickConfig, prefix: IpNetwork, mark: int, facts: HostFacts
) -> Iterator[Step]:
    version = prefix.version
    own = [str(address.ip) for address in config.addresses if address.version == version]
    yield AddRoute(interface, str(prefix), mark)
    if version == 4:
        yield SetSysctl(SRC_VALID_MARK, "1", facts.sysctls.get(SRC_VALID_MARK, ""))
    yield _filter_rules(interface, version, mark, own, facts.packet_filter)
    lowest = min(facts.rule_priorities.get(version, frozenset()) - {0}, default=LOWEST_SYSTEM_RULE)
    if lowest < 3:
        raise WgpyError(
            f"no room for a policy routing rule before priority {lowest}; renumber with `ip -{version} rule`"
        )
    # The rule that diverts traffic comes last: from its first packet on, all it relies on is there.
    yield AddRule(version, lowest - 2, MAIN_TABLE, suppress_default=True)
    yield AddRule(version, lowest - 1, mark, unless_fwmark=mark)


def _filter_rules(
    interface: str, version: int, mark: int, own: list[str], packet_filter: Filter
) -> LoadNft | LoadIptables:
    match packet_filter:
        case Filter.NFT:
            return firewall.nft(interface, version, mark, own)
        case Filter.IPTABLES:
            return firewall.iptables(interface, version, mark, own)
        case Filter.ABSENT:
            raise WgpyError(
                "a full tunnel (0.0.0.0/0 or ::/0) needs nft or iptables-restore: "
                "install nftables, or set Table = off"
            )
