"""The command `hpa convert`: its options and its text."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpa_data.commands.console import abbreviate, escape, progress, resumable, show
from hpa_data.commands.import_options import LabelOptions, ReadingOptions, expand_options
from hpa_data.commands.options import DryRun, Json, Overwrite, Scheduler, Threads, Workers, refuse_unused
from hpa_data.format.options import DEFAULT_CODEC, CodecName

if TYPE_CHECKING:
    from hpa_data.convert.estimate import ConversionEstimate
    from hpa_data.convert.execute import Conversion
    from hpa_data.tables import LabelCounts


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
    from hpa_data.system.executor import Parallelism

    refuse_unused(ctx, "threads", when=scheduler is not None, reason="with --scheduler")
    parallelism = Parallelism(threads=threads, processes=workers, scheduler=scheduler)
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
    if dry_run:
        estimate = estimate_conversion(plan, workers=parallelism, overwrite=overwrite)
        show(estimate, as_json, describe_estimate(estimate))
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
    if report.failures:
        raise typer.Exit(1)


def describe_conversion(report: "Conversion") -> str:
    """Describe what a conversion did."""
    lines = [
        f"{report.store}, part {report.part}: {report.n_ok} of {report.n_samples} samples ok, "
        f"{report.n_bytes / 1e6:.1f} MB ({report.n_bytes / report.n_samples / 1e3:.0f} kB per sample)"
    ]
    lines += _describe_left_out(report)
    if report.n_filled:
        lines.append(f"Missing channel filled with zeros: {report.n_filled} samples")
    if report.warnings:
        lines.append(f"Warning: {len(report.warnings)} samples whose files have another color than their names say")
        lines += abbreviate([f"  {note}" for note in report.warnings])
    lines += abbreviate([f"Failed: {failure.id}: {failure.reason}" for failure in report.failures])
    if report.failures:
        lines.append(f"Failed: {len(report.failures)} samples, all listed in {report.store / 'failures.csv'}")
    return "\n".join(lines)


def describe_estimate(estimate: "ConversionEstimate") -> str:
    """Describe what a conversion would take."""
    lines = [
        f"{estimate.store}, part {estimate.part}: {estimate.n_samples} samples, {estimate.n_pending} still to convert",
        *_describe_left_out(estimate),
        f"Files of the first channel of {estimate.n_sampled} samples that were read: "
        + ", ".join(f"{number} {name}" for name, number in estimate.formats.items()),
        f"Disk: {estimate.n_bytes / 1e6:.1f} ± {estimate.error_bytes / 1e6:.1f} MB "
        f"({estimate.mean_bytes / 1e3:.0f} kB per sample); {estimate.free_bytes / 1e6:.0f} MB are free",
        f"Time: about {estimate.seconds:.0f} s. Memory: up to {estimate.memory_bytes / 1e6:.0f} MB",
    ]
    if estimate.n_missing_channel:
        lines.append(f"Without a file for every channel: {estimate.n_missing_channel} samples")
    if estimate.n_with_warnings:
        lines.append(
            f"Warning: {estimate.n_with_warnings} of the samples read have files of another color than their names say"
        )
    lines += abbreviate([f"Would fail: {failure.id}: {failure.reason}" for failure in estimate.failures])
    return "\n".join(lines)


def _describe_left_out(report: "Conversion | ConversionEstimate") -> list[str]:
    lines = []
    for reason, ids, unit in (
        ("no row in the label table", report.unlabeled, "samples"),
        ("a channel is missing", report.skipped, "samples"),
        ("no files", report.missing_files, "rows of the label table"),
    ):
        if ids:
            lines.append(escape(f"Left out, {reason}: {len(ids)} {unit}, for example {ids[0]}"))
    if report.matched:
        name, words = next(iter(report.matched.items()))
        lines.append(escape(f"Ids matched loosely: {len(report.matched)}, for example {name}; it differs in {words}"))
    if report.label_counts is not None:
        lines += map(escape, describe_labels(report.label_counts))
    return lines


def describe_labels(counts: "LabelCounts") -> list[str]:
    """Describe what a label table gives: how it was read, classes per sample, what gives no class."""
    n_samples = sum(counts.classes_per_sample.values())
    n_labels = sum(n * count for n, count in counts.classes_per_sample.items())
    lines = [
        f"Labels: {counts.understood}",
        f"Classes per sample: {n_labels / n_samples:.2f} on average, at most {max(counts.classes_per_sample)}",
    ]
    if counts.dropped:
        names = ", ".join(f"{n} {name}" for name, n in islice(counts.dropped.items(), 5))
        lines.append(
            f"Warning: labels that stand for no class of the data set, {sum(counts.dropped.values())} ({names}). Pass "
            "--dataset or --classes with these classes to keep them."
        )
    if counts.without_class:
        reasons = [(counts.n_empty, "without any label"), (counts.n_only_dropped, "whose labels stand for no class")]
        told = " and ".join(f"{n} {reason}" for n, reason in reasons if n)
        n_without = counts.n_empty + counts.n_only_dropped
        which = "all" if n_without == n_samples else str(n_without)
        lines.append(
            f"Warning: samples without a class, {which} of {n_samples} ({told}), for example {counts.without_class[0]}"
            ". Correct the label table, unless they show none."
        )
    return lines
