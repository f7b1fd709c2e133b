"""The command `hpa stats`: its options and its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, progress, show
from hpa_data.commands.options import (
    STORE,
    DatasetName,
    IdColumn,
    Json,
    LabelColumn,
    Labels,
    MinCount,
    NumberingName,
    RetryMinutes,
    TableOrder,
    TableParts,
    Threads,
    choose_reading,
    choose_table,
    refuse_unused,
)
from hpa_data.reader.limits import RETRY_MINUTES

if TYPE_CHECKING:
    from hpa_data.stats.intensities import IntensityStatistics
    from hpa_data.stats.labels import LabelStatistics
    from hpa_data.stats.measure import StoreStatistics


def stats(
    ctx: typer.Context,
    store: Annotated[str | None, typer.Argument(help=STORE + "; or pass --labels.")] = None,
    labels: Labels = None,
    parts: TableParts = None,
    min_count: MinCount = None,
    order: TableOrder = "index",
    dataset_name: DatasetName = None,
    numbering: NumberingName = None,
    id_column: IdColumn = None,
    label_column: LabelColumn = None,
    figure_dir: Annotated[Path | None, typer.Option(help="A folder to draw figures into, as PNG and PDF.")] = None,
    no_intensities: Annotated[
        bool, typer.Option("--no-intensities", help="Do not read the images to measure the channels.")
    ] = False,
    threads: Threads = None,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Report class frequencies, correlations and channel intensities."""
    from hpa_data.stats.labels import measure_table
    from hpa_data.stats.measure import measure_store
    from hpa_data.store.store import open_store

    report: StoreStatistics | LabelStatistics
    table = choose_table(ctx, store, labels, store_only=("parts", "no_intensities", "threads"))
    refuse_unused(ctx, "threads", when=no_intensities, reason="with --no-intensities")
    if figure_dir is not None:
        from hpa_data.stats.figures import FIGURES_BYTES, write_figures
        from hpa_data.system.outputs import check_output_folder

        check_output_folder(figure_dir, option="figure-dir", n_bytes=FIGURES_BYTES)
    if table is not None:
        dataset, options = choose_reading(dataset_name, numbering, id_column, label_column)
        report = measure_table(table, min_count=min_count, order=order, dataset=dataset, options=options)
    else:
        with progress("samples") as shown:
            report = measure_store(
                open_store(store or ""), parts, pixels=not no_intensities, threads=threads, progress=shown
            )
    text = describe_statistics(report)
    if figure_dir is not None:
        paths = write_figures(report, figure_dir)
        text += f"\n{figure_dir}: " + ", ".join(path.name for path in paths)
    show(report, as_json, text)


# Pairs of classes that are listed.
N_PAIRS = 8
# Columns of the intensities, with their widths.
_INTENSITIES = {"mean": 8, "std": 8, "1 %": 6, "median": 8, "99 %": 6, "black": 10, "saturated": 11}


def describe_statistics(report: "StoreStatistics | LabelStatistics") -> str:
    """Describe how often classes occur, which occur together, and how bright the channels are."""
    from hpa_data.stats.measure import StoreStatistics

    if not isinstance(report, StoreStatistics):
        return "\n".join(_describe_labels(report))
    lines = [] if report.labels is None else _describe_labels(report.labels)
    if report.intensities:
        lines += ["", *_describe_intensities(report.intensities)]
    if report.n_left_out:
        lines += ["", f"Left out, failed or not yet converted: {report.n_left_out} samples"]
    return "\n".join(lines).lstrip("\n")


def _describe_labels(labels: "LabelStatistics") -> list[str]:
    from hpa_data.stats.labels import choose_classes, explain_choice

    heads = f"{'copies':>8}{'total':>10}" if labels.n_copies else ""
    lines = [f"{'class':<34}{'samples':>8}{'share':>9}{heads}"]

    def add(name: str, count: int, copies: int) -> None:
        columns = f"{copies:>8}{count + copies:>10}" if labels.n_copies else ""
        lines.append(f"{escape(name):<34}{count:>8}{100 * count / labels.n_samples:>7.2f} %{columns}")

    for k in choose_classes(labels.counts):
        add(f"{k:>2} {labels.classes[k]}", labels.counts[k], labels.copies[k])
    add("all", labels.n_samples, labels.n_copies)
    numbers = ", ".join(f"{count} with {n}" for n, count in enumerate(labels.labels_per_sample) if count)
    if explain_choice(labels.counts):
        lines.append(f"{explain_choice(labels.counts)} Pass --json for all.")
    lines += ["", f"labels per sample: {numbers}"]
    names = [labels.classes[k] for k in labels.correlated]
    pairs = [
        (value, names[k], names[other])
        for k, row in enumerate(labels.correlation)
        for other, value in enumerate(row[:k])
        if value
    ]
    strongest = sorted(pairs, key=lambda pair: -abs(pair[0]))[:N_PAIRS]
    lines += [
        "",
        "strongest correlations:",
        *(escape(f"  {value:+.2f}  {one}, {other}") for value, one, other in strongest),
    ]
    return lines


def _describe_intensities(intensities: "Sequence[IntensityStatistics]") -> list[str]:
    def align(texts: Sequence[str]) -> str:
        return "".join(f"{text:>{width}}" for text, width in zip(texts, _INTENSITIES.values(), strict=True))

    width = max(len(part.part) for part in intensities) + 2
    channel_width = max(8, *(len(channel) + 2 for part in intensities for channel in part.channels))
    lines = [f"{'part':<{width}}{'channel':<{channel_width}}{align(tuple(_INTENSITIES))}"]
    for part in intensities:
        for c, channel in enumerate(part.channels):
            numbers = (
                *(f"{part.mean[c]:.2f}", f"{part.std[c]:.2f}", *map(str, part.percentiles[c])),
                *(f"{100 * part.black[c]:.2f} %", f"{100 * part.saturated[c]:.2f} %"),
            )
            lines.append(f"{part.part:<{width}}{escape(channel):<{channel_width}}{align(numbers)}")
    return lines
