"""The edge of the exchange: threads, sockets, names, files and programs are here and nowhere else."""

from .config import ExchangeConfig, PeerEntry
from .exchange import Exchange
from .outputs import EXCHANGED, STALE
from .values import HostPort, WireguardOutput

__all__ = ["EXCHANGED", "STALE", "Exchange", "ExchangeConfig", "HostPort", "PeerEntry", "WireguardOutput"]
