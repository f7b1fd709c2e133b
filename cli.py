"""The command `hpa`: parse, call one function, show its result."""

import io
import logging
import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core

from hpa_data.commands.augment import augment
from hpa_data.commands.console import escape
from hpa_data.commands.convert import convert
from hpa_data.commands.folds import folds
from hpa_data.commands.preview import preview
from hpa_data.commands.stats import stats
from hpa_data.commands.synth import synth
from hpa_data.commands.verify import verify
from hpa_data.errors import InputError
from hpa_model.commands.bench import bench_io, bench_step
from hpa_model.commands.demo import demo
from hpa_model.commands.evaluate import compare, evaluate
from hpa_model.commands.models import models
from hpa_model.commands.predict import predict
from hpa_model.commands.train import finetune, train


class _Commands(typer.core.TyperGroup):
    """Turn what ends a command into one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command: 0 done, 1 done but something failed, 2 could not do it, 130 interrupted."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            print(f"Error: {escape(str(error))}", file=sys.stderr)
            status = 2
        except BrokenPipeError:
            raise  # whoever read our output has enough; Typer knows what to do
        except ImportError as error:
            if error.name not in EXTRAS:
                raise
            extra = EXTRAS[error.name]
            print(f"Error: This command must have {error.name}. Run: pip install '.[{extra}]'", file=sys.stderr)
            status = 2
        except ValueError as error:
            if not str(error).startswith("Unable to import backend"):  # as Keras says it
                raise
            backend = escape(os.environ.get("KERAS_BACKEND", "that of ~/.keras/keras.json"))
            print(
                f"Error: KERAS_BACKEND must be tensorflow or jax. Received: {backend}. Set one of them.",
                file=sys.stderr,
            )
            status = 2
        except OSError as error:
            print(f"Error: The system refused: {error}. Check the path, its rights and free space.", file=sys.stderr)
            status = 2
        except RuntimeError as error:
            # Python 3.11 wraps an interrupt that comes while a class is made, in an import.
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
            print("Interrupted.", file=sys.stderr)
            status = 130
        except KeyboardInterrupt:
            # Python would tell of each task of zarr's event loop that had to be dropped.
            logging.getLogger("asyncio").disabled = True
            warnings.simplefilter("ignore", RuntimeWarning)
            print("Interrupted.", file=sys.stderr)
            status = 130
        raise typer.Exit(status)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="High-resolution, multi-channel microscopy into a deep network.",
)

# Packages that not every command needs, and the extra that brings them.
EXTRAS = {
    **{"keras": "train", "tensorflow": "train", "jax": "jax", "imgaug": "augment"},
    **{"matplotlib": "figures", "jinja2": "figures", "tensorboardX": "tensorboard"},
}
# Commands that run a network.
TRAINERS = ("train", "finetune", "predict", "demo", "bench")
# What the C library does for them. It gives huge pages, from one arena, and hands nothing back between two steps: a
# training step takes and frees gigabytes, and half of its time on a CPU would go into the pages of fresh memory. And it
# copies whole images past the processor's cache, which is faster: `raw` stores and caches are read by copying.
GLIBC_SETTINGS = {
    "malloc.hugetlb": 1,
    "malloc.arena_max": 1,
    "malloc.mmap_max": 0,
    "malloc.trim_threshold": 10**11,
    "cpu.x86_non_temporal_threshold": 2**19,
}


def main() -> None:
    """Run the command."""
    if sys.platform == "linux" and sys.argv[1:2] and sys.argv[1] in TRAINERS and "GLIBC_TUNABLES" not in os.environ:
        # The C library reads this once, when a process starts; so start again.
        os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.{name}={value}" for name, value in GLIBC_SETTINGS.items())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    # TensorFlow tells at length of GPUs that are not there; what goes wrong in it reaches us as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files that the terminal's letters lack
    try:
        app()
    except KeyboardInterrupt:  # before a command began
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:
            sys.stdout.flush()
            os._exit(130)  # Python would wait for threads that a second Ctrl-C was meant to stop
        raise


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Say the version."""
    if show_version:
        print(f"hpa {version('hpa')}")
        raise typer.Exit


for command in (
    *(synth, convert, augment, verify, preview, stats, folds),
    *(train, finetune, evaluate, compare, predict, models, demo),
):
    app.command()(command)

bench = typer.Typer(no_args_is_help=True, help="Measure this machine: reading, and training.")
app.add_typer(bench, name="bench")
bench.command("io")(bench_io)
bench.command("step")(bench_step)


if __name__ == "__main__":
    main()
