"""Addresses, routes, rules and links of this network namespace, over rtnetlink.

Knows the kernel's words and nothing of WireGuard: which routes a tunnel wants is decided elsewhere. Removing
what is not there is success; everything else the kernel refuses is an OSError that names what was refused.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)
from types import TracebackType
from typing import Any, Self

__all__ = ["MAIN_TABLE", "Link", "Rtnl", "Rule"]

IpAddress = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface
IpNetwork = IPv4Network | IPv6Network

# What pyroute2 hands out has no types: a mapping with get_attr().
Message = Any

MAIN_TABLE = 254
_PROTO_BOOT = 3  # what `ip route add` writes: a route from neither the kernel nor a routing daemon
_PROTO_KERNEL_LL = 2  # a link-local address that the kernel made itself; Linux 5.18
_SCOPE_LINK = 253
_SCOPE_UNIVERSE = 0
_FIB_RULE_INVERT = 2
_FULL_MASK = 0xFFFFFFFF
_ADDR_GEN_MODE_NONE = 1
_ABSENT = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV})


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel has it now."""

    index: int
    name: str
    mtu: int
    up: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy routing rule: look up `table`, unless the packet carries `unless_fwmark`.

    With `suppress_default` a match of prefix length 0 does not count and the next rule is asked.
    """

    version: int  # 4 or 6
    priority: int
    table: int
    unless_fwmark: int | None = None
    suppress_default: bool = False

    def __str__(self) -> str:
        """As `ip rule` would print it."""
        condition = f"not fwmark {self.unless_fwmark:#x} " if self.unless_fwmark is not None else ""
        tail = " suppress_prefixlength 0" if self.suppress_default else ""
        return f"{condition}lookup {self.table}{tail}"


class Rtnl:
    """One rtnetlink socket, bound to the namespace it was opened in. A context manager."""

    def __init__(self) -> None:
        # Not above: it takes as long as a device process takes to start, and `up` starts one meanwhile.
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        self._ip = IPRoute()
        self._refusal = NetlinkError

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self._ip.close()

    # Links

    def link(self, name: str) -> Link | None:
        """The interface of that name, None where there is none."""
        try:
            with self._told(f"cannot look at {name}"):
                (message,) = self._ip.link("get", ifname=name)
        except OSError as refused:
            if refused.errno == errno.ENODEV:
                return None
            raise
        return _link(message)

    def link_names(self) -> set[str]:
        """All interfaces of this namespace."""
        return {str(message.get_attr("IFLA_IFNAME")) for message in self._ip.get_links()}

    def set_up(self, link: Link, mtu: int) -> None:
        """Set the MTU and bring the link up, without a link-local address of the kernel's own.

        A tunnel answers no router and no neighbour: with such an address the kernel would send router
        solicitations into it, each one a reason for a handshake. WireGuard's own driver does the same.
        """
        with self._told(f"cannot set mtu {mtu} on {link.name}"):
            self._ip.link("set", index=link.index, mtu=mtu)
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]}
        with suppress(self._refusal):  # a kernel without IPv6
            self._ip.link("set", index=link.index, IFLA_AF_SPEC={"attrs": [("AF_INET6", mode)]})
        with self._told(f"cannot bring {link.name} up"):
            self._ip.link("set", index=link.index, state="up")

    def restore(self, link: Link) -> None:
        """Give a link that stays its former MTU and state back."""
        with _absent_is_fine(), self._told(f"cannot restore {link.name}"):
            self._ip.link("set", index=link.index, mtu=link.mtu, state="up" if link.up else "down")

    def delete_link(self, name: str) -> bool:
        """Delete the interface. False where there was none."""
        link = self.link(name)
        if link is None:
            return False
        with _absent_is_fine(), self._told(f"cannot delete {name}"):
            self._ip.link("del", index=link.index)
        return True

    # Addresses

    def add_address(self, link: Link, address: IpInterface) -> None:
        """Give the link an address. EEXIST is an OSError like every other refusal."""
        with self._told(f"cannot add address {address} to {link.name}"):
            self._ip.addr(
                "add", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen
            )

    def remove_address(self, link: Link, address: IpInterface) -> None:
        """Take the address away."""
        with _absent_is_fine(), self._told(f"cannot remove address {address} from {link.name}"):
            self._ip.addr(
                "del", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen
            )

    def addresses(self, link: Link) -> list[IpInterface]:
        """The addresses of the link, as listed by the kernel, without link-local ones it made itself.

        Before Linux 5.18 it does not say which it made; on a link that `set_up` brought up there are none.
        """
        found = []
        for message in self._ip.get_addr(index=link.index):
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            if message.get_attr("IFA_PROTO") != _PROTO_KERNEL_LL:
                found.append(ip_interface(f"{text}/{message['prefixlen']}"))
        return found

    # Routes

    def add_route(self, link: Link, prefix: IpNetwork, table: int = MAIN_TABLE) -> bool:
        """Route the prefix into the link. False where the table has that route already."""
        try:
            with self._told(f"cannot add route {prefix} to {link.name} (table {table})"):
                self._ip.route("add", **_route(link, prefix, table))
        except FileExistsError:
            return False
        return True

    def remove_route(self, link: Link, prefix: IpNetwork, table: int = MAIN_TABLE) -> None:
        """Take the route away."""
        with _absent_is_fine(), self._told(f"cannot remove route {prefix} from {link.name} (table {table})"):
            self._ip.route("del", **_route(link, prefix, table))

    def table_is_empty(self, table: int) -> bool:
        """Whether neither family has a route in the table."""
        return not any(self._routes(family, table) for family in (socket.AF_INET, socket.AF_INET6))

    def mtu_towards(self, address: IpAddress) -> int | None:
        """The MTU of the way to an address: the route's own, else its interface's. None without a way."""
        try:
            messages = list(self._ip.route("get", dst=str(address)))
        except self._refusal:
            return None
        return self._route_mtu(messages[0]) if messages else None

    def default_route_mtu(self) -> int | None:
        """The MTU of the default route of the main table, IPv4 before IPv6."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for message in self._routes(family, MAIN_TABLE):
                if message["dst_len"] == 0 and (mtu := self._route_mtu(message)) is not None:
                    return mtu
        return None

    def _routes(self, family: int, table: int) -> list[Message]:
        try:
            return list(self._ip.get_routes(family=family, table=table))
        except self._refusal:  # a family or table this kernel does not have
            return []

    def _route_mtu(self, message: Message) -> int | None:
        metrics = message.get_attr("RTA_METRICS")
        if metrics is not None and (mtu := metrics.get_attr("RTAX_MTU")):
            return int(mtu)
        index = message.get_attr("RTA_OIF")
        if index is None:
            return None
        (link,) = self._ip.get_links(index)
        return _link(link).mtu

    # Rules

    def rule_priorities(self, version: int) -> set[int]:
        """The priorities in use in one family; a rule without the attribute has priority 0."""
        try:
            rules = self._ip.get_rules(family=_family(version))
        except self._refusal:
            return set()
        return {int(message.get_attr("FRA_PRIORITY") or 0) for message in rules}

    def add_rule(self, rule: Rule) -> None:
        """Add a rule; its priority makes it distinct from every other."""
        with self._told(f"cannot add rule {rule}"):
            self._ip.rule("add", **_rule(rule))

    def remove_rule(self, rule: Rule) -> None:
        """Remove exactly this rule, priority included."""
        with _absent_is_fine(), self._told(f"cannot remove rule {rule}"):
            self._ip.rule("del", **_rule(rule))

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The kernel's refusal as an OSError that says what was wanted."""
        try:
            yield
        except self._refusal as refused:
            raise OSError(refused.code, what) from refused


def _link(message: Message) -> Link:
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mtu=int(message.get_attr("IFLA_MTU")),
        up=bool(message["flags"] & 1),
    )


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _route(link: Link, prefix: IpNetwork, table: int) -> dict[str, Any]:
    return {
        "family": _family(prefix.version),
        "dst": str(prefix),
        "oif": link.index,
        "table": table,
        "proto": _PROTO_BOOT,
        "scope": _SCOPE_LINK if prefix.version == 4 else _SCOPE_UNIVERSE,
    }


def _rule(rule: Rule) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": _family(rule.version),
        "priority": rule.priority,
        "table": rule.table,
        "action": "to_tbl",
    }
    if rule.unless_fwmark is not None:
        request |= {"fwmark": rule.unless_fwmark, "fwmask": _FULL_MASK, "flags": _FIB_RULE_INVERT}
    if rule.suppress_default:
        request["FRA_SUPPRESS_PREFIXLEN"] = 0
    return request


@contextmanager
def _absent_is_fine() -> Iterator[None]:
    try:
        yield
    except OSError as refused:
        if refused.errno not in _ABSENT:
            raise
