"""The command `hpa convert`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpa_data.commands.console import abbreviate, progress, resumable, show
from hpa_data.commands.expand import expand_options
from hpa_data.commands.import_options import LabelOptions, ReadingOptions
from hpa_data.commands.options import (
    DryRun,
    Json,
    Overwrite,
    Scheduler,
    Strict,
    Threads,
    Workers,
    WorkerTimeout,
    choose_workers,
)
from hpa_data.commands.understood import describe_understanding, list_findings
from hpa_data.errors import InputError
from hpa_data.format.options import DEFAULT_CODEC, CodecName

if TYPE_CHECKING:
    from hpa_data.convert.estimate import ConversionEstimate
    from hpa_data.convert.execute import Conversion
    from hpa_data.format.understood import Understanding


@expand_options()
def convert(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="A folder, an archive (zip, tar, 7z), or archive.zip/folder.")],
    store: Annotated[str, typer.Argument(help="The store to make, or to add a part to.")],
    files: ReadingOptions,
    tables: LabelOptions,
    part: Annotated[str, typer.Option(metavar="NAME", help="Name of the part to make.")] = "train",
    codec: Annotated[
        CodecName, typer.Option(help="Compression: lz4 is fast to write, zstd is smallest, raw is none.")
    ] = DEFAULT_CODEC,
    on_error: Annotated[
        Literal["skip", "fail"], typer.Option(help="If a sample cannot be read: list it and continue, or stop.")
    ] = "skip",
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    worker_timeout: WorkerTimeout = 600,
    strict: Strict = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert image files into a part of a store; rerun to resume.

    With --dry-run, some samples are read to estimate size, time and memory.
    """
    from hpa_data.convert.estimate import estimate_conversion
    from hpa_data.convert.execute import convert_files
    from hpa_data.convert.plan import plan_conversion

    parallelism = choose_workers(ctx, threads, workers, scheduler, worker_timeout)
    plan = plan_conversion(
        source,
        store,
        labels=tables.labels,
        part=part,
        settings=files.import_options(),
        dataset=tables.choose_classes(files.dataset()),
        table_options=tables.table_options(dataset_given=files.dataset_name is not None),
        joining=tables.joining(),
        codec=codec,
        overwrite=overwrite,
    )
    if dry_run or strict:
        estimate = estimate_conversion(plan, workers=parallelism, overwrite=overwrite)
        if dry_run:
            show(estimate, as_json, describe_estimate(estimate))
        if strict:
            _check_strictly(estimate.understood, f"Cannot convert {source} with --strict")
        if dry_run:
            return
    with resumable(store, overwrite=overwrite), progress("samples") as shown:
        report = convert_files(
            plan,
            workers=parallelism,
            stop_at_failure=on_error == "fail",
            overwrite=overwrite,
            progress=shown,
        )
    show(report, as_json, describe_conversion(report))
    if strict:
        _check_strictly(report.understood, f"Cannot accept part {part!r} with --strict, although it was written")
    if report.failures:
        raise typer.Exit(1)


def _check_strictly(understood: "Understanding", what: str) -> None:
    """Refuse anything that was passed over or left out, and warnings."""
    findings = list_findings(understood)
    if findings:
        more = f" And {len(findings) - 1} more; `hpa convert … --dry-run` lists them." if len(findings) > 1 else ""
        raise InputError(f"{what}: {findings[0].rstrip('.')}.{more} Correct the source, or leave --strict out.")


def describe_conversion(report: "Conversion") -> str:
    """Describe what a conversion did."""
    lines = [
        f"{report.store}, part {report.part}: {report.n_ok} of {report.n_samples} samples ok, "
        f"{report.n_bytes / 1e6:.1f} MB ({report.n_bytes / report.n_samples / 1e3:.0f} kB per sample)"
    ]
    lines.append(describe_understanding(report.understood))
    lines += abbreviate([f"Failed: {failure.id}: {failure.reason}" for failure in report.failures])
    if report.failures:
        lines.append(f"Failed: {len(report.failures)} samples, all listed in {report.store / 'failures.csv'}")
    return "\n".join(lines)


def describe_estimate(estimate: "ConversionEstimate") -> str:
    """Describe what a conversion would take."""
    lines = [
        f"{estimate.store}, part {estimate.part}: {estimate.n_samples} samples, {estimate.n_pending} still to convert",
        f"Read for the estimate: {estimate.n_sampled} samples; of their first channel: "
        + ", ".join(f"{number} {name}" for name, number in estimate.formats.items()),
        describe_understanding(estimate.understood),
        f"Disk: {estimate.n_bytes / 1e6:.1f} ± {estimate.error_bytes / 1e6:.1f} MB "
        f"({estimate.mean_bytes / 1e3:.0f} kB per sample); {estimate.free_bytes / 1e6:.0f} MB are free",
        f"Time: about {estimate.seconds:.0f} s. Memory: up to {estimate.memory_bytes / 1e6:.0f} MB",
    ]
    if estimate.n_missing_channel:
        lines.append(f"Without a file for every channel: {estimate.n_missing_channel} samples")
    lines += abbreviate([f"Would fail: {failure.id}: {failure.reason}" for failure in estimate.failures])
    return "\n".join(lines)
