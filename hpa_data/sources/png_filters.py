"""The five filters of PNG undone by compiled code, which numba makes of a function below.

numba takes as long to import and to load as it saves on some hundred samples, and need not be installed. So a process
asks for it once it is told of that much work, or has done that much by other means. What is compiled is kept on the
disk, where numba finds a folder that it may write to.
"""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

_logger = logging.getLogger(__name__)

Bytes = npt.NDArray[np.uint8]

# Takes the filtered rows, the pixels to fill, and the bytes of a pixel; False if the rows are not those of a PNG.
Undo = Callable[[Bytes, Bytes, int], bool]

# Decoded bytes, by one thread, from which on compiled code is made: 256 samples of Kaggle's. It saves 3.6 ms of a
# thread on each. While numba loads what it compiled before, 0.6 s, or compiles, 1.3 s, all threads wait for Python; so
# both are worth their time after 150 to 360 samples of each thread.
BREAK_EVEN_BYTES = 2**28

_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)


def undo_filters(rows: Bytes, pixels: Bytes, step: int) -> bool:  # noqa: PLR0912  # five filters in one function to compile
    """Undo the filters of a PNG that is not interlaced.

    As Python, this takes a second for a plane; it is here to be compiled.

    Parameters
    ----------
    rows : array of uint8, shape (Y, 1 + row bytes)
        The number of a filter, and then the differences that it made, row by row.
    pixels : array of uint8, shape (Y, row bytes)
        Is filled.
    step : int
        Bytes of a pixel: what a row is compared with lies so far to the left.

    Returns
    -------
    bool
        False if a row has a filter that PNG does not have; some rows are then not filled.
    """
    n_rows, n_bytes = pixels.shape
    above = np.zeros(n_bytes, np.uint8)
    for y in range(n_rows):
        kind, line, row = rows[y, 0], rows[y, 1:], pixels[y]
        if kind == _NONE:
            for x in range(n_bytes):  # an assignment of the whole row takes ten times as long to compile
                row[x] = line[x]
        elif kind == _UP:
            for x in range(n_bytes):
                row[x] = (int(line[x]) + int(above[x])) & 255
        elif kind == _SUB and step == 1:  # a third of the rows of Kaggle's files: twice as fast as the next case
            left = 0
            for x in range(n_bytes):
                left = (left + int(line[x])) & 255
                row[x] = left
        elif kind == _SUB:
            # One byte of the pixel after the other, so that the value to the left stays in a register.
            for start in range(step):
                left = 0
                for x in range(start, n_bytes, step):
                    left = (left + int(line[x])) & 255
                    row[x] = left
        elif kind == _AVERAGE:
            for start in range(step):
                left = 0
                for x in range(start, n_bytes, step):
                    left = (((left + int(above[x])) >> 1) + int(line[x])) & 255
                    row[x] = left
        elif kind == _PAETH:
            for start in range(step):
                left, corner = 0, 0
                for x in range(start, n_bytes, step):
                    over = int(above[x])
                    # Of the three neighbors, the one next to left + over - corner. This order of the comparisons, from
                    # the specification's with the distances written out, needs no branch.
                    low, high, turn = min(left, over), max(left, over), 3 * corner - left - over
                    near = low if high <= turn else corner
                    near = high if turn <= low else near
                    left = (near + int(line[x])) & 255
                    row[x] = left
                    corner = over
        else:
            return False
        above = row
    return True


class Filters:
    """The compiled function of a process, and how much the process has decoded without it."""

    def __init__(self) -> None:
        self._undo: Undo | None = None
        self._n_bytes = 0
        self._wait_bytes = BREAK_EVEN_BYTES
        # Taken by the thread that compiles, and never given back: meanwhile, and if it fails, other means are used.
        # They are, too, in a fork that is made meanwhile.
        self._taken = threading.Lock()

    def expect(self, n_bytes: int, *, n_threads: int) -> None:
        """Tell how many bytes are about to be decoded: compiled code is made at once if they are worth it.

        If they are not, they do not count towards those after which it is made.
        """
        is_worth_it = n_bytes >= n_threads * BREAK_EVEN_BYTES
        self._wait_bytes = 0 if is_worth_it else self._n_bytes + n_bytes + BREAK_EVEN_BYTES

    def find(self, n_bytes: int) -> Undo | None:
        """Return the compiled function if it is there; where it is worth it, make it first.

        Parameters
        ----------
        n_bytes : int
            That are to be decoded now.

        Returns
        -------
        function or None
            None: decode them by other means.
        """
        if self._undo is None:
            self._n_bytes += n_bytes  # some may be lost between threads
            if self._n_bytes > self._wait_bytes and self._taken.acquire(blocking=False):
                self._undo = compile_filters()
        return self._undo


FILTERS = Filters()


def compile_filters() -> Undo | None:
    """Compile `undo_filters`, or load what an earlier process compiled.

    Returns
    -------
    function or None
        None if numba is not installed, or does not work here. The function lets other threads run meanwhile.
    """
    if not imagecodecs.DEFLATE.available:
        return None
    for is_kept in (True, False):  # there may be no folder to write to, or what is kept there may be damaged
        try:
            undo = _compile(is_kept=is_kept)
            if undo is not None and _is_right(undo):
                return undo
        except Exception as error:  # numba raises anything, also where it does not know the version of NumPy
            _logger.debug("numba cannot compile the filters of PNG: %s: %s", type(error).__name__, error)
    return None


def _compile(*, is_kept: bool) -> Undo | None:
    import numba

    if numba.config.DISABLE_JIT:  # the user's NUMBA_DISABLE_JIT
        return None

    # Its name becomes that of a file. Machines that share a folder must not share that file: numba numbers what is
    # there, and two that do so at the same time could each get what the other compiled, for another processor.
    undo_filters.__qualname__ = f"undo_filters_{_digest_processor()}"
    signature = "boolean(uint8[:, ::1], uint8[:, ::1], intp)"
    undo: Any = numba.njit(signature, nogil=True, cache=is_kept)(undo_filters)
    return undo


def _digest_processor() -> str:
    """Return some letters that differ for processors with other instructions."""
    from llvmlite import binding

    name = binding.get_host_cpu_name()
    with contextlib.suppress(RuntimeError):  # some systems do not tell
        name += binding.get_host_cpu_features().flatten()
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _is_right(undo: Undo) -> bool:
    """Return whether the compiled function gives what Python gives, for each filter."""
    rows = np.random.default_rng(0).integers(0, 256, (11, 25), np.uint8)
    rows[:, 0] = np.arange(11) % 5
    made, expected = np.zeros((2, 11, 24), np.uint8)
    for step in (1, 2, 3, 8):
        if not undo(rows, made, step) or not undo_filters(rows, expected, step) or (made != expected).any():
            return False
    rows[7, 0] = 5
    return not undo(rows, made, 1)
