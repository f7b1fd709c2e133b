"""The command `hpa bench`: its options and its text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import progress, quiet, show
from hpa_data.commands.options import DEFAULT_PARTS, STORE, Json, RetryMinutes, Threads
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.options import CacheGib, DiskCacheKind, check_cache
from hpa_model.config import Precision, TrainConfig, parse_image_size

if TYPE_CHECKING:
    from hpa_model.bench.io import IoReport
    from hpa_model.bench.step import StepReport

DEFAULTS = TrainConfig()
Parts = Annotated[list[str], typer.Option("--part", metavar="NAME", help="A part to read; repeatable.")]


def bench_io(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    parts: Parts = DEFAULT_PARTS,
    images: Annotated[
        Path | None, typer.Option(help="A folder of PNG planes, to compare with reading the files themselves.")
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Number of samples that are read repeatedly.")] = 256,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Samples per batch.")] = DEFAULTS.batch_size,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each measurement is repeated.")] = 3,
    threads: Threads = None,
    cache: DiskCacheKind = "none",
    cache_gib: CacheGib = None,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Measure what limits reading a store on this machine.

    Also compare codecs, and measure how many images per second training can get.
    """
    from hpa_data.store.store import open_store

    with quiet():
        from hpa_model.bench.io import measure_io

    check_cache(ctx, cache, cache_gib, store, allows_ram=False)
    opened = open_store(store)
    with quiet(), progress("rounds") as shown:
        shown.start(rounds + 1)
        report = measure_io(
            opened,
            tuple(parts),
            images=images,
            n_samples=samples,
            batch_size=batch_size,
            threads=threads,
            rounds=rounds,
            progress=shown,
        )
    show(report, as_json, describe_io(report))


def bench_step(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    parts: Parts = DEFAULT_PARTS,
    model: Annotated[str, typer.Option(metavar="NAME", help="The network, see `hpa models`.")] = DEFAULTS.model,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Size of the network's input: pixels of the shorter side, or ROWSxCOLUMNS. By default the network's, "
            "mostly the size in the store.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images per step.")] = DEFAULTS.batch_size,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps to time, with and without reading.")] = 10,
    precision: Annotated[
        Precision | None,
        typer.Option(metavar="TYPE", help="Precision; by default mixed_bfloat16 on a GPU, otherwise float32."),
    ] = None,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Measure whether training waits for data.

    Training steps on batches from the store are compared with steps on one batch that stays on the device.
    """
    from hpa_data.store.store import open_store

    with quiet():
        from hpa_model.bench.step import measure_step

    opened = open_store(store)
    with progress("steps") as shown:
        shown.start(2 * (steps + 2))
        report = measure_step(
            opened,
            tuple(parts),
            model=model,
            image_size=None if image_size is None else parse_image_size(image_size),
            batch_size=batch_size,
            n_steps=steps,
            precision=precision,
            progress=shown,
        )
    show(report, as_json, describe_step(report))


def describe_io(report: "IoReport") -> str:
    """Describe what limits reading a store."""
    from hpa_model.bench.timing import describe_timings

    lines = [
        f"{report.store}: {report.n_samples} samples, codec {report.codec}, read by engine {report.engine}",
        f"{report.n_read} samples, read repeatedly in batches of {report.batch_size} by {report.threads} threads; "
        "medians",
        "",
        describe_timings(report.rows),
        "",
        f"{'codec':<8}{'kB per sample':>14}{'GB in total':>13}{'limit, cached':>15}{'from disk':>11}   (samples/s)",
    ]
    for codec in report.codecs:
        cold = "unknown" if codec.cold is None else f"{codec.cold:.0f}"
        lines.append(
            f"{codec.name:<8}{codec.sample_bytes / 1e3:>14.0f}{codec.store_bytes / 1e9:>13.2f}{codec.warm:>15.0f}"
            f"{cold:>11}"
        )
    return "\n".join([*lines, "", *explain_io(report)])


def describe_step(report: "StepReport") -> str:
    """Describe whether training waits for data."""
    return "\n".join(
        [
            f"{report.model} on {report.device}, {report.precision}: twice {report.n_steps} steps of "
            f"{report.batch_size} images",
            f"one batch on the device  {report.on_device_rate:>9.1f} images/s",
            f"batches from the store   {report.from_store_rate:>9.1f} images/s, "
            f"{report.from_store_rate / report.on_device_rate:.2f} of that",
            f"waiting for a batch      {report.wait_fraction:>9.1%} of the time",
        ]
    )


def explain_io(report: "IoReport") -> Iterator[str]:
    """Explain the rates of a store, one sentence at a time."""
    rows = {row.name: row for row in report.rows}
    codecs = {codec.name: codec for codec in report.codecs}
    numpy, store_bytes = rows["NumPy"], codecs[report.codec].store_bytes
    fastest = rows.get("tf.data", numpy)
    yield f"A trainer can be fed {fastest.rate:,.0f} images/s ({fastest.name}) from the page cache."
    if report.bottleneck is None or numpy.fraction is None:
        yield "There is no limit to compare with: the images are at a URL, or chunked or encoded differently."
    elif report.bottleneck == "delivery":
        yield f"Delivery is the bottleneck: batches come at {numpy.fraction:.2f} of the limit."
    else:
        yield f"The bottleneck is {report.bottleneck}: batches come at {numpy.fraction:.2f} of its limit."
    if "disk" in rows:
        yield from _explain_disk(rows["disk"].rate, numpy.rate, store_bytes, report.free_bytes)
    if report.faster_codec is not None:
        faster = codecs[report.faster_codec]
        new, old = (codec.expected_rate(report.free_bytes) for codec in (faster, codecs[report.codec]))
        yield (
            f"Codec {faster.name} would give up to {new:,.0f} samples/s instead of {old:,.0f}, in "
            f"{faster.store_bytes / 1e9:.1f} GB instead of {store_bytes / 1e9:.1f}."
        )


def _explain_disk(disk_rate: float, warm_rate: float, store_bytes: float, free_bytes: int) -> Iterator[str]:
    is_cached = store_bytes <= free_bytes
    if is_cached:
        yield f"The {store_bytes / 1e9:.1f} GB fit into free memory: only the first epoch is read from disk."
    else:
        yield (
            f"The {store_bytes / 1e9:.1f} GB do not fit into the {free_bytes / 1e9:.1f} GB of free memory: every epoch "
            f"is read from disk, at {min(disk_rate, warm_rate):,.0f} samples/s at most."
        )
    if disk_rate < warm_rate:
        until = " until the files are cached" if is_cached else ""
        yield f"The disk gives at most {disk_rate:,.0f} samples/s: it is the bottleneck{until}."
    else:
        yield f"The disk gives {disk_rate:,.0f} samples/s, more than can be decoded: it is not the bottleneck."
