"""Ctrl-C that waits for a good moment to stop."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator


class Interrupts:
    """The interrupts (SIGINT) that arrived while `defer_interrupt` was active."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def requested(self) -> bool:
        """Whether to stop at the next good moment."""
        return self.count > 0


@contextlib.contextmanager
def defer_interrupt(message: str = "") -> Iterator[Interrupts]:
    """Record the first Ctrl-C instead of raising it; the second one raises KeyboardInterrupt at once.

    Work inside the block reads `Interrupts.requested` and returns early. When the block ends without another error,
    the first interrupt is raised after all. Outside the main thread, which alone receives signals, nothing is changed.

    Parameters
    ----------
    message : str
        Logged as a warning at the first interrupt.

    Raises
    ------
    KeyboardInterrupt
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def record(*_: object) -> None:
        interrupts.count += 1
        if interrupts.count > 1:
            raise KeyboardInterrupt
        if message:
            logging.getLogger(__name__).warning(message)

    before = signal.signal(signal.SIGINT, record)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts.requested:
        raise KeyboardInterrupt
