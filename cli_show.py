"""What the commands of `hpa` share: options, and how progress and results are shown."""

import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hpa_model.fit import Progress

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
def progress(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr: a bar with rate and time left on a terminal, else a plain line every ten seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(unit, total=total, rate="")

            def advance(n: int) -> None:
                bar.advance(task, n)
                bar.update(task, rate=f"{unit}, {bar.tasks[0].speed or 0:.0f}/s")

            yield advance
        return

    done, started, told, lock = 0, time.monotonic(), time.monotonic(), threading.Lock()

    def note(n: int) -> None:
        nonlocal done, told
        with lock:  # shards end in several threads
            done += n
            now = time.monotonic()
            if now - told >= 10:
                told = now
                rate = done / (now - started)
                print(f"{done}/{total} {unit}, {rate:.1f}/s, {(total - done) / rate:.0f} s left", file=sys.stderr)

    yield note


@contextlib.contextmanager
def late_progress(unit: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Give two functions: one that begins to show progress (anew) with its total, one that advances it."""
    with contextlib.ExitStack() as stack:
        shown: list[Callable[[int], None]] = []

        def plan(total: int) -> None:
            stack.close()
            shown[:] = [stack.enter_context(progress(unit, total))]

        def advance(n: int) -> None:
            shown[0](n)

        yield plan, advance


def report_training(plan: Callable[[int], None], advance: Callable[[int], None]) -> "Progress":
    """Show a line an epoch, and progress over the images of all epochs of all folds."""
    from hpa_model.fit import Progress
    from hpa_model.runs import EpochRecord

    def on_epoch(fold: int, record: EpochRecord) -> None:
        # Through rich's own redirection, the line lands above the bar. Folds count from 0, as their folders do.
        print(
            f"fold {fold}  epoch {record.epoch:>3}  loss {record.loss:.4f}  val_loss {record.val_loss:.4f}  "
            f"macro-F1 {record.val_macro_f1:.3f}, best thresholds {record.val_macro_f1_best:.3f}  "
            f"{record.images_per_s:.1f} images/s",
            file=sys.stderr,
        )

    return Progress(on_plan=plan, on_batch=advance, on_epoch=on_epoch)
