"""What `up` has done so far, in a file that survives it: /run/wgpy/INTERFACE.journal, mode 0600.

JSON lines: a head, then one line per step written *before* the step is done. So whatever is killed when,
`down` finds everything that may have been done, and undoing what was not is harmless. A last line without its
newline was never finished, hence its step never begun. Knows nothing of what the steps mean.
"""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from wgpy.errors import WgpyError
from wgpy.quick.steps import Step, decode, encode

SCHEMA = 1
DIRECTORY = Path("/run/wgpy")


@dataclass(frozen=True, slots=True)
class Head:
    """What `down` must know besides the steps.

    Attributes:
        interface: its name.
        config: the configuration's path.
        namespace: inode of the network namespace `up` ran in.
        pre_down, post_down: hooks as they were written when `up` ran, belonging to what its own hooks did.
        save_config: whether `down` writes the running state back.
    """

    interface: str
    config: str
    namespace: int
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    save_config: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from a later one with its number by the time it started."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal as read; `Recorder` writes one."""

    path: Path
    head: Head
    steps: tuple[Step, ...] = ()
    daemon: Process | None = None
    link: int | None = None  # index of the interface, None where `up` did not come to know it
    hooks_ran: bool = False  # PostUp was begun: PreDown and PostDown have something to undo
    complete: bool = False  # `up` came to its end

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The journal at `path`, None where there is none or its first line was never finished.

        Raises:
            WgpyError: it is not a journal of this version.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        lines = data.split(b"\n")[:-1]
        if not lines:
            return None
        try:
            records = [json.loads(line) for line in lines]
            return cls._from(path, records)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise WgpyError(f"{path}: not a journal of this wgpy; undo by hand and delete it") from error

    @classmethod
    def _from(cls, path: Path, records: list[dict[str, Any]]) -> Self:
        first = records[0]
        if first["schema"] != SCHEMA:
            raise ValueError("another schema")
        written = {field.name: first[field.name] for field in fields(Head)}
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in written.items()
        }
        head = Head(**arguments)
        daemon = link = None
        for record in records[1:]:
            if "daemon" in record:
                daemon = Process(**record["daemon"])
            link = record.get("link", link)
        return cls(
            path,
            head,
            tuple(decode(record) for record in records[1:] if "do" in record),
            daemon,
            link,
            any(record.get("hooks") for record in records[1:]),
            any(record.get("complete") for record in records[1:]),
        )

    def with_step(self, old: Step, new: Step) -> Self:
        """The same journal with one step exchanged, on disk too."""
        changed = replace(self, steps=tuple(new if step == old else step for step in self.steps))
        lines = [_head_line(changed.head), *(encode(step) for step in changed.steps)]
        lines += [{"daemon": asdict(changed.daemon)}] if changed.daemon is not None else []
        lines += [{"link": changed.link}] if changed.link is not None else []
        lines += [{"hooks": True}] if changed.hooks_ran else []
        lines += [{"complete": True}] if changed.complete else []
        beside = self.path.with_suffix(".new")
        _write(beside, "".join(json.dumps(line) + "\n" for line in lines), os.O_TRUNC)
        beside.replace(self.path)
        return changed

    def remove(self) -> None:
        """All is undone: forget it."""
        self.path.unlink(missing_ok=True)


class Recorder:
    """Writes a journal, one line per write, so that a line is there whole or not at all."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path = path
        if Journal.read(path) is None:
            path.unlink(
                missing_ok=True
            )  # an `up` that never got its first line down, on a full disk: nothing was done
        _write(path, json.dumps(_head_line(head)) + "\n", os.O_EXCL)

    def step(self, step: Step) -> None:
        """About to do this."""
        self._append(encode(step))

    def daemon(self, process: Process) -> None:
        """This process is the device."""
        self._append({"daemon": asdict(process)})

    def link(self, index: int) -> None:
        """This is the interface, told apart from a later one of its name by its index."""
        self._append({"link": index})

    def hooks(self) -> None:
        """About to run the PostUp hooks."""
        self._append({"hooks": True})

    def complete(self) -> None:
        """`up` came to its end: the tunnel stands."""
        self._append({"complete": True})

    def _append(self, record: dict[str, Any]) -> None:
        _write(self.path, json.dumps(record) + "\n", os.O_APPEND)


def journal_path(interface: str, directory: Path = DIRECTORY) -> Path:
    """Where the journal of an interface is."""
    return directory / f"{interface}.journal"


def others(interface: str, directory: Path = DIRECTORY) -> Iterator[Journal]:
    """The journals of the other interfaces that are up; an unreadable one is passed over."""
    for path in sorted(directory.glob("*.journal")):
        if path == journal_path(interface, directory):
            continue
        try:
            journal = Journal.read(path)
        except (WgpyError, OSError):
            continue
        if journal is not None:
            yield journal


def _head_line(head: Head) -> dict[str, Any]:
    return {"schema": SCHEMA, **asdict(head)}


def _write(path: Path, text: str, flag: int) -> None:
    data = text.encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flag, 0o600)
        try:
            if os.write(descriptor, data) < len(data):  # half a line is read as none
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except (PermissionError, FileExistsError):
        raise  # these say enough, and have a meaning to those above
    except OSError as error:
        raise WgpyError(f"{path} cannot be written: {error.strerror}; nothing is done unrecorded") from None
