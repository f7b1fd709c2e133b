"""The command `hpa augment`: its options and its text."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer.core

from hpa_data.augment.options import Order, Policy
from hpa_data.commands.console import (
    STORE,
    Json,
    Overwrite,
    Threads,
    escape,
    progress,
    shorten,
    show,
    split_names,
)

if TYPE_CHECKING:
    from hpa_data.augment.plan import CopySummary


def augment(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    min_count: Annotated[int, typer.Option(min=1, help="Samples that each class is to have.")] = 500,
    parts: Annotated[str, typer.Option(help="Parts to copy from, with commas between.")] = "train",
    order: Annotated[Order, typer.Option(help="Classes by index, or the rarest first: fewer copies.")] = "index",
    policy: Annotated[Policy, typer.Option(help="What is done to copies: paper, or strong.")] = "paper",
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
    from hpa_data.augment.execute import augment_store, check_augmentation
    from hpa_data.augment.plan import plan_augmentation
    from hpa_data.store.store import open_store
    from hpa_data.system.executor import Parallelism

    doing = Parallelism(threads=threads, processes=workers, scheduler=scheduler)
    plan = plan_augmentation(
        open_store(store),
        parts=split_names(parts),
        min_count=min_count,
        order=order,
        policy=policy,
        seed=seed,
        part=into,
    )
    told = plan.summary
    if dry_run:
        check_augmentation(plan, overwrite=overwrite)
        show(told, as_json, describe_copies(told))
        return
    if not as_json:
        print(describe_copies(told), flush=True)
    try:
        with progress("copies") as shown:
            done = augment_store(plan, workers=doing, overwrite=overwrite, progress=shown)
    except KeyboardInterrupt:
        print(f"{store} has all that was finished; the same command goes on from there.", file=sys.stderr)
        raise
    lines = [f"{store}, part {done.part}: {done.n_ok} of {done.n_copies} copies ok, {done.n_bytes / 1e6:.1f} MB"]
    if not done.n_copies:
        lines = ["Nothing to copy."]
    lines += shorten([f"Failed: {failure.id}: {failure.reason}" for failure in done.failures])
    show(done, as_json, "\n".join(lines))
    if done.failures:
        raise typer.Exit(1)


def describe_copies(told: "CopySummary") -> str:
    """Say which classes get how many copies."""
    lines = [f"{'class':<34}{'samples':>8}{'copies':>8}{'together':>10}"]
    for k, row in enumerate(zip(told.classes, told.counts_before, told.counts_after, strict=True)):
        name, before, after = row
        lines.append(f"{k:>2} {escape(name):<31}{before:>8}{after - before:>8}{after:>10}")
    lines += [
        f"{told.n_copies} copies of {told.n_parents} samples, at most {told.max_copies_per_sample} of one, "
        f"about {told.n_bytes / 1e6:.1f} MB; {told.n_samples + told.n_copies} samples together"
    ]
    if told.n_unchanged:
        lines.append(f"Equal to their parent, as drawn: {told.n_unchanged} copies")
    if told.below_minimum:
        names = ", ".join(told.below_minimum)
        lines.append(f"Stay below {told.min_count}, no sample that could be copied: {names}")
    if told.n_failed or told.n_black:
        lines.append(f"Not copied: {told.n_failed} samples that could not be read, {told.n_black} black ones")
    return "\n".join(lines)
