"""The command `hpa`: parse, call one function, show its result."""

import io
import logging
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

import cli_model
import cli_text
from cli_show import STORE, Json, Overwrite, Threads, Workers, late_progress, progress, show, split_names
from hpa_data.errors import InputError

if TYPE_CHECKING:
    from hpa_data.stats import LabelStatistics, StoreStatistics


class _Commands(typer.core.TyperGroup):
    """Turn what ends a command into one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command: 0 done, 1 done but something failed, 2 could not do it, 130 interrupted."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            print(f"Error: {cli_text.escape(str(error))}", file=sys.stderr)
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
            backend = cli_text.escape(os.environ.get("KERAS_BACKEND", "that of ~/.keras/keras.json"))
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


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    samples: Annotated[int, typer.Option(min=1, help="Labelled samples.")] = 100,
    test: Annotated[int, typer.Option(min=0, help="Samples of an unlabelled test folder.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    uniform: Annotated[bool, typer.Option("--uniform", help="Show each class equally often.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Write made-up samples in Kaggle's file format: planes, label table, test folder."""
    from hpa_data.synth import write_samples

    with progress("samples", samples + test) as advance:
        done = write_samples(
            folder,
            n_samples=samples,
            seed=seed,
            uniform=uniform,
            n_test=test,
            workers=workers,
            on_sample=lambda: advance(1),
        )
    mean_kb = done.n_bytes / (done.n_samples + done.n_test) / 1e3
    show(done, as_json, f"{folder}: {done.n_samples} samples and {done.n_test} for test, {mean_kb:.0f} kB each")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A folder, a Zip archive, or archive.zip/folder.")],
    store: Annotated[Path, typer.Argument(help="The store to make, or to add a part to.")],
    labels: Annotated[Path | None, typer.Option(help="A CSV table: Id, and Target with numbers or names.")] = None,
    part: Annotated[str, typer.Option(help="Name of the part.")] = "train",
    form: Annotated[
        str, typer.Option("--source", help="kaggle (gray planes), hpav18 (coloured planes) or stack (whole samples).")
    ] = "kaggle",
    channels: Annotated[
        str | None, typer.Option(help="For stack: red=2,green=0,blue=DAPI, planes by number or name.")
    ] = None,
    missing: Annotated[str, typer.Option(help="A channel is missing: fail, fill with zeros, or skip it.")] = "fail",
    intensity: Annotated[str, typer.Option(help="16 to 8 bit by full scale, minmax or percentile.")] = "full",
    codec: Annotated[str, typer.Option(help="lz4hc, lz4 (fast to write), zstd (smallest) or raw.")] = "lz4hc",
    on_error: Annotated[str, typer.Option(help="A sample cannot be read: skip (and list it) or fail.")] = "skip",
    threads: Threads = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes, in place of threads.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="tcp://… of a Dask cluster that sees the same files.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read some samples and say what it would take.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert image files into a part of a store; the same command again goes on where it was stopped."""
    from hpa_data.convert import convert_files
    from hpa_data.forecast import forecast_conversion
    from hpa_data.plan import plan_conversion
    from hpa_data.schedule import Workers
    from hpa_data.sources import SourceSettings, parse_channels

    if on_error not in {"skip", "fail"}:
        raise InputError(f"on-error must be skip or fail. Received: {on_error!r}. Choose one.")
    settings = SourceSettings(
        source=form,
        channels=parse_channels(channels) if channels is not None else None,
        missing=missing,
        intensity=intensity,
    )
    doing = Workers(threads=threads, processes=workers, scheduler=scheduler)
    plan = plan_conversion(source, store, labels=labels, part=part, settings=settings, codec=codec)
    if dry_run:
        told = forecast_conversion(plan, workers=doing, overwrite=overwrite)
        show(told, as_json, cli_text.describe_forecast(told))
        return
    try:
        with late_progress("samples") as (begin, advance):
            done = convert_files(
                plan,
                workers=doing,
                stop_at_failure=on_error == "fail",
                overwrite=overwrite,
                on_plan=begin,
                on_written=advance,
            )
    except KeyboardInterrupt:
        print(f"{store} has all that was finished; the same command goes on from there.", file=sys.stderr)
        raise
    show(done, as_json, cli_text.describe_conversion(done))
    if done.failures:
        raise typer.Exit(1)


