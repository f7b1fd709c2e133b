"""How the commands of `hpa` show progress and results."""

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from hpa_data.system.complaints import escape as escape  # noqa: PLC0414 - commands take it from here
from hpa_data.system.garbage import loading
from hpa_data.system.interrupts import stop_if_received
from hpa_data.system.os_errors import naming_file
from hpa_data.system.progress import Progress

LINE_S = 10.0
"""Seconds between two lines of progress away from a terminal."""
SETTLED_S = 1.0
"""Seconds after which the rate of a stage is shown in place of that of the previous one."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard what TensorFlow's C++ libraries write to stderr while they are loaded."""
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        with loading():
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
    stop_if_received()  # libraries that are being imported swallow interrupts


def show(result: Any, as_json: bool, text: str) -> None:
    """Print a result, a dataclass, a list of them or a dictionary, for a program or for a person."""
    if as_json:
        plain = result
        if not isinstance(result, dict):
            plain = list(map(dataclasses.asdict, result)) if isinstance(result, list) else dataclasses.asdict(result)
        text = json.dumps(_replace_nan(plain), default=str)
    with naming_file("the standard output"):
        print(text)


def _replace_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None, at any depth."""
    if isinstance(value, dict):
        return {key: _replace_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def resumable(output: object, *, overwrite: bool) -> Iterator[None]:
    """Print how to resume the work if it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        command = "the same command without --overwrite" if overwrite else "the same command"
        print(f"Finished work is kept in {output}. Run {command} to resume.", file=sys.stderr)
        raise


@contextlib.contextmanager
def progress(unit: str) -> Iterator[Progress]:
    """Show progress on stderr: a bar with rate and time left on a terminal, else a plain line every ten seconds."""
    with contextlib.ExitStack() as display:
        show = _show_bar if sys.stderr.isatty() else _print_lines
        current: list[_Pass] = []

        def start(total: int) -> None:
            display.close()  # that of the previous pass
            current[:] = [_Pass(unit, total)]
            current[0].update = display.enter_context(show(current[0]))

        def stage(name: str) -> None:
            if current:
                current[0].start_stage(name)

        yield Progress(
            start=start,
            advance=lambda n: current[0].advance(n),  # noqa: PLW0108 - looks up the current pass at each call
            stage=stage,
            note=lambda line: print(escape(line), file=sys.stderr),
        )


class _Pass:
    """The work of one bar: how much is done, how fast, and what it belongs to."""

    def __init__(self, unit: str, total: int) -> None:
        self.unit, self.total, self.done = unit, total, 0
        self.stage = ""
        self.update: Callable[[], None] = lambda: None
        self._rate = 0.0  # of the previous stage
        self._units, self._seconds = 0, 0.0  # measured in this stage
        self._last: float | None = None  # time of its last unit
        self._first: tuple[float, int] | None = None  # time of the first units of all, and how many

    def start_stage(self, name: str) -> None:
        """Begin with other units."""
        self._rate = self.rate
        self.stage = name
        self._units, self._seconds, self._last = 0, 0.0, None
        self.update()

    def advance(self, n: int) -> None:
        """Count units that are done."""
        now = time.monotonic()
        self.done += n
        if self._last is not None:
            self._units += n
            self._seconds += now - self._last
        self._last = now
        self._first = self._first or (now, n)
        self.update()

    @property
    def rate(self) -> float:
        """Units per second after the first ones of the stage, which may have waited for a compilation; 0 if unknown."""
        if self._seconds and (self._seconds >= SETTLED_S or not self._rate):
            return self._units / self._seconds
        return self._rate

    @property
    def left_s(self) -> float | None:
        """Seconds to the end, if what is between the stages takes as long as before; None if unknown."""
        if self._first is None or self.done <= self._first[1]:
            return None
        started, n = self._first
        return (time.monotonic() - started) / (self.done - n) * (self.total - self.done)

    def describe_rate(self) -> str:
        """Write unit and rate."""
        return f"{self.unit}, {self.rate:.{0 if self.rate >= 100 else 1}f}/s" if self.rate else self.unit


@contextlib.contextmanager
def _show_bar(work: _Pass) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    description, rate, left = map(TextColumn, ("{task.description}", "{task.fields[rate]}", "{task.fields[left]}"))
    columns = (description, BarColumn(None), MofNCompleteColumn(), rate, left)
    with Bar(*columns, console=Console(stderr=True), transient=True, expand=True) as bar:
        task = bar.add_task("", total=work.total, rate=work.unit, left="")

        def update() -> None:
            left = "" if work.left_s is None else f"{timedelta(seconds=round(work.left_s))} left"
            bar.update(task, completed=work.done, description=work.stage, rate=work.describe_rate(), left=left)

        yield update


@contextlib.contextmanager
def _print_lines(work: _Pass) -> Iterator[Callable[[], None]]:
    printed = time.monotonic()

    def update() -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= LINE_S:
            printed = now
            left = "" if work.left_s is None else f", {work.left_s:.0f} s left"
            stage = f"{work.stage}: " if work.stage else ""
            print(f"{stage}{work.done}/{work.total} {work.describe_rate()}{left}", file=sys.stderr)

    yield update


def list_some(names: Sequence[str], *, limit: int = 20) -> str:
    """Join names by commas; of more than `limit`, the first ones and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def abbreviate(lines: list[str], *, limit: int = 20) -> list[str]:
    """Keep a list readable on a screen; ``--json`` prints all of it."""
    shown = [escape(line) for line in lines]
    return shown if len(shown) <= limit else [*shown[:limit], f"… and {len(shown) - limit} more"]
