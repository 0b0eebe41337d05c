"""The recorded conversations with wireguard-go, replayed against anything that answers.

We differ from wireguard-go in two ways: a refused set changes nothing (it keeps the lines before the error),
and what follows a refused set on the same connection is answered (it may lose that).
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

OWN = Path(__file__).parents[1] / "vectors" / "uapi_transcripts.json"
SHARED = Path(os.environ.get("WGPY_VECTORS", "../shared/vectors")) / "wireguard/uapi_transcripts.json"
_CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    name: group
    for file in (OWN, SHARED)
    if file.exists()
    for name, group in json.loads(file.read_text()).items()
    if isinstance(group, list)
}
GROUPS = tuple(_CONVERSATIONS)

Converse = Callable[[str], tuple[str, bool]]
"""Sends on a fresh connection -> (the reply, whether the server closed the connection by itself)."""

_MIDDLE = "error in the middle of a block: lines before it are applied, one error reply, the rest is lost"
_LOST = "operation pipelined after a failed set is lost (reader read ahead)"
_REFUSED_PART = {
    "lines before an error stay applied": "bogus=1\n",
    _MIDDLE: "bogus=1\nlisten_port=12915\n\nget=1\n",
}


def replay(group: str, converse: Converse, atomic: bool = True) -> None:
    """Hold every conversation of a group in order and compare the answers.

    Args:
        group: one of GROUPS; each begins with a fresh device.
        converse: the device's end.
        atomic: it is ours: see above; False replays against wireguard-go itself.
    """
    port = converse("get=1\n\n")[0].partition("listen_port=")[2].partition("\n")[0]
    for entry in _CONVERSATIONS[group]:
        name, sent = entry["name"], entry["send"]
        reply, closed = converse(sent)
        if atomic and name in (_MIDDLE, _LOST):
            reply = reply.split("\n\n")[0] + "\n\n"
        expected = entry["receive"].replace("<port>", port)
        assert _by_peer(reply) == _by_peer(expected), name
        assert closed == entry["server_closed"], name
        if atomic and name in _REFUSED_PART:
            converse(sent.replace(_REFUSED_PART[name], ""))  # what wireguard-go had applied


def _by_peer(reply: str) -> list[str]:
    """The sections of a reply, sorted: the order of peers is nobody's promise."""
    return sorted(reply.replace("\nerrno", "\npublic_key=\nerrno").split("public_key="))
