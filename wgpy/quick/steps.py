"""The things `up` does to a host, as values that can be written down, done and undone.

Only what outlives a failure is a step. Every step holds what undoing it needs; its text is the command a
person would have typed. Fields are JSON values (addresses as text), because the journal keeps steps as JSON
lines.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from wgpy.errors import WgpyError

MAIN_TABLE = 254


@dataclass(frozen=True, slots=True)
class CreateDevice:
    """Start the process that is the device. Undone by deleting the interface, unless it was handed in."""

    interface: str
    handed_in: bool = False

    def __str__(self) -> str:
        return f"wgpyd {self.interface}"


@dataclass(frozen=True, slots=True)
class AddAddress:
    """An address with its prefix length, for instance 10.0.0.1/24."""

    interface: str
    address: str

    def __str__(self) -> str:
        return f"ip -{6 if ':' in self.address else 4} address add {self.address} dev {self.interface}"


@dataclass(frozen=True, slots=True)
class SetUp:
    """MTU and link up; what they were before matters only for an interface that stays."""

    interface: str
    mtu: int
    former_mtu: int
    former_up: bool

    def __str__(self) -> str:
        return f"ip link set mtu {self.mtu} up dev {self.interface}"


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A prefix routed into the interface, in a table."""

    interface: str
    prefix: str
    table: int = MAIN_TABLE

    def __str__(self) -> str:
        family = 6 if ":" in self.prefix else 4
        table = "" if self.table == MAIN_TABLE else f" table {self.table}"
        return f"ip -{family} route add {self.prefix} dev {self.interface}{table}"


@dataclass(frozen=True, slots=True)
class SetFwMark:
    """The mark of the encrypted packets; it goes with the device, so there is nothing to undo."""

    interface: str
    mark: int

    def __str__(self) -> str:
        return f"wg set {self.interface} fwmark {self.mark}"


@dataclass(frozen=True, slots=True)
class AddRule:
    """A policy routing rule; the priority of its own makes undoing it exact."""

    version: int
    priority: int
    table: int
    unless_fwmark: int | None = None
    suppress_default: bool = False

    def __str__(self) -> str:
        selector = f"not fwmark {self.unless_fwmark} " if self.unless_fwmark is not None else ""
        table = "main" if self.table == MAIN_TABLE else str(self.table)
        tail = " suppress_prefixlength 0" if self.suppress_default else ""
        return f"ip -{self.version} rule add {selector}table {table}{tail} priority {self.priority}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """A kernel setting, with its former value. Where it cannot be set, that is a warning."""

    key: str  # with slashes, below /proc/sys
    value: str
    former: str

    def __str__(self) -> str:
        return f"sysctl -q {self.key.replace('/', '.')}={self.value}"


@dataclass(frozen=True, slots=True)
class LoadNft:
    """A ruleset for `nft -f -`, and the one that takes it away again whether or not it is there."""

    script: str
    undo: str

    def __str__(self) -> str:
        return "nft -f -"


@dataclass(frozen=True, slots=True)
class LoadIptables:
    """Rules for iptables-restore or ip6tables-restore; `undo` has one text per table."""

    program: str
    script: str
    undo: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.program} -n"


@dataclass(frozen=True, slots=True)
class TellResolvconf:
    """The name servers of the interface, told to resolvconf under a record's name."""

    record: str
    text: str

    def __str__(self) -> str:
        return f"resolvconf -a {self.record} -m 0 -x"


@dataclass(frozen=True, slots=True)
class TellResolved:
    """The name servers of the interface, told to systemd-resolved, which shall ask them everything."""

    interface: str
    servers: tuple[str, ...]
    domains: tuple[str, ...]

    def __str__(self) -> str:
        return f"resolvectl dns {self.interface} {' '.join(self.servers)}"


@dataclass(frozen=True, slots=True)
class WriteResolvConf:
    """The file itself, written in place, since a container has it as a mount; None: there was none before."""

    path: str
    text: str
    former: str | None

    def __str__(self) -> str:
        return f"write {self.path}"


Step = (
    CreateDevice
    | AddAddress
    | SetUp
    | AddRoute
    | SetFwMark
    | AddRule
    | SetSysctl
    | LoadNft
    | LoadIptables
    | TellResolvconf
    | TellResolved
    | WriteResolvConf
)

_KINDS: dict[str, type[Step]] = {kind.__name__: kind for kind in Step.__args__}


def encode(step: Step) -> dict[str, Any]:
    """A step as a JSON object; its kind is under "do"."""
    return {"do": type(step).__name__, **asdict(step)}


def decode(record: dict[str, Any]) -> Step:
    """The step an object of `encode` stands for.

    Raises:
        WgpyError: no such kind, or not its fields: another version of wgpy wrote it.
    """
    kind = _KINDS.get(str(record.get("do")))
    if kind is None or {field.name for field in fields(kind)} != record.keys() - {"do"}:
        raise WgpyError(f"a step of another version of wgpy: {record.get('do')}")
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in record.items()
        if key != "do"
    }
    return kind(**arguments)
