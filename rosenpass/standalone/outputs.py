"""Where a peer's keys go: a file and a line on standard output, `wg set`, a command of the person's own.

A key that cannot be handed on is a line in the log; the exchange goes on and the next key tries again.
"""

import asyncio
import base64
import logging
import sys
from collections.abc import Sequence

from ..erasure import wipe
from ..errors import KeyFileError
from ..key_out import write_key_out
from ..peers import PeerId
from .config import PeerEntry

log = logging.getLogger(__name__)

PROGRAM_TIMEOUT = 30.0  # s

EXCHANGED = "exchanged"
STALE = "stale"


class Outputs:
    """All outputs of one peer. Programs run one after another; of keys that wait only the newest is kept."""

    def __init__(self, peer_id: PeerId, entry: PeerEntry) -> None:
        self._peer_id = peer_id
        self._entry = entry
        self._waiting: bytearray | None = None
        self._running: asyncio.Task[None] | None = None
        self._programs = [*_wg_set(entry), *([entry.exchange_command] if entry.exchange_command else [])]

    def put(self, key: bytearray, why: str) -> None:
        """Hand a key on; it is wiped when every output has it.

        Args:
            key: 32 bytes.
            why: EXCHANGED or STALE.
        """
        if self._entry.key_out is not None:
            self._write_file(key, why)
        if not self._programs:
            wipe(key)
            return
        wipe(self._waiting)
        self._waiting = key
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run_programs())

    async def close(self) -> None:
        """Let a program that runs have its key."""
        if self._running is not None:
            await self._running

    def _write_file(self, key: bytearray, why: str) -> None:
        path = self._entry.key_out
        assert path is not None
        try:
            write_key_out(path, key)
        except KeyFileError as error:
            log.error("%s", error)
            return
        peer = base64.b64encode(self._peer_id).decode()
        try:
            sys.stdout.write(f"output-key peer {peer} key-file {debug_quoted(str(path))} {why}\n")
            sys.stdout.flush()
        except OSError as error:  # who read it is gone; the programs still want the key
            log.error("standard output: %s", error.strerror or error)

    async def _run_programs(self) -> None:
        try:
            while self._waiting is not None:
                key, self._waiting = self._waiting, None
                try:
                    for program in self._programs:
                        await _run(program, key)
                finally:
                    wipe(key)
        finally:
            self._running = None


def _wg_set(entry: PeerEntry) -> list[Sequence[str]]:
    if entry.wireguard is None:
        return []
    to = entry.wireguard
    return [("wg", "set", to.device, "peer", to.peer, "preshared-key", "/dev/stdin", *to.extra)]


async def _run(program: Sequence[str], key: bytearray) -> None:
    """Run a program with the base64 key and a newline on its standard input."""
    text = bytearray(base64.b64encode(key) + b"\n")
    try:
        process = await asyncio.create_subprocess_exec(
            *program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(text), PROGRAM_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
            log.error("%s: still running after %d s; killed", program[0], PROGRAM_TIMEOUT)
            return
        if process.returncode:
            first = said.decode(errors="replace").strip().splitlines()[:1]
            log.error(
                "%s failed (%d)%s",
                " ".join(program[:3]),
                process.returncode,
                ": " + first[0] if first else "",
            )
    except OSError as error:
        log.error("cannot run %s: %s", program[0], error.strerror or error)
    finally:
        wipe(text)


def debug_quoted(text: str) -> str:
    """Quote a path as the Rust tool does: backslash before quotes and backslashes, escapes for the rest."""
    named = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    return '"' + "".join(named.get(c, c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text) + '"'