@app.command()
def augment(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    min_count: Annotated[int, typer.Option(min=1, help="Samples that each class is to have.")] = 500,
    parts: Annotated[str, typer.Option(help="Parts to copy from, with commas between.")] = "train",
    order: Annotated[str, typer.Option(help="Classes by index, or rarest first, which takes fewer copies.")] = "index",
    policy: Annotated[str, typer.Option(help="What is done to copies: paper, or strong.")] = "paper",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    into: Annotated[str, typer.Option(help="Name of the part to make.")] = "augmented",
    threads: Threads = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes, in place of threads.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="tcp://… of a Dask cluster that sees the store.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which copies it would make.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Add augmented copies of rare samples as a part; the same command again goes on where it was stopped."""
    from hpa_data.augment import augment_store, check_augmentation, plan_augmentation
    from hpa_data.schedule import Workers
    from hpa_data.store import open_store

    doing = Workers(threads=threads, processes=workers, scheduler=scheduler)
    plan = plan_augmentation(
        open_store(store),
        parts=split_names(parts),
        min_count=min_count,
        order=order,
        policy=policy,
        seed=seed,
        into=into,
    )
    told = plan.summary
    if dry_run:
        check_augmentation(plan, overwrite=overwrite)
        show(told, as_json, cli_text.describe_copies(told))
        return
    if not as_json:
        print(cli_text.describe_copies(told), flush=True)
    try:
        with late_progress("copies") as (begin, advance):
            done = augment_store(plan, workers=doing, overwrite=overwrite, on_plan=begin, on_written=advance)
    except KeyboardInterrupt:
        print(f"{store} has all that was finished; the same command goes on from there.", file=sys.stderr)
        raise
    lines = [f"{store}, part {done.part}: {done.n_ok} of {done.n_copies} copies ok, {done.n_bytes / 1e6:.1f} MB"]
    if not done.n_copies:
        lines = ["Nothing to copy."]
    lines += cli_text.shorten([f"Failed: {failure.id}: {failure.reason}" for failure in done.failures])
    show(done, as_json, "\n".join(lines))
    if done.failures:
        raise typer.Exit(1)


@app.command()
def verify(
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    part: Annotated[str | None, typer.Option(help="Only this part.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="The files that the part was made from; of copies, the store itself.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what is wrong, from the source; copies from their parents.")
    ] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check each sample against its checksum, and against its source; make again what is wrong."""
    from hpa_data.verify import verify_store

    with late_progress("samples") as (begin, advance):
        done = verify_store(
            store,
            part=part,
            source=source,
            repair=repair,
            threads=threads,
            on_plan=begin,
            on_checked=advance,
        )
    show(done, as_json, cli_text.describe_verification(done))
    if done.n_faults:
        raise typer.Exit(1)


@app.command()
def preview(
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    out: Annotated[Path, typer.Option(help="The PNG file to make.")],
    part: Annotated[str, typer.Option(help="The part of the store.")] = "train",
    ids: Annotated[list[str] | None, typer.Option(help="A sample to show; may be given several times.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many to show without --ids.")] = 12,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a row.")] = 4,
    channels: Annotated[bool, typer.Option("--channels", help="Each channel on its own.")] = False,
    parents: Annotated[
        bool, typer.Option("--parents", help="Of a part of copies: each parent beside its copies.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw some samples of a part in their colours, with ids and class names."""
    from hpa_data.preview import preview_part
    from hpa_data.store import open_store

    done = preview_part(
        open_store(store),
        out,
        part=part,
        ids=ids or (),
        n_samples=samples,
        columns=columns,
        view="channels" if channels else "composite",
        parents=parents,
    )
    show(done, as_json, f"{out}: {len(done.ids)} samples")


@app.command()
def stats(
    store: Annotated[str | None, typer.Argument(help=STORE + "; or give --labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A label table, in place of a store.")] = None,
    parts: Annotated[str | None, typer.Option(help="Only these parts, with commas between.")] = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="With --labels: as if copies had been made up to this count.")
    ] = None,
    order: Annotated[str, typer.Option(help="With --min-count: index, or rarest.")] = "index",
    figures: Annotated[Path | None, typer.Option(help="A folder for figures, as PNG and PDF.")] = None,
    pixels: Annotated[bool, typer.Option(help="Read every image for the intensities of the channels.")] = True,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Say how often each class occurs and with which others, and how bright the channels are."""
    from hpa_data.stats import measure_store, measure_table
    from hpa_data.store import open_store

    done: StoreStatistics | LabelStatistics
    if store is None:
        _check_table(labels, {"--parts": parts, "--no-pixels": not pixels, "--threads": threads})
    else:
        _check_store(labels, {"--min-count": min_count})
    if figures is not None:
        from hpa_data.plots import write_figures

        figures.mkdir(parents=True, exist_ok=True)  # refused before every image is read
    if store is None:
        done = measure_table(labels, min_count=min_count, order=order)
    else:
        with late_progress("samples") as (begin, advance):
            done = measure_store(
                open_store(store),
                None if parts is None else split_names(parts),
                pixels=pixels,
                threads=threads,
                on_plan=begin,
                on_read=advance,
            )
    text = cli_text.describe_statistics(done)
    if figures is not None:
        drawn = write_figures(done, figures)
        text += f"\n{figures}: " + ", ".join(path.name for path in drawn)
    show(done, as_json, text)


@app.command()
def folds(
    store: Annotated[str | None, typer.Argument(help=STORE + "; or give --labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A label table, in place of a store.")] = None,
    parts: Annotated[
        str | None, typer.Option(help="Parts of the store, with commas between; by default all with labels.")
    ] = None,
    k: Annotated[int, typer.Option("--folds", min=2, help="How many.")] = 3,
    method: Annotated[str, typer.Option(help="stratified, contiguous or grouped-stratified.")] = "stratified",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="With --labels: as if copies had been made up to this count.")
    ] = None,
    order: Annotated[str, typer.Option(help="With --min-count: index, or rarest.")] = "index",
    legacy_leak: Annotated[
        bool, typer.Option("--legacy-leak", help="Cut copies and samples alike into runs, as the paper probably did.")
    ] = False,
    near: Annotated[bool, typer.Option(help="Look at every image for other exports of one picture.")] = True,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show how the classes spread over folds, and what leaks from training into validation."""
    from hpa_data.leaks import audit_store_folds, audit_table_folds
    from hpa_data.store import open_store

    if store is None:
        _check_table(labels, {"--parts": parts, "--no-near": not near, "--threads": threads})
        done = audit_table_folds(
            labels, k, method=method, seed=seed, min_count=min_count, order=order, legacy_leak=legacy_leak
        )
    else:
        _check_store(labels, {"--min-count": min_count})
        with late_progress("samples") as (begin, advance):
            done = audit_store_folds(
                open_store(store),
                None if parts is None else split_names(parts),
                k,
                method=method,
                seed=seed,
                legacy_leak=legacy_leak,
                near=near,
                threads=threads,
                on_plan=begin,
                on_read=advance,
            )
    show(done, as_json, cli_text.describe_folds(done))


for command in (
    *(cli_model.train, cli_model.finetune, cli_model.evaluate, cli_model.compare, cli_model.predict),
    *(cli_model.models, cli_model.demo),
):
    app.command()(command)

bench = typer.Typer(no_args_is_help=True, help="Measure this machine: reading, and training.")
app.add_typer(bench, name="bench")
bench.command("io")(cli_model.bench_io)
bench.command("step")(cli_model.bench_step)


def _check_table(labels: Path | None, given: dict[str, Any]) -> None:
    """Refuse options of a store where a label table takes its place."""
    if labels is None:
        raise InputError("A store or a label table must be given. Received: neither. Pass STORE or --labels.")
    for option, value in given.items():
        if value:
            raise InputError(f"{option} must go with a store. Received: --labels {labels}. Leave it out.")


def _check_store(labels: Path | None, given: dict[str, Any]) -> None:
    """Refuse options of a label table where there is a store; its copies are in the store."""
    if labels is not None:
        raise InputError("A store or a label table must be given. Received: both. Pass STORE or --labels.")
    for option, value in given.items():
        if value:
            raise InputError(f"{option} must go with --labels. Received: a store. Run `hpa augment`, or leave it out.")


if __name__ == "__main__":
    main()
