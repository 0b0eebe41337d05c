"""The plan of `up`, without a host."""

from dataclasses import replace

import pytest

from wgpy.config import QuickConfig, parse_quick
from wgpy.errors import ConfigError, WgpyError
from wgpy.quick.facts import Filter, HostFacts, Resolver
from wgpy.quick.plan import choose_mtu, plan
from wgpy.quick.steps import (
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
    decode,
    encode,
)

FACTS = HostFacts(
    sysctls={"net/ipv4/conf/all/src_valid_mark": "0", "net/ipv6/conf/wg0/disable_ipv6": "0"},
    rule_priorities={4: frozenset({0, 32766, 32767}), 6: frozenset({0, 32766})},
)
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
OTHER_KEY = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="


def config(interface: str, *allowed: str) -> QuickConfig:
    peers = "".join(
        f"[Peer]\nPublicKey = {key}\nAllowedIPs = {ips}\n"
        for key, ips in zip((KEY, OTHER_KEY), allowed, strict=False)
    )
    return parse_quick(f"[Interface]\n{interface}\n{peers}", "wg0.conf")


def steps(interface: str, *allowed: str, facts: HostFacts = FACTS, fwmark: int = 0) -> tuple[Step, ...]:
    return plan("wg0", config(interface, *allowed), fwmark, facts).steps


def only(kind: type, planned: tuple[Step, ...]) -> list[Step]:
    return [step for step in planned if isinstance(step, kind)]


def routes(*arguments: str, **more: object) -> list[tuple[str, int]]:
    return [(step.prefix, step.table) for step in only(AddRoute, steps(*arguments, **more))]


def test_order_is_addresses_mtu_name_servers_routes() -> None:
    planned = steps("Address = 10.0.0.1/24, fd00::1/64\nDNS = 10.0.0.53", "10.9.0.0/16")
    assert [type(step) for step in planned] == [AddAddress, AddAddress, SetUp, WriteResolvConf, AddRoute]
    assert [str(step) for step in only(AddAddress, planned)] == [
        "ip -4 address add 10.0.0.1/24 dev wg0",
        "ip -6 address add fd00::1/64 dev wg0",
    ]


def test_longest_prefix_is_routed_first_over_all_peers() -> None:
    assert routes("", "10.0.0.0/8, fd00::/64", "10.1.0.0/16, 10.1.1.1/32") == [
        ("fd00::/64", 254),
        ("10.1.1.1/32", 254),
        ("10.1.0.0/16", 254),
        ("10.0.0.0/8", 254),
    ]


def test_prefix_that_an_address_connects_already_is_not_routed_again() -> None:
    interface = "Address = 10.0.0.1/24, fd00::1/64, fd05::5/128"
    assert routes(interface, "10.0.0.2/32, fd00::2/128, fd05::5/128, 10.0.0.0/16") == [("10.0.0.0/16", 254)]


def test_single_ipv4_address_connects_nothing() -> None:
    assert routes("Address = 10.0.0.1", "10.0.0.1/32") == [("10.0.0.1/32", 254)]


def test_table_off_means_no_route_no_rule_no_mark() -> None:
    planned = steps("Address = 10.0.0.1/24\nTable = off", "0.0.0.0/0, 10.9.0.0/16")
    assert [type(step) for step in planned] == [AddAddress, SetUp]


def test_numbered_table_takes_every_prefix_plainly() -> None:
    interface = "Address = 10.0.0.1/24\nTable = 1234"
    assert routes(interface, "10.0.0.2/32, 0.0.0.0/0") == [("10.0.0.2/32", 1234), ("0.0.0.0/0", 1234)]
    assert not only(AddRule, steps(interface, "0.0.0.0/0"))


def test_named_table_is_looked_up() -> None:
    facts = replace(FACTS, named_tables={"vpn": 77})
    assert routes("Table = vpn", "10.9.0.0/16", facts=facts) == [("10.9.0.0/16", 77)]


def test_unknown_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="Table = nope"):
        steps("Table = nope", "10.9.0.0/16")


