"""How the commands of `hpa` show progress and results."""

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hpa_data.system.progress import Progress


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard what TensorFlow's C++ libraries write to stderr while they are loaded."""
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def show(result: Any, as_json: bool, text: str) -> None:
    """Print a result, a dataclass or a list of them, for a program or for a person."""
    if as_json:
        plain = list(map(dataclasses.asdict, result)) if isinstance(result, list) else dataclasses.asdict(result)
        text = json.dumps(_replace_nan(plain), default=str)
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
    with contextlib.ExitStack() as bar:
        show = _show_bar if sys.stderr.isatty() else _print_lines
        advance: list[Callable[[int], None]] = []

        def start(total: int) -> None:
            bar.close()  # that of the previous pass
            advance[:] = [bar.enter_context(show(unit, total))]

        yield Progress(
            start=start,
            advance=lambda n: advance[0](n),  # noqa: PLW0108 - looks up the current bar at each call
            note=lambda line: print(line, file=sys.stderr),
        )


@contextlib.contextmanager
def _show_bar(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=total, rate="")

        def advance(n: int) -> None:
            bar.advance(task, n)
            bar.update(task, rate=f"{unit}, {bar.tasks[0].speed or 0:.0f}/s")

        yield advance


@contextlib.contextmanager
def _print_lines(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    started = printed = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, printed
        done += n
        now = time.monotonic()
        if now - printed >= 10:
            printed = now
            rate = done / (now - started)
            print(f"{done}/{total} {unit}, {rate:.1f}/s, {(total - done) / rate:.0f} s left", file=sys.stderr)

    yield advance


def escape(line: str) -> str:
    """Replace control characters, which file names may hold, so that they cannot act on a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def list_some(names: Sequence[str], *, limit: int = 20) -> str:
    """Join names by commas; of more than `limit`, the first ones and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def abbreviate(lines: list[str], *, limit: int = 20) -> list[str]:
    """Keep a list readable on a screen; ``--json`` prints all of it."""
    shown = [escape(line) for line in lines]
    return shown if len(shown) <= limit else [*shown[:limit], f"… and {len(shown) - limit} more"]
