"""What the commands of `hpa` share: options, and how progress and results are shown."""

import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpa_data.errors import InputError
from hpa_data.system.progress import Progress

if TYPE_CHECKING:
    pass

STORE = "A store, or its URL (s3://, gs://, http://)"
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Workers = Annotated[int | None, typer.Option(min=1, help="How many work at once; by default one a core.")]
Threads = Annotated[int | None, typer.Option(min=1, help="By default one a core.")]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what TensorFlow's libraries write while they are loaded, below Python, off the screen."""
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def split_names(names: str) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


def show(result: Any, as_json: bool, text: str) -> None:
    """Print a result for a program or for a person."""
    print(json.dumps(dataclasses.asdict(result), default=str) if as_json else text)


@contextlib.contextmanager
def progress(unit: str) -> Iterator[Progress]:
    """Show progress on stderr: a bar with rate and time left on a terminal, else a plain line every ten seconds."""
    with contextlib.ExitStack() as bar:
        show = _show_bar if sys.stderr.isatty() else _print_lines
        advance: list[Callable[[int], None]] = []

        def start(total: int) -> None:
            bar.close()  # of the pass before
            advance[:] = [bar.enter_context(show(unit, total))]

        yield Progress(
            start=start,
            advance=lambda n: advance[0](n),  # noqa: PLW0108 - the bar that is there then, not now
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
    done, started, printed, lock = 0, time.monotonic(), time.monotonic(), threading.Lock()

    def advance(n: int) -> None:
        nonlocal done, printed
        with lock:  # shards end in several threads
            done += n
            now = time.monotonic()
            if now - printed >= 10:
                printed = now
                rate = done / (now - started)
                print(f"{done}/{total} {unit}, {rate:.1f}/s, {(total - done) / rate:.0f} s left", file=sys.stderr)

    yield advance


def check_table(labels: Path | None, given: dict[str, Any]) -> Path:
    """Refuse options of a store where a label table takes its place; returns the table."""
    if labels is None:
        raise InputError("A store or a label table must be given. Received: neither. Pass STORE or --labels.")
    for option, value in given.items():
        if value:
            raise InputError(f"{option} must go with a store. Received: --labels {labels}. Leave it out.")
    return labels


def check_store(labels: Path | None, given: dict[str, Any]) -> None:
    """Refuse options of a label table where there is a store; its copies are in the store."""
    if labels is not None:
        raise InputError("A store or a label table must be given. Received: both. Pass STORE or --labels.")
    for option, value in given.items():
        if value:
            raise InputError(f"{option} must go with --labels. Received: a store. Run `hpa augment`, or leave it out.")


def escape(line: str) -> str:
    """Keep control characters, which file names may hold, off the screen."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def shorten(lines: list[str], *, most: int = 20) -> list[str]:
    """Keep a list readable on a screen; ``--json`` has all of it."""
    shown = [escape(line) for line in lines]
    return shown if len(shown) <= most else [*shown[:most], f"… and {len(shown) - most} more"]
