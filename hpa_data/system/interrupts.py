"""Interrupts that wait for a good moment: Ctrl-C (SIGINT), and SIGTERM, which batch systems and clusters send."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from hpa_data.errors import InputError

# SIGTERM means the same as Ctrl-C: Slurm, Kubernetes and spot machines send it some seconds before they kill.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """The interrupts that arrived while `defer_interrupt` was active."""

    def __init__(self) -> None:
        self.received: list[int] = []

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.received)

    @property
    def requested(self) -> bool:
        """Whether to stop at the next good moment."""
        return bool(self.received)

    def stop_if_requested(self) -> None:
        """Stop if an interrupt was received: KeyboardInterrupt, with the number of its signal."""
        if self.received:
            raise KeyboardInterrupt(self.received[0])


# Those whose block is active.
_ACTIVE: list[Interrupts] = []


def is_interrupted() -> bool:
    """Return whether an interrupt waits for the end of a block of `defer_interrupt`, in whichever thread this is asked.

    What waits for something that may never come asks this, and ends with an InputError.
    """
    return any(interrupts.requested for interrupts in _ACTIVE)


def interrupted_by(error: BaseException) -> int:
    """Return the signal that caused a KeyboardInterrupt; Python's own has no argument, and is caused by SIGINT."""
    return error.args[0] if error.args and error.args[0] in SIGNALS else signal.SIGINT


# The first signal that raised KeyboardInterrupt, if there was one. Libraries that are being imported swallow the
# exception, or raise another in its place.
_received: list[int] = []


def received_signal() -> int | None:
    """Return the signal that `interrupts_as_exceptions` has raised, if there was one."""
    return _received[0] if _received else None


def stop_if_received() -> None:
    """Raise KeyboardInterrupt if a signal was raised and has been swallowed since."""
    if _received:
        raise KeyboardInterrupt(_received[0])


@contextlib.contextmanager
def interrupts_as_exceptions() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt as Ctrl-C does, so that temporary files are removed. For the main thread.

    A signal that is ignored, as in a shell's background, stays so. Python drops an exception that is raised while it
    collects garbage or finalizes an object; such a signal comes again.
    """

    def stop(number: int, _: object) -> None:
        _received.append(number)
        raise KeyboardInterrupt(number)

    def repeat(dropped: Any) -> None:
        error = dropped.exc_value
        if isinstance(error, KeyboardInterrupt):
            # Not at once: it would be raised in here.
            threading.Timer(0.01, os.kill, (os.getpid(), interrupted_by(error))).start()
        else:
            hook(dropped)

    _received.clear()
    before, hook = {number: signal.getsignal(number) for number in SIGNALS}, sys.unraisablehook
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, stop)
    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def block_interrupts() -> Iterator[None]:
    """Let Ctrl-C (SIGINT) wait for the end of the block; processes that are started in it never receive it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def defer_interrupt(message: str = "") -> Iterator[Interrupts]:
    """Record the first Ctrl-C or SIGTERM instead of ending at once; the second one raises KeyboardInterrupt at once.

    Work inside the block reads `Interrupts.requested` and returns early. When the block ends without another error than
    an InputError, the first interrupt is raised after all. Outside the main thread, which alone receives signals,
    nothing is changed.

    Parameters
    ----------
    message : str
        Logged as a warning at the first interrupt.

    Raises
    ------
    KeyboardInterrupt
        With the number of the signal, see `interrupted_by`.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def record(number: int, _: Any) -> None:
        interrupts.received.append(number)
        if interrupts.count > 1:
            raise KeyboardInterrupt(number)
        try:
            warn()
        except RuntimeError:  # it came while this thread wrote to the same stream, which must end first
            threading.Timer(0.05, warn).start()

    def warn() -> None:
        if message:
            logging.getLogger(__name__).warning(message)

    before = [signal.signal(number, record) for number in SIGNALS]
    _ACTIVE.append(interrupts)
    try:
        yield interrupts
    except InputError:
        interrupts.stop_if_requested()
        raise
    finally:
        _ACTIVE.remove(interrupts)
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
    interrupts.stop_if_requested()
