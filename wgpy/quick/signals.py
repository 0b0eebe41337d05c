"""Other signal handlers for a while."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType


@contextmanager
def handled(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None] | signal.Handlers
) -> Iterator[None]:
    """These signals go to `handler`, and to whom they went before when the context ends."""
    with ExitStack() as restore:
        for number in numbers:
            with suppress(ValueError):  # not the main thread
                restore.callback(signal.signal, number, signal.signal(number, handler))
        yield
