"""One line for a process that a mapped file ends: what it was reading, and what probably happened.

To touch a page of a mapped file that cannot be read, as the file was cut short or its disk failed, raises SIGBUS in
the thread that did. `mapping.MappedFile` asks first; this is for what that leaves: a file that is cut in the
microseconds between, and systems that cannot be asked.
"""

import os
import signal
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

# Of a command that a known cause has stopped.
STATUS = 2


class Mapped(Protocol):
    """A file that is mapped."""

    def describe_loss(self) -> str:
        """Describe what happened to it, as a message; empty if it has its size."""


class _Watch:
    """What this process watches."""

    def __init__(self) -> None:
        self.is_wanted = False
        self.files: WeakSet[Any] = WeakSet()
        self.handler: Callable[[int], None] | None = None  # for ever: the system holds its address


_WATCH = _Watch()


def explain_bus_errors() -> None:
    """Let this process end with one line and status 2 if a mapped file fails: for a command, not for a library."""
    _WATCH.is_wanted = True


def watch(file: Mapped) -> None:
    """Watch a file for as long as something refers to it."""
    _WATCH.files.add(file)
    if _WATCH.is_wanted and _WATCH.handler is None and signal.getsignal(signal.SIGBUS) is signal.SIG_DFL:
        import ctypes

        # Not by Python's `signal`: its handlers run between two steps of the interpreter, which is never reached.
        _WATCH.handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
        ctypes.CDLL(None).signal(signal.SIGBUS, _WATCH.handler)


def _end(_: int) -> None:
    """Say what happened, and end.

    Runs inside the thread that touched the page: in code that copies or decodes memory, which holds no lock that could
    be waited for here.
    """
    try:
        files = list(_WATCH.files)
        lost = next(filter(None, (file.describe_loss() for file in files)), "")
        folder = os.path.commonpath([str(file.path) for file in files]) if files else "a mapped file"
        line = lost or f"Cannot read {folder}: the disk or the network failed. Check it, and try again."
        os.write(2, f"Error: {line}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(STATUS)