def test_full_tunnel_diverts_only_when_all_else_is_there() -> None:
    planned = steps("Address = 10.0.0.1/24", "0.0.0.0/0")
    assert [str(step) for step in planned[2:]] == [
        "wg set wg0 fwmark 51820",
        "ip -4 route add 0.0.0.0/0 dev wg0 table 51820",
        "sysctl -q net.ipv4.conf.all.src_valid_mark=1",
        "nft -f -",
        "ip -4 rule add table main suppress_prefixlength 0 priority 32764",
        "ip -4 rule add not fwmark 51820 table 51820 priority 32765",
    ]


def test_full_tunnel_of_both_families_shares_one_mark() -> None:
    planned = steps("Address = 10.0.0.1/24, fd00::1/64", "0.0.0.0/0, ::/0")
    assert only(SetFwMark, planned) == [SetFwMark("wg0", 51820)]
    assert {rule.version for rule in only(AddRule, planned)} == {4, 6}
    assert len(only(SetSysctl, planned)) == 1
    assert len(only(LoadNft, planned)) == 2


def test_configured_mark_is_kept_and_names_the_table() -> None:
    planned = steps("FwMark = 0x77", "0.0.0.0/0", fwmark=0x77)
    assert not only(SetFwMark, planned)
    assert only(AddRoute, planned) == [AddRoute("wg0", "0.0.0.0/0", 0x77)]


def test_occupied_tables_are_passed_over() -> None:
    facts = replace(FACTS, free_table=51823)
    assert only(SetFwMark, steps("", "::/0", facts=facts)) == [SetFwMark("wg0", 51823)]


def test_rules_go_before_those_another_tunnel_has() -> None:
    facts = replace(FACTS, rule_priorities={4: frozenset({0, 32764, 32765, 32766, 32767})})
    rules = only(AddRule, steps("", "0.0.0.0/0", facts=facts))
    assert [rule.priority for rule in rules] == [32762, 32763]


def test_no_room_for_rules_is_said() -> None:
    facts = replace(FACTS, rule_priorities={4: frozenset({0, 2})})
    with pytest.raises(WgpyError, match="no room"):
        steps("", "0.0.0.0/0", facts=facts)


def test_half_routes_are_ordinary_routes() -> None:
    assert routes("", "0.0.0.0/1, 128.0.0.0/1") == [("0.0.0.0/1", 254), ("128.0.0.0/1", 254)]


def test_packet_filter_guards_each_own_address_of_the_family() -> None:
    (rules,) = only(LoadNft, steps("Address = 10.0.0.1/24, 10.5.0.1/32, fd00::1/64", "0.0.0.0/0"))
    assert 'iifname != "wg0" ip daddr 10.0.0.1 fib saddr type != local drop' in rules.script
    assert 'iifname != "wg0" ip daddr 10.5.0.1 fib saddr type != local drop' in rules.script
    assert "fd00::1" not in rules.script
    assert "meta l4proto udp meta mark 0xca6c ct mark set meta mark" in rules.script
    assert "premangle meta l4proto udp meta mark set ct mark" in rules.script


def test_host_without_nft_gets_the_same_rules_through_iptables() -> None:
    facts = replace(FACTS, packet_filter=Filter.IPTABLES)
    (v4, v6) = only(LoadIptables, steps("Address = 10.0.0.1/24", "0.0.0.0/0, ::/0", facts=facts))
    assert (v4.program, v6.program) == ("iptables-restore", "ip6tables-restore")
    assert "-I PREROUTING ! -i wg0 -d 10.0.0.1 -m addrtype ! --src-type LOCAL -j DROP" in v4.script
    assert v4.script.count("-I ") == sum(text.count("-D ") for text in v4.undo)
    assert v6.undo == (v6.script.partition("COMMIT\n")[2].replace("-I ", "-D "),)


def test_host_without_packet_filter_is_refused_a_full_tunnel() -> None:
    facts = replace(FACTS, packet_filter=Filter.ABSENT)
    with pytest.raises(WgpyError, match="nftables"):
        steps("", "0.0.0.0/0", facts=facts)
    assert routes("", "10.9.0.0/16", facts=facts)


