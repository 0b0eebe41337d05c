"""What a host looks like before `up` touches it, as a value: everything the plan depends on. Pure.

Who looks is wgpy.quick.survey.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from wgpy.quick.steps import MAIN_TABLE


class Filter(Enum):
    """The packet filter's tool on this host."""

    NFT = "nft"
    IPTABLES = "iptables"
    ABSENT = "absent"


class Resolver(Enum):
    """Who is told about name servers."""

    RESOLVCONF = "resolvconf"
    RESOLVED = "systemd-resolved"
    FILE = "/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """All of it taken after the device was created and configured, before it has an address.

    Attributes:
        endpoint_mtus: MTU of the way to each peer endpoint that has one.
        default_mtu: MTU of the default route, None without one.
        free_table: the first routing table from 51820 on that is empty in both families.
        rule_priorities: priorities in use, by IP version.
        named_tables: the names of rt_tables.
        sysctls: present values by key with slashes; a key that cannot be read is absent.
        ipv6: False where this kernel or container has IPv6 switched off for good.
        link_mtu, link_up: of the new interface.
        record_prefix: what resolvconf's interface order wants before the interface's name, for instance
        "tun.". resolv_conf: the file's present text, None without one.
    """

    endpoint_mtus: tuple[int, ...] = ()
    default_mtu: int | None = None
    free_table: int = 51820
    rule_priorities: Mapping[int, frozenset[int]] = field(default_factory=dict)
    named_tables: Mapping[str, int] = field(default_factory=lambda: {"main": MAIN_TABLE})
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ipv6: bool = True
    link_mtu: int = 1500
    link_up: bool = False
    packet_filter: Filter = Filter.NFT
    resolver: Resolver = Resolver.FILE
    record_prefix: str = ""
    resolv_conf_path: str = "/etc/resolv.conf"
    resolv_conf: str | None = None
