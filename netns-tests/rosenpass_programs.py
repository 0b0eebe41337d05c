"""The foreign programs that speak Rosenpass, as `make interop` builds them."""

from dataclasses import dataclass
from pathlib import Path

from lab import Namespace
from wgpeer import PEERS


@dataclass(frozen=True)
class Foreign:
    """A program that speaks Rosenpass and takes the same configuration file as ours."""

    name: str
    program: str

    @property
    def path(self) -> Path:
        return PEERS / self.program

    def gen_keys(self, host: Namespace, public: Path, secret: Path) -> None:
        """Have it make a key pair of its own."""
        config = public.with_name(f"{public.name}.toml")
        config.write_text(f'public_key = "{public}"\nsecret_key = "{secret}"\nlisten = []\npeers = []\n')
        host.run(self.path, "gen-keys", config)


RUST = Foreign("rust", "rosenpass")
GO = Foreign("go", "go-rosenpass")
