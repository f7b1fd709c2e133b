"""The command `hpa augment`: its options and its text."""

from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.augment.options import Order, Policy
from hpa_data.commands.console import abbreviate, escape, list_some, progress, resumable, show
from hpa_data.commands.options import (
    DEFAULT_PARTS,
    AnySeed,
    DryRun,
    Json,
    Overwrite,
    Scheduler,
    Threads,
    Workers,
    WorkerTimeout,
    choose_workers,
)

if TYPE_CHECKING:
    from hpa_data.augment.plan import CopySummary
    from hpa_data.store.build import PartReport


def augment(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help="A store in a folder, with labels.")],
    min_count: Annotated[
        int, typer.Option(metavar="N", min=1, help="Samples that each class should have, copies included.")
    ] = 500,
    parts: Annotated[
        list[str], typer.Option("--part", metavar="NAME", help="A part to copy from; repeatable.")
    ] = DEFAULT_PARTS,
    order: Annotated[
        Order, typer.Option(help="Copy classes by index, or the rarest first, which needs fewer copies.")
    ] = "index",
    policy: Annotated[
        Policy, typer.Option(help="How copies are altered: as in the paper, or more strongly.")
    ] = "paper",
    seed: AnySeed = 0,
    to_part: Annotated[str, typer.Option(metavar="NAME", help="Name of the part to make.")] = "augmented",
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    worker_timeout: WorkerTimeout = 600,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Add a part with augmented copies of samples of rare classes.

    Run the same command again to resume.
    """
    from hpa_data.augment.execute import augment_store, check_augmentation
    from hpa_data.augment.plan import plan_augmentation
    from hpa_data.store.store import open_store

    parallelism = choose_workers(ctx, threads, workers, scheduler, worker_timeout)
    plan = plan_augmentation(
        open_store(store),
        parts=parts,
        min_count=min_count,
        order=order,
        policy=policy,
        seed=seed,
        part=to_part,
    )
    if dry_run:
        check_augmentation(plan, overwrite=overwrite)
        show(plan.summary, as_json, describe_copies(plan.summary))
        return
    if not as_json:
        print(describe_copies(plan.summary), flush=True)
    with resumable(store, overwrite=overwrite), progress("copies") as shown:
        report = augment_store(plan, workers=parallelism, overwrite=overwrite, progress=shown)
    show(report, as_json, describe_augmentation(report, store))
    if report.failures:
        raise typer.Exit(1)


def describe_copies(summary: "CopySummary") -> str:
    """Describe which classes get how many copies."""
    from hpa_data.stats.labels import choose_classes, explain_choice

    lines = [f"{'class':<34}{'samples':>8}{'copies':>8}{'total':>10}"]
    for k in choose_classes(summary.counts_before):
        before, after = summary.counts_before[k], summary.counts_after[k]
        lines.append(f"{k:>2} {escape(summary.classes[k]):<31}{before:>8}{after - before:>8}{after:>10}")
    if explain_choice(summary.counts_before):
        lines.append(explain_choice(summary.counts_before))
    lines += [
        f"{summary.n_copies} copies of {summary.n_parents} samples, at most {summary.max_copies_per_sample} of one, "
        f"about {summary.n_bytes / 1e6:.1f} MB; {summary.n_samples + summary.n_copies} samples in total"
    ]
    if summary.n_unchanged:
        lines.append(f"Identical to their parent, as no operation was drawn for them: {summary.n_unchanged} copies")
    if summary.below_minimum:
        names = escape(list_some(summary.below_minimum))
        lines.append(f"Below {summary.min_count} even so, no sample that can be copied: {names}")
    if summary.n_failed or summary.n_black:
        lines.append(f"Not copied: {summary.n_failed} samples that could not be read, {summary.n_black} black ones")
    return "\n".join(lines)


def describe_augmentation(report: "PartReport", store: str) -> str:
    """Describe what an augmentation did."""
    if not report.n_samples:
        return "Nothing to copy."
    lines = [
        f"{store}, part {report.part}: {report.n_ok} of {report.n_samples} copies ok, {report.n_bytes / 1e6:.1f} MB"
    ]
    return "\n".join([*lines, *abbreviate([f"Failed: {failure.id}: {failure.reason}" for failure in report.failures])])