@pytest.mark.parametrize(
    ("endpoint_mtus", "default_mtu", "expected"),
    [
        ((), None, 1420),
        ((), 1400, 1320),
        ((1500, 1480), 9000, 1400),
        ((9000,), 1500, 8920),
        ((1400,), None, 1320),
    ],
)
def test_mtu_is_the_narrowest_way_less_the_overhead(
    endpoint_mtus: tuple[int, ...], default_mtu: int | None, expected: int
) -> None:
    facts = replace(FACTS, endpoint_mtus=endpoint_mtus, default_mtu=default_mtu)
    assert choose_mtu(None, facts, has_ipv6=False) == expected


def test_configured_mtu_is_taken() -> None:
    (link,) = only(SetUp, steps("Address = 10.0.0.1/24\nMTU = 1000"))
    assert link.mtu == 1000


def test_computed_mtu_never_costs_the_ipv6_addresses() -> None:
    assert choose_mtu(None, replace(FACTS, default_mtu=1300), has_ipv6=True) == 1280


def test_configured_mtu_that_would_cost_the_ipv6_addresses_is_refused() -> None:
    with pytest.raises(ConfigError, match="1280"):
        steps("Address = fd00::1/64\nMTU = 1279")


def test_ipv6_switched_off_is_switched_on() -> None:
    facts = replace(FACTS, sysctls={"net/ipv6/conf/wg0/disable_ipv6": "1"})
    assert steps("Address = fd00::1/64", facts=facts)[0] == SetSysctl(
        "net/ipv6/conf/wg0/disable_ipv6", "0", "1"
    )
    assert not only(SetSysctl, steps("Address = 10.0.0.1/24", facts=facts))


def test_ipv6_that_cannot_be_had_is_left_out_with_a_warning() -> None:
    planned = plan(
        "wg0", config("Address = 10.0.0.1/24, fd00::1/64", "::/0, 10.9.0.0/16"), 0, replace(FACTS, ipv6=False)
    )
    assert [str(step) for step in planned.steps if isinstance(step, (AddAddress, AddRoute))] == [
        "ip -4 address add 10.0.0.1/24 dev wg0",
        "ip -4 route add 10.9.0.0/16 dev wg0",
    ]
    assert "IPv6" in planned.warnings[0]


DNS = "DNS = 10.0.0.53, example.org, fd00::53, corp"


def test_resolvconf_is_told_servers_and_search_under_its_own_order() -> None:
    facts = replace(FACTS, resolver=Resolver.RESOLVCONF, record_prefix="tun.")
    assert steps(DNS, facts=facts)[1] == TellResolvconf(
        "tun.wg0", "nameserver 10.0.0.53\nnameserver fd00::53\nsearch example.org corp\n"
    )


def test_resolved_is_told_servers_and_domains() -> None:
    facts = replace(FACTS, resolver=Resolver.RESOLVED)
    assert steps(DNS, facts=facts)[1] == TellResolved(
        "wg0", ("10.0.0.53", "fd00::53"), ("example.org", "corp")
    )


def test_file_keeps_what_was_there_before() -> None:
    (written,) = only(WriteResolvConf, steps(DNS, facts=replace(FACTS, resolv_conf="nameserver 192.0.2.1\n")))
    assert written.former == "nameserver 192.0.2.1\n"
    assert written.text.splitlines()[1:] == [
        "nameserver 10.0.0.53",
        "nameserver fd00::53",
        "search example.org corp",
    ]


def test_search_domain_alone_changes_nothing() -> None:
    assert [type(step) for step in steps("DNS = example.org")] == [SetUp]


def test_every_step_survives_the_journal() -> None:
    planned = [
        *steps(f"Address = 10.0.0.1/24, fd00::1/64\n{DNS}", "0.0.0.0/0, ::/0, 10.9.0.0/16"),
        *steps(
            DNS, "0.0.0.0/0", facts=replace(FACTS, resolver=Resolver.RESOLVED, packet_filter=Filter.IPTABLES)
        ),
    ]
    assert [decode(encode(step)) for step in planned] == planned
