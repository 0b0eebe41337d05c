"""What `up` and the device process agree on, both ends of it.

By environment:

    WGPY_SETUP_FD   a pipe from `up`: GO = you are in the journal, create the interface; DONE = the host is
    set up; its end
                    means that `up` died
    WGPY_WORKERS    the file's `Workers`
    WGPY_USER       whom to become when the host is set up
    WGPY_LEAVE      the configuration file: on TERM and INT run `wgpy down` on it, on HUP `wgpy reload`
    WGPY_DETACHED   standard error goes nowhere once the host is set up, unless LOG_LEVEL asks for a log
    WGPY_READS      a colon list of directories: what the device process may read later, besides programs

With `up -f` WGPY_LEAVE is not set: the parent does these things. Else an attendant, which is outside the
sandbox of the device process.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wgpy import privileges
from wgpy.quick import attendant
from wgpy.quick.attendant import Attendant

GO = b"g"
DONE = b"d"


def arrangement(
    config: str,
    user: str | None,
    supervised: bool,
    detached: bool,
    reads: Iterable[str] = (),
    workers: int | None = None,
) -> dict[str, str]:
    """The variables that `up` gives to the device process."""
    variables = {"WGPY_READS": ":".join(reads)}
    if user is not None:
        variables["WGPY_USER"] = user
    if not supervised:
        variables["WGPY_LEAVE"] = config
    if workers is not None:
        variables["WGPY_WORKERS"] = str(workers)
    if detached:
        variables["WGPY_DETACHED"] = "1"
    return variables


@dataclass(slots=True)
class Handover:
    """The device process's end."""

    setup_fd: int | None = None
    user: str | None = None
    config: str | None = None
    detached: bool = False
    _attendant: Attendant | None = field(default=None, compare=False)
    _account: privileges.Account | None = field(default=None, compare=False)

    @classmethod
    def take(cls, environment: Mapping[str, str]) -> "Handover":
        """Read what was arranged; nothing was, where the process was not started by `up`."""
        number = environment.get("WGPY_SETUP_FD", "")
        return cls(
            setup_fd=int(number) if number.isascii() and number.isdigit() else None,
            user=environment.get("WGPY_USER") or None,
            config=environment.get("WGPY_LEAVE"),
            detached=environment.get("WGPY_DETACHED") == "1",
        )

    def prepare(self) -> None:
        """Call once, before there is a second thread.

        Raises:
            WgpyError: there is no such user.
        """
        if self.setup_fd is not None:
            os.set_inheritable(self.setup_fd, False)
        if self.user is not None:
            self._account = privileges.account_of(self.user)
        elif self.config is not None:
            self._attendant = Attendant(self.config)

    def may_begin(self) -> bool:
        """Wait until we are in the journal of `up`. False: it died or gave up, so end without a trace."""
        return self.setup_fd is None or os.read(self.setup_fd, 1) == GO

    def read_setup(self) -> bool:
        """Call when `setup_fd` is readable, once. True: the host is set up; False: `up` died, so leave."""
        assert self.setup_fd is not None
        return os.read(self.setup_fd, 1) == DONE

    def set_up_done(self) -> None:
        """The host is set up: drop privileges, let go of the terminal.

        Raises:
            WgpyError: privileges could not be dropped; the process must end.
        """
        if self.detached and os.environ.get("LOG_LEVEL", "silent") == "silent":
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for number in (1, 2):
                os.dup2(null, number)
            os.close(null)
            self._tell(attendant.QUIET)
        if self._account is not None:
            privileges.become(self._account)

    def leave(self) -> bool:
        """Have `wgpy down` run, which deletes the interface at its end; False: close the device yourself."""
        return self._tell(attendant.LEAVE)

    @property
    def attendant_gone(self) -> int:
        """Readable when `leave` was tried, whether it came to anything or not."""
        assert self._attendant is not None
        return self._attendant.gone

    def reload(self) -> bool:
        """Have the configuration re-read as by syncconf; False: nothing is known of one."""
        return self._tell(attendant.RELOAD)

    def _tell(self, order: bytes) -> bool:
        return self._attendant is not None and self._attendant.tell(order)
