"""What a detached device process leaves outside its sandbox: who can run `wgpy down` and `wgpy reload`.

A fork of it from before it had a key, a thread or a descriptor. It knows the configuration's path, takes two
orders and no arguments, and ends when the device process does, or when it was told to leave and has tried.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

from wgpy.quick.programs import clean_environment

LEAVE: Final = b"l"
RELOAD: Final = b"r"
QUIET: Final = b"q"  # the terminal is nobody's any more

_WORDS: Final = {LEAVE: ("down", "--leaving"), RELOAD: ("reload",)}


class Attendant:
    """The device process's end of the pipe.

    Attributes:
        gone: a descriptor that is readable, at its end, when the attendant has ended.
    """

    def __init__(self, config: str) -> None:
        read_end, self._orders = os.pipe()
        self.gone, lives = os.pipe()
        if os.fork() == 0:
            _attend(config, read_end, lives)
        os.close(read_end)
        os.close(lives)

    def tell(self, order: bytes) -> bool:
        """LEAVE, RELOAD or QUIET; it is not waited for. False: somebody has ended it."""
        try:
            os.write(self._orders, order)
        except BrokenPipeError:
            return False
        return True


def _attend(config: str, orders: int, lives: int) -> NoReturn:
    """Until the device process has ended; what it ordered twice would meet the next tunnel of that name."""
    os.dup2(orders, 0)
    os.dup2(lives, 3, inheritable=False)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore)  # a handler, since SIG_IGN would be inherited
    reloading = None
    while order := os.read(0, 1):
        if order == QUIET:
            _let_go_of_the_terminal()
            continue
        if reloading is not None:
            if order == LEAVE:
                reloading.terminate()  # it may be asking a name server that is gone
            reloading.wait()
        running = _start(_WORDS[order], config)
        if order == LEAVE:
            if running is not None:
                running.wait()
            break
        reloading = running
    os._exit(0)


def _start(words: tuple[str, ...], config: str) -> "subprocess.Popen[bytes] | None":
    argv = [sys.executable, "-P", "-m", "wgpy", *words, "--", config]
    with suppress(OSError):  # nothing can be run any more: the device process shall end all the same
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, env=clean_environment(), start_new_session=True
        )
    return None


def _let_go_of_the_terminal() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)


def _ignore(_: int, __: FrameType | None) -> None:
    """The device process was meant too, and says what is to be done."""
