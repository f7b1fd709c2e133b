"""What libraries say beside their results: their warnings and log lines, sent on to `stderr_guard` to be counted."""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

# What begins a line that holds a complaint, in place of text. A record separator is in no text that is shown.
MARK = b"\x1ehpa "
# Of a line: Linux does not mix a write of so many bytes with that of another process.
MAX_BYTES = 2048
# Characters of the names in it.
MAX_LIBRARY, MAX_FILE = 40, 150


def escape(line: str) -> str:
    """Replace control characters, which file names may hold, so that they cannot act on a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A warning of a library."""

    library: str

    text: str
    """Its first line."""

    file: str
    """The image file that was being read; empty if there was none."""

    def encode(self) -> bytes:
        """Return it as a line, not longer than `MAX_BYTES`."""
        file = self.file if len(self.file) <= MAX_FILE else f"…{self.file[1 - MAX_FILE :]}"
        text = self.text
        while True:
            fields = {"library": self.library[:MAX_LIBRARY], "text": text, "file": file}
            line = MARK + json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
            if len(line) <= MAX_BYTES:
                return line
            text = text[: len(text) * 9 // 10]

    @staticmethod
    def decode(line: bytes) -> "Complaint | None":
        """Read a line; None if it is none of `encode`."""
        try:
            return Complaint(**json.loads(line.removeprefix(MARK))) if line.startswith(MARK) else None
        except (ValueError, TypeError):
            return None


class _Reading(threading.local):
    file = ""


_reading = _Reading()


@contextmanager
def reading_file(file: str) -> Iterator[None]:
    """Tell whose fault it is what libraries complain about in this thread and block: an image file, by its name."""
    before, _reading.file = _reading.file, file
    try:
        yield
    finally:
        _reading.file = before


class _Handler(logging.Handler):
    """Takes the log lines of libraries; those of our own are shown at once."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line on, or show it."""
        try:
            text = record.getMessage()
        except Exception:  # a wrong call in a library
            text = str(record.msg)
        library = record.name.partition(".")[0]
        if library.startswith("hpa_"):
            print(escape(text), file=sys.stderr)
        else:
            _send(library, text)


def _send(library: str, text: str) -> None:
    first = next(iter(text.strip().splitlines()), "")
    with suppress(OSError):  # nobody is there to be told
        os.write(2, Complaint(library=library, text=first, file=_reading.file).encode())


def send_complaints() -> Callable[[], None]:
    """Send what libraries warn of and log to file descriptor 2, as lines for `stderr_guard`, which must be there.

    Returns
    -------
    function
        Lets warnings and log lines go where they went before.
    """
    handler, before = _Handler(logging.WARNING), warnings.showwarning
    warnings.showwarning = _take_warning
    logging.getLogger().addHandler(handler)

    def end() -> None:
        logging.getLogger().removeHandler(handler)
        warnings.showwarning = before

    return end


def _take_warning(  # noqa: PLR0917 - Python's order
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Send a warning on, with the package whose code gave it; many name the line of ours that called them."""
    _, found, inside = filename.rpartition("site-packages/")
    _send(inside.partition("/")[0].removesuffix(".py") if found else "a library", f"{category.__name__}: {message}")
