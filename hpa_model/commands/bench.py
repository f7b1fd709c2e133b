"""The command `hpa bench`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import STORE, Json, Threads, progress, quiet, show
from hpa_data.errors import InputError

if TYPE_CHECKING:
    from hpa_model.bench.io import IoReport
    from hpa_model.bench.step import StepReport


def bench_io(
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    part: Annotated[list[str] | None, typer.Option(help="May be given several times.  [default: train]")] = None,
    png: Annotated[Path | None, typer.Option(help="A folder of PNG planes, to be read beside it.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples to read over and over.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1)] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="How often each row is timed.")] = 3,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Tell what bounds the reading of a store here, what another codec would give, how fast a trainer can be fed."""
    from hpa_data.store.store import open_store

    with quiet():
        from hpa_model.bench.io import measure_io

    opened = open_store(store)
    with quiet(), progress("rounds") as shown:
        shown.start(rounds + 1)
        done = measure_io(
            opened,
            tuple(part or ["train"]),
            png=png,
            n_samples=samples,
            batch_size=batch_size,
            threads=threads,
            rounds=rounds,
            progress=shown,
        )
    show(done, as_json, describe_io(done))


def bench_step(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    part: Annotated[list[str] | None, typer.Option(help="May be given several times.  [default: train]")] = None,
    model: Annotated[str, typer.Option(help="The network.")] = "gapnet",
    image_size: Annotated[int | None, typer.Option(min=1, help="[default: as in the store]")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 10,
    precision: Annotated[
        str | None, typer.Option(help="float32 or mixed_bfloat16.  [default: mixed_bfloat16 on a GPU]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell whether training waits for data: steps fed from a store, and on one batch that lies on the device."""
    from hpa_data.store.store import open_store

    if precision not in {None, "float32", "mixed_bfloat16"}:
        raise InputError(
            f"precision must be float32 or mixed_bfloat16. Received: precision={precision!r}. Choose one of them."
        )
    with quiet():
        from hpa_model.bench.step import measure_step

    opened = open_store(store)
    with progress("steps") as shown:
        shown.start(2 * (steps + 2))
        done = measure_step(
            opened,
            tuple(part or ["train"]),
            model=model,
            image_size=image_size,
            batch_size=batch_size,
            n_steps=steps,
            precision=precision,
            progress=shown,
        )
    show(done, as_json, describe_step(done))


def describe_io(told: "IoReport") -> str:
    """Say what bounds the reading of a store."""
    from hpa_model.bench.timing import describe_timings

    lines = [
        f"{told.store}: {told.n_samples} samples, codec {told.codec}, read by engine {told.engine}",
        f"{told.n_read} samples over and over, batches of {told.batch_size}, {told.threads} threads; medians",
        "",
        describe_timings(told.rows),
        "",
        f"{'codec':<8}{'kB a sample':>12}{'GB in all':>11}{'at most, cached':>17}{'from the disk':>15}",
    ]
    for codec in told.codecs:
        cold = "unknown" if codec.cold is None else f"{codec.cold:.0f}"
        lines.append(
            f"{codec.name:<8}{codec.sample_bytes / 1e3:>12.0f}{codec.store_bytes / 1e9:>11.2f}{codec.warm:>17.0f}"
            f"{cold:>15}"
        )
    return "\n".join([*lines, "", *told.verdict])


def describe_step(told: "StepReport") -> str:
    """Say whether training waits for data."""
    return "\n".join(
        [
            f"{told.model} on {told.device}, {told.precision}: twice {told.n_steps} steps of {told.batch_size} images",
            f"one batch on the device  {told.on_device_rate:>9.1f} images/s",
            f"fed from the store       {told.from_store_rate:>9.1f} images/s, "
            f"{told.from_store_rate / told.on_device_rate:.2f} of it",
            f"waiting for a batch      {told.wait_fraction:>9.1%} of the time",
        ]
    )
