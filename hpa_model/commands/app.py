"""The commands of `hpa`: their names and groups, and running one of them."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core

from hpa_data.commands.augment import augment
from hpa_data.commands.cache import cache
from hpa_data.commands.convert import convert
from hpa_data.commands.datasets import datasets
from hpa_data.commands.endings import CLOSED, STOPPED, end
from hpa_data.commands.folds import folds
from hpa_data.commands.options import Command, refuse_urls
from hpa_data.commands.stats import stats
from hpa_data.commands.synth import synth
from hpa_data.system.interrupts import interrupts_as_exceptions
from hpa_data.system.os_errors import naming_file
from hpa_model.commands.baseline import baseline
from hpa_model.commands.bench import bench_io, bench_step
from hpa_model.commands.browse import browse
from hpa_model.commands.demo import demo
from hpa_model.commands.doctor import doctor
from hpa_model.commands.embed import embed
from hpa_model.commands.ensemble import ensemble
from hpa_model.commands.evaluate import compare, evaluate
from hpa_model.commands.explain import explain
from hpa_model.commands.export import export
from hpa_model.commands.finetune import finetune
from hpa_model.commands.maps import draw_samples
from hpa_model.commands.models import models
from hpa_model.commands.predict import predict
from hpa_model.commands.pretrain import pretrain
from hpa_model.commands.preview import SHOWN, preview
from hpa_model.commands.recipes import recipes
from hpa_model.commands.similar import similar
from hpa_model.commands.sweep import sweep
from hpa_model.commands.train import train
from hpa_model.commands.verify import verify

# Each command with its name, in the panels and the order of the help text.
PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Data": {
        "datasets": datasets,
        "synth": synth,
        "convert": convert,
        "verify": verify,
        "preview": preview,
        "stats": stats,
        "augment": augment,
        "folds": folds,
        "cache": cache,
    },
    "Training": {
        "models": models,
        "recipes": recipes,
        "pretrain": pretrain,
        "train": train,
        "finetune": finetune,
        "sweep": sweep,
        "baseline": baseline,
        "ensemble": ensemble,
        "demo": demo,
    },
    "Results": {
        "evaluate": evaluate,
        "compare": compare,
        "predict": predict,
        "embed": embed,
        "map": draw_samples,
        "similar": similar,
        "explain": explain,
        "export": export,
        "browse": browse,
    },
    "This machine": {"doctor": doctor},
}
# Commands of `hpa bench`.
BENCH: dict[str, Callable[..., None]] = {"io": bench_io, "step": bench_step}
# Spellings of options of version 0.1.0, or lists with commas of what is repeated, and what takes their place, see
# `hpa_data.commands.options.respell`.
FORMER_SPELLINGS: dict[str, dict[str, str]] = {
    "synth": {"--workers": "--threads"},
    "convert": {"--source": "--naming"},
    "augment": {"--into": "--to-part"},
    "stats": {"--figures": "--figure-dir", "--no-pixels": "--no-intensities", "--pixels": ""},
    "folds": {
        "--method": "--fold-method",
        "--no-near": "--no-near-duplicates",
        "--near": "",
    },
    "preview": {"--ids": "--id", "--channels": "--split-channels"},
    "train": {
        "--method": "--fold-method",
        "--bn-momentum": "--set bn_momentum=",
        "--xla": "--set xla=true",
        "--deterministic": "--set deterministic=true",
    },
    "finetune": {"--folds": "--which-folds"},
    "compare": {"--csv": "--out-csv", "--figure": "--out-figure"},
    "explain": {"--ids": "--id ,", "--classes": "--class ,"},
    "io": {"--png": "--images"},
}
# The values of options that may stand without one.
WORDS: dict[str, dict[str, str]] = {"preview": {"--augment": SHOWN}}
# Of Typer's errors of usage; it does not export their base class.
UsageError: type[BaseException] = typer.BadParameter.__mro__[2]

STATUSES = (
    "Exit status: 0 done; 1 done, and what failed is listed; 2 refused, or stopped by a known cause; 70 an unexpected "
    "fault; 130 interrupted (Ctrl-C); 141 the output was closed; 143 terminated."
)


class _Commands(typer.core.TyperGroup):
    """Ends a command with an exit status and one line, see `hpa_data.commands.endings`."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options before the command, and print what they ask for."""
        with _ending({}):
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _ending(ctx.params):
            return super().invoke(ctx)


@contextlib.contextmanager
def _ending(options: dict[str, Any]) -> Iterator[None]:
    """Turn an error into an exit status, except for those of usage, which Typer prints."""
    try:
        yield
    except typer.Exit:
        raise
    except UsageError as error:
        if isinstance(error, typer.BadParameter):
            error.message = error.message.removeprefix("Value error, ")  # Typer's, before each word that is no choice
        raise
    except SystemExit as ended:
        # Rich ends so where the output is closed.
        raise typer.Exit(CLOSED if isinstance(ended.__context__, BrokenPipeError) else _read_status(ended)) from None
    except BaseException as error:
        raise typer.Exit(end(error, debug=bool(options.get("debug")))) from None


def run() -> int:
    """Run the command that the command line names, and return the exit status."""
    # zarr reads several files at once and raises the first error. Python would report the others, with tracebacks.
    logging.getLogger("asyncio").disabled = True
    try:
        with interrupts_as_exceptions():
            try:
                app()
                status = 0
            except SystemExit as ended:
                status = _read_status(ended)
            with naming_file("the standard output"):
                sys.stdout.flush()
    except BaseException as error:
        status = end(error)
    if status == CLOSED:
        _discard_output()
    if status in STOPPED:
        # Python would warn of each task of zarr's event loop that was canceled.
        warnings.simplefilter("ignore", RuntimeWarning)
    return status


def _read_status(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _discard_output() -> None:
    """Let Python write what is left of the output to nowhere when it ends, in place of a message."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train deep networks on full-resolution multi-channel microscopy.",
    epilog=STATUSES,
)


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", metavar="", help="Print the traceback of an error. Stands before the command.")
    ] = False,
) -> None:
    """Print the version."""
    if show_version:
        print(f"hpa {version('hpa')}")
        raise typer.Exit


def _register(group: typer.Typer, name: str, function: Callable[..., None], panel: str | None = None) -> None:
    command = type(
        Command.__name__, (Command,), {"former": FORMER_SPELLINGS.get(name, {}), "words": WORDS.get(name, {})}
    )
    group.command(name, cls=command, rich_help_panel=panel)(refuse_urls(function))


for panel, commands in PANELS.items():
    for name, function in commands.items():
        _register(app, name, function, panel)
bench = typer.Typer(no_args_is_help=True, help="Measure reading and training on this machine.")
for name, function in BENCH.items():
    _register(bench, name, function)
app.add_typer(bench, name="bench", rich_help_panel="This machine")
