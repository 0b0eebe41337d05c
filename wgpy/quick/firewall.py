"""The rules a full tunnel needs in the packet filter, as text for nft or for iptables-restore. Pure.

Three things per family, as wg-quick does them. A packet for the tunnel's own addresses that arrives on
another interface is dropped unless the host itself sent it: otherwise a neighbour on the link could probe the
connections inside the tunnel (CVE-2019-14899). The mark of outgoing encrypted packets is saved in the
connection, and restored on the answers, so that reverse-path filtering looks the answers up in the table
their questions left by.
"""

from collections.abc import Sequence

from wgpy.quick.steps import LoadIptables, LoadNft


def nft(interface: str, version: int, mark: int, addresses: Sequence[str]) -> LoadNft:
    """The ruleset of one family; `addresses` are the interface's own, without prefix length."""
    family = "ip" if version == 4 else "ip6"
    table = f"{family} wg-quick-{interface}"
    guard = [
        f'add rule {table} preraw iifname != "{interface}" {family} daddr {address} '
        "fib saddr type != local drop"
        for address in addresses
    ]
    lines = [
        f"add table {table}",
        f"add chain {table} preraw {{ type filter hook prerouting priority -300; }}",
        f"add chain {table} premangle {{ type filter hook prerouting priority -150; }}",
        f"add chain {table} postmangle {{ type filter hook postrouting priority -150; }}",
        *guard,
        f"add rule {table} postmangle meta l4proto udp meta mark {mark:#x} ct mark set meta mark",
        f"add rule {table} premangle meta l4proto udp meta mark set ct mark",
    ]
    # Adding first makes deleting safe where the table is gone already; nft runs both as one transaction.
    undo = f"add table {table}\ndelete table {table}\n"
    return LoadNft("\n".join(lines) + "\n", undo)


def iptables(interface: str, version: int, mark: int, addresses: Sequence[str]) -> LoadIptables:
    """The same rules for a host without nft."""
    program = "iptables-restore" if version == 4 else "ip6tables-restore"
    marker = f'-m comment --comment "wg-quick(8) rule for {interface}"'
    raw = [
        f"PREROUTING ! -i {interface} -d {address} -m addrtype ! --src-type LOCAL -j DROP {marker}"
        for address in addresses
    ]
    mangle = [
        f"POSTROUTING -m mark --mark {mark} -p udp -j CONNMARK --save-mark {marker}",
        f"PREROUTING -p udp -j CONNMARK --restore-mark {marker}",
    ]
    tables = (("raw", raw), ("mangle", mangle))
    return LoadIptables(
        program,
        "".join(_restore(table, "-I", rules) for table, rules in tables),
        tuple(_restore(table, "-D", rules) for table, rules in tables if rules),
    )


def _restore(table: str, verb: str, rules: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in (f"*{table}", *(f"{verb} {rule}" for rule in rules), "COMMIT"))
