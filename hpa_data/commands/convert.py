"""The command `hpa convert`: its options and its text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer.core

from hpa_data.commands.console import Json, Overwrite, Threads, progress, shorten, show
from hpa_data.errors import InputError
from hpa_data.format.options import DEFAULT_CODEC, CodecName

if TYPE_CHECKING:
    from hpa_data.convert.estimate import ConversionEstimate
    from hpa_data.convert.execute import Conversion


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
    codec: Annotated[
        CodecName, typer.Option(help="lz4hc, lz4 (fast to write), zstd (smallest) or raw.")
    ] = DEFAULT_CODEC,
    on_error: Annotated[str, typer.Option(help="A sample cannot be read: skip (and list it) or fail.")] = "skip",
    threads: Threads = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes, in place of threads.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="tcp://… of a Dask cluster that sees the same files.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read some samples and say what it would take.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert image files into a part of a store; the same command again goes on where it was stopped."""
    from hpa_data.convert.estimate import estimate_conversion
    from hpa_data.convert.execute import convert_files
    from hpa_data.convert.plan import plan_conversion
    from hpa_data.sources.naming import parse_channels
    from hpa_data.sources.options import ImportOptions
    from hpa_data.system.executor import Parallelism

    if on_error not in {"skip", "fail"}:
        raise InputError(f"on-error must be skip or fail. Received: {on_error!r}. Choose one.")
    settings = ImportOptions(
        source=form,  # type: ignore[arg-type]
        channels=parse_channels(channels) if channels is not None else None,
        missing=missing,  # type: ignore[arg-type]
        intensity=intensity,  # type: ignore[arg-type]
    )
    doing = Parallelism(threads=threads, processes=workers, scheduler=scheduler)
    plan = plan_conversion(source, store, labels=labels, part=part, settings=settings, codec=codec)
    if dry_run:
        told = estimate_conversion(plan, workers=doing, overwrite=overwrite)
        show(told, as_json, describe_estimate(told))
        return
    try:
        with progress("samples") as shown:
            done = convert_files(
                plan,
                workers=doing,
                stop_at_failure=on_error == "fail",
                overwrite=overwrite,
                progress=shown,
            )
    except KeyboardInterrupt:
        print(f"{store} has all that was finished; the same command goes on from there.", file=sys.stderr)
        raise
    show(done, as_json, describe_conversion(done))
    if done.failures:
        raise typer.Exit(1)


def describe_conversion(done: "Conversion") -> str:
    """Say what a conversion did."""
    lines = [
        f"{done.store}, part {done.part}: {done.n_ok} of {done.n_samples} samples ok, {done.n_bytes / 1e6:.1f} MB "
        f"({done.n_bytes / done.n_samples / 1e3:.0f} kB a sample)"
    ]
    lines += _describe_left_out(done)
    if done.n_filled:
        lines.append(f"A missing channel filled with zeros: {done.n_filled} samples")
    if done.noted:
        lines.append(f"Warning: {len(done.noted)} samples with a colour that is not the expected one")
        lines += shorten([f"  {note}" for note in done.noted])
    lines += shorten([f"Failed: {failure.id}: {failure.reason}" for failure in done.failures])
    if done.failures:
        lines.append(f"Failed: {len(done.failures)} samples, all in {done.store / 'failures.csv'}")
    return "\n".join(lines)


def describe_estimate(told: "ConversionEstimate") -> str:
    """Say what a conversion would take."""
    lines = [
        f"{told.store}, part {told.part}: {told.n_samples} samples, {told.n_pending} still to be written",
        *_describe_left_out(told),
        f"Of {told.n_sampled} that were read, the first planes: "
        + ", ".join(f"{number} {form}" for form, number in told.forms.items()),
        f"It would take {told.n_bytes / 1e6:.1f} ± {told.error_bytes / 1e6:.1f} MB on disk "
        f"({told.mean_bytes / 1e3:.0f} kB a sample), {told.free_bytes / 1e6:.0f} MB are free",
        f"It would take about {told.seconds:.0f} s and up to {told.memory_bytes / 1e6:.0f} MB of memory at once",
    ]
    if told.n_missing_channel:
        lines.append(f"Without a file for each channel: {told.n_missing_channel} samples")
    if told.n_with_warnings:
        lines.append(f"Warning: {told.n_with_warnings} of those read have a colour that is not the expected one")
    lines += shorten([f"Would fail: {failure.id}: {failure.reason}" for failure in told.failures])
    return "\n".join(lines)


def _describe_left_out(done: "Conversion | ConversionEstimate") -> list[str]:
    lines = []
    if done.unlabelled:
        lines.append(f"Left out, no row in the label table: {len(done.unlabelled)} samples, first {done.unlabelled[0]}")
    if done.skipped:
        lines.append(f"Left out, a channel is missing: {len(done.skipped)} samples, first {done.skipped[0]}")
    return lines
