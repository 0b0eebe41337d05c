"""Where log lines go: standard error, as much as LOG_LEVEL asks for. Nothing secret is ever passed here."""

import logging
import time

_LEVELS = {
    "verbose": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "error": logging.ERROR,
    "silent": logging.CRITICAL + 1,
}


def set_up(interface: str, level: str) -> None:
    """One handler; an unknown level is `error`, as wireguard-go has it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(levelname)s: ({interface}) %(asctime)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS.get(level.lower(), logging.ERROR))
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class Rate:
    """At most `burst` lines a second where a stranger may cause them; says how many were left out."""

    def __init__(self, burst: int = 10) -> None:
        self._burst = burst
        self._second = 0
        self._passed = 0
        self.left_out = 0

    def allows(self) -> bool:
        """Whether one more line may be written now."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._passed = second, 0
        self._passed += 1
        if self._passed <= self._burst:
            return True
        self.left_out += 1
        return False
