"""One distribution ships three packages, of which two have names that anybody may use.

Knows nothing of what is in them; looks before anything of theirs is imported.
"""

import importlib.util
from pathlib import Path

from wgpy.errors import WgpyError


def check_one_distribution() -> None:
    """The packages tun and rosenpass must be ours: any other distribution may carry the same names.

    Raises:
        WgpyError: names the intruder.
    """
    home = Path(__file__).resolve().parents[1]
    for name in ("rosenpass", "tun"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None
        if origin is None or origin.parents[1] != home:
            found = f"comes from {origin}" if origin is not None else "is missing"
            remedy = "install wgpy in an environment of its own"
            raise WgpyError(f"the package `{name}` {found}, not from {home} beside wgpy; {remedy}")
