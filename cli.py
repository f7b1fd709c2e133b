"""The command `hpa`: registers the commands, and turns errors into one line and an exit status."""

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core

from hpa_data.commands.augment import augment
from hpa_data.commands.console import escape
from hpa_data.commands.convert import convert
from hpa_data.commands.datasets import datasets
from hpa_data.commands.folds import folds
from hpa_data.commands.options import Command, refuse_urls
from hpa_data.commands.preview import preview
from hpa_data.commands.stats import stats
from hpa_data.commands.synth import synth
from hpa_data.commands.verify import verify
from hpa_data.errors import InputError, is_out_of_memory
from hpa_data.sources.unpacked import remove_unpacked
from hpa_data.system.interrupts import interrupted_by, terminate_as_interrupt
from hpa_model.commands.baseline import baseline
from hpa_model.commands.bench import bench_io, bench_step
from hpa_model.commands.demo import demo
from hpa_model.commands.evaluate import compare, evaluate
from hpa_model.commands.models import models
from hpa_model.commands.predict import predict
from hpa_model.commands.recipes import recipes
from hpa_model.commands.train import finetune, train

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
    },
    "Training": {
        "models": models,
        "recipes": recipes,
        "train": train,
        "finetune": finetune,
        "baseline": baseline,
        "demo": demo,
    },
    "Results": {"evaluate": evaluate, "compare": compare, "predict": predict},
}
# Commands of `hpa bench`.
BENCH: dict[str, Callable[..., None]] = {"io": bench_io, "step": bench_step}
# Spellings of options of version 0.1.0 and what takes their place, see `hpa_data.commands.options.respell`.
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
    "io": {"--png": "--images"},
}
# Exit statuses after Ctrl-C and after SIGTERM: 128 and the number of the signal, as shells have it.
INTERRUPTED, TERMINATED = STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
# Packages that not every command needs, and the extra that installs them.
EXTRAS = {
    **{"keras": "train", "tensorflow": "train", "jax": "jax", "imgaug": "augment"},
    **{"skimage": "baseline", "sklearn": "baseline", "threadpoolctl": "baseline"},
    **{"matplotlib": "figures", "jinja2": "figures", "tensorboardX": "tensorboard"},
}
# Commands that run a network.
TRAINERS = ("train", "finetune", "predict", "demo", "bench")
# Settings of the C library for them. It uses huge pages, from one arena, and returns nothing between two steps: a
# training step allocates and frees gigabytes, and half of its time on a CPU would go into page faults. And it copies
# whole images past the processor's cache, which is faster: `raw` stores and caches are read by copying.
GLIBC_SETTINGS = {
    "malloc.hugetlb": 1,
    "malloc.arena_max": 1,
    "malloc.mmap_max": 0,
    "malloc.trim_threshold": 10**11,
    "cpu.x86_non_temporal_threshold": 2**19,
}


def explain(error: BaseException) -> tuple[int, str] | None:
    """Return the exit status and the line for an error that ends a command; None for a bug, which gets a traceback."""
    match error:
        case KeyboardInterrupt() if interrupted_by(error) == signal.SIGTERM:
            return TERMINATED, "Terminated."
        case KeyboardInterrupt():
            return INTERRUPTED, "Interrupted."
        case RuntimeError(__cause__=KeyboardInterrupt() as interrupt):  # wrapped by Python 3.11 in an import
            return explain(interrupt)
        case BrokenPipeError():
            return None  # the reader of our output has closed it; Typer handles that
        case InputError():
            reason = str(error)
        case ImportError() if error.name in EXTRAS:
            extra = EXTRAS[error.name]
            reason = f"Cannot run this command: {error.name} is not installed. Run: pip install '.[{extra}]'"
        case ImportError(name="torch" | "openvino"):  # a backend of Keras that is not installed
            reason = _name_backends()
        case ValueError() if str(error).startswith("Unable to import backend"):  # Keras's words for an unknown one
            reason = _name_backends()
        case Exception() if is_out_of_memory(error):
            reason = "Cannot finish: there is not enough memory. Ask for fewer samples at a time."
        case OSError():
            place = f"{error.filename or 'a file'}: {error.strerror or error}"
            reason = f"Cannot read or write {place}. Check the path, its permissions and the free space."
        case _:
            return None
    return 2, f"Error: {reason}"


def _name_backends() -> str:
    received = os.environ.get("KERAS_BACKEND", "the one in ~/.keras/keras.json")
    return f"KERAS_BACKEND must be tensorflow or jax. Received: {received}. Set one of them."


class _Commands(typer.core.TyperGroup):
    """Ends a command with one line and an exit status: 0 done, 1 something failed and is listed, 2 failed."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            explained = explain(error)
            if explained is None:
                raise
            status, line = explained
        if status in STOPPED:
            # Python would report each task of zarr's event loop that was canceled.
            logging.getLogger("asyncio").disabled = True
            warnings.simplefilter("ignore", RuntimeWarning)
        print(escape(line), file=sys.stderr)
        raise typer.Exit(status)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train deep networks on full-resolution multi-channel microscopy.",
)


def main() -> None:
    """Run the command."""
    if sys.platform == "linux" and sys.argv[1:2] and sys.argv[1] in TRAINERS and "GLIBC_TUNABLES" not in os.environ:
        # The C library reads this once, when a process starts; so start again. GLIBC_TUNABLES= in front prevents that.
        os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.{name}={value}" for name, value in GLIBC_SETTINGS.items())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    # TensorFlow logs at length about GPUs that are missing; its errors reach us as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names that the terminal's encoding lacks
    try:
        with terminate_as_interrupt():
            app()
    except KeyboardInterrupt as error:  # before a command started
        sys.exit(128 + interrupted_by(error))
    except SystemExit as end:
        if end.code in STOPPED:
            sys.stdout.flush()
            remove_unpacked()
            os._exit(int(end.code or 0))  # Python would wait for threads that a second Ctrl-C was meant to stop
        raise


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version.")] = False,
) -> None:
    """Print the version."""
    if show_version:
        print(f"hpa {version('hpa')}")
        raise typer.Exit


def _register(group: typer.Typer, name: str, function: Callable[..., None], panel: str | None = None) -> None:
    command = type(Command.__name__, (Command,), {"former": FORMER_SPELLINGS.get(name, {})})
    group.command(name, cls=command, rich_help_panel=panel)(refuse_urls(function))


for panel, commands in PANELS.items():
    for name, function in commands.items():
        _register(app, name, function, panel)
bench = typer.Typer(no_args_is_help=True, help="Measure reading and training on this machine.")
for name, function in BENCH.items():
    _register(bench, name, function)
app.add_typer(bench, name="bench", rich_help_panel="This machine")


if __name__ == "__main__":
    main()
