"""The command `hpa stats`: its options and its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer.core

from hpa_data.augment.options import Order
from hpa_data.commands.console import (
    STORE,
    Json,
    Threads,
    check_store,
    check_table,
    escape,
    progress,
    show,
    split_names,
)

if TYPE_CHECKING:
    from hpa_data.stats.intensities import IntensityStatistics
    from hpa_data.stats.labels import LabelStatistics
    from hpa_data.stats.measure import StoreStatistics


def stats(
    store: Annotated[str | None, typer.Argument(help=STORE + "; or give --labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A label table, in place of a store.")] = None,
    parts: Annotated[str | None, typer.Option(help="Only these parts, with commas between.")] = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="With --labels: as if copies had been made up to this count.")
    ] = None,
    order: Annotated[Order, typer.Option(help="With --min-count: index, or rarest.")] = "index",
    figures: Annotated[Path | None, typer.Option(help="A folder for figures, as PNG and PDF.")] = None,
    pixels: Annotated[bool, typer.Option(help="Read every image for the intensities of the channels.")] = True,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Say how often each class occurs and with which others, and how bright the channels are."""
    from hpa_data.stats.labels import measure_table
    from hpa_data.stats.measure import measure_store
    from hpa_data.store.store import open_store

    done: StoreStatistics | LabelStatistics
    if store is None:
        table = check_table(labels, {"--parts": parts, "--no-pixels": not pixels, "--threads": threads})
    else:
        check_store(labels, {"--min-count": min_count})
    if figures is not None:
        from hpa_data.stats.figures import write_figures

        figures.mkdir(parents=True, exist_ok=True)  # refused before every image is read
    if store is None:
        done = measure_table(table, min_count=min_count, order=order)
    else:
        with progress("samples") as shown:
            done = measure_store(
                open_store(store),
                None if parts is None else split_names(parts),
                pixels=pixels,
                threads=threads,
                progress=shown,
            )
    text = describe_statistics(done)
    if figures is not None:
        drawn = write_figures(done, figures)
        text += f"\n{figures}: " + ", ".join(path.name for path in drawn)
    show(done, as_json, text)


# Pairs of classes that are named.
SHOWN_PAIRS = 8


_INTENSITY_HEADS = ("mean", "std", "1 %", "median", "99 %", "black", "saturated")


_INTENSITY_WIDTHS = (8, 8, 6, 8, 6, 10, 11)


def describe_statistics(done: "StoreStatistics | LabelStatistics") -> str:
    """Say how often classes occur, which do together, and how bright the channels are."""
    from hpa_data.stats.measure import StoreStatistics

    if not isinstance(done, StoreStatistics):
        return "\n".join(_describe_labels(done))
    lines = [] if done.labels is None else _describe_labels(done.labels)
    if done.intensities:
        lines += ["", *_describe_intensities(done.intensities)]
    if done.n_left_out:
        lines += ["", f"Left out, failed or not yet converted: {done.n_left_out} samples"]
    return "\n".join(lines).lstrip("\n")


def _describe_labels(labels: "LabelStatistics") -> list[str]:
    copied = f"{'copies':>8}{'together':>10}" if labels.n_copies else ""
    lines = [f"{'class':<34}{'samples':>8}{'share':>9}{copied}"]

    def add(name: str, count: int, copies: int) -> None:
        copied = f"{copies:>8}{count + copies:>10}" if labels.n_copies else ""
        lines.append(f"{escape(name):<34}{count:>8}{100 * count / labels.n_samples:>7.2f} %{copied}")

    for k, row in enumerate(zip(labels.classes, labels.counts, labels.copies, strict=True)):
        name, count, copies = row
        add(f"{k:>2} {name}", count, copies)
    add("all", labels.n_samples, labels.n_copies)
    lines += ["", "labels a sample: " + ", ".join(f"{n} with {i}" for i, n in enumerate(labels.labels_per_sample) if n)]
    pairs = [
        (value, labels.classes[k], labels.classes[other])
        for k, row in enumerate(labels.correlation)
        for other, value in enumerate(row[:k])
        if value
    ]
    strongest = sorted(pairs, key=lambda pair: -abs(pair[0]))[:SHOWN_PAIRS]
    lines += [
        "",
        "strongest correlations:",
        *(escape(f"  {value:+.2f}  {one}, {other}") for value, one, other in strongest),
    ]
    return lines


def _describe_intensities(intensities: "Sequence[IntensityStatistics]") -> list[str]:
    head = "".join(f"{name:>{width}}" for name, width in zip(_INTENSITY_HEADS, _INTENSITY_WIDTHS, strict=True))
    width = max(len(part.part) for part in intensities) + 2
    lines = [f"{'part':<{width}}{'channel':<8}{head}"]
    for part in intensities:
        for c, channel in enumerate(part.channels):
            numbers = (
                *(f"{part.mean[c]:.2f}", f"{part.std[c]:.2f}", *map(str, part.percentiles[c])),
                *(f"{100 * part.black[c]:.2f} %", f"{100 * part.saturated[c]:.2f} %"),
            )
            told = "".join(f"{number:>{width}}" for number, width in zip(numbers, _INTENSITY_WIDTHS, strict=True))
            lines.append(f"{part.part:<{width}}{escape(channel):<8}{told}")
    return lines
