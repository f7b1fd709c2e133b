"""The command `hpa folds`: its options and its text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from hpa_data.commands.console import escape, progress, show
from hpa_data.commands.options import (
    FOLD_METHOD,
    STORE,
    DatasetName,
    IdColumn,
    Json,
    LabelColumn,
    Labels,
    MinCount,
    NumberingName,
    RetryMinutes,
    Seed,
    TableOrder,
    TableParts,
    Threads,
    choose_reading,
    choose_table,
    refuse_unused,
)
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.reader.limits import RETRY_MINUTES

if TYPE_CHECKING:
    from hpa_data.folds.leakage import FoldReport


def folds(
    ctx: typer.Context,
    store: Annotated[str | None, typer.Argument(help=STORE + "; or pass --labels.")] = None,
    labels: Labels = None,
    parts: TableParts = None,
    n_folds: Annotated[int, typer.Option("--folds", metavar="N", min=2, help="Number of folds.")] = 3,
    fold_method: Annotated[FoldMethod, FOLD_METHOD] = "stratified",
    seed: Seed = 0,
    min_count: MinCount = None,
    order: TableOrder = "index",
    dataset_name: DatasetName = None,
    numbering: NumberingName = None,
    id_column: IdColumn = None,
    label_column: LabelColumn = None,
    legacy_leak: Annotated[
        bool,
        typer.Option(
            "--legacy-leak", help="Split samples and copies alike into contiguous folds, as the paper probably did."
        ),
    ] = False,
    duplicates: Annotated[
        DuplicateSearch,
        typer.Option(
            metavar="KIND",
            help=f"Duplicates that stay in one fold, as in `hpa train`: {', '.join(get_args(DuplicateSearch))}.",
        ),
    ] = "auto",
    no_near_duplicates: Annotated[
        bool, typer.Option("--no-near-duplicates", help="Do not read every image to find near duplicates.")
    ] = False,
    threads: Threads = None,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Show classes per fold, and what leaks from training to validation."""
    from hpa_data.folds.leakage import audit_store_folds, audit_table_folds
    from hpa_data.store.store import open_store

    table = choose_table(ctx, store, labels, store_only=("parts", "duplicates", "no_near_duplicates", "threads"))
    refuse_unused(ctx, "fold_method", "duplicates", "seed", when=legacy_leak, reason="with --legacy-leak")
    refuse_unused(ctx, "seed", when=fold_method == "contiguous", reason="with --fold-method contiguous")
    if table is not None:
        dataset, options = choose_reading(dataset_name, numbering, id_column, label_column)
        report = audit_table_folds(
            table,
            n_folds,
            method=fold_method,
            seed=seed,
            min_count=min_count,
            order=order,
            legacy_leak=legacy_leak,
            dataset=dataset,
            options=options,
        )
    else:
        refuse_unused(ctx, "no_near_duplicates", when=duplicates == "near", reason="with --duplicates near")
        refuse_unused(ctx, "threads", when=no_near_duplicates, reason="with --no-near-duplicates")
        with progress("samples") as shown:
            report = audit_store_folds(
                open_store(store or ""),
                parts,
                n_folds,
                method=fold_method,
                seed=seed,
                legacy_leak=legacy_leak,
                duplicates=duplicates,
                near=not no_near_duplicates,
                threads=threads,
                progress=shown,
            )
    show(report, as_json, describe_folds(report))


# Relations between samples that must not straddle training and validation, in words; others are groups of samples.
LEAKS = {
    "copy": "a copy or parent",
    "exact duplicate": "an exact duplicate",
    "near duplicate": "a near duplicate",
    "any": "any of these",
}


def describe_folds(report: "FoldReport") -> str:
    """Describe how classes spread over folds, and what leaks."""
    from hpa_data.stats.labels import choose_classes, explain_choice

    head = "".join(f"{f'fold {fold}':>14}" for fold in range(len(report.n_validation)))
    lines = [f"{'validation samples':<34}{'all':>7}{head}"]

    def add(name: str, counts: Sequence[int]) -> None:
        total = sum(counts)
        columns = "".join(f"{count:>7} {100 * count / max(total, 1):4.1f} %" for count in counts)
        lines.append(f"{escape(name):<34}{total:>7}{columns}")

    totals = [sum(counts) for counts in report.counts]
    for k in choose_classes(totals):
        add(f"{k:>2} {report.classes[k]}", report.counts[k])
    add("all validation samples", report.n_validation)
    lines.append(f"{'training samples':<41}" + "".join(f"{count:>14}" for count in report.n_training))
    for leak in report.leaks:
        name = f"with {LEAKS.get(leak.relation, f'the same {leak.relation}')} in training"
        lines.append(f"{name:<41}" + "".join(f"{count:>14}" for count in leak.leaked) + f"   {leak.n_groups} groups")
    if report.n_same_id and not any(sum(leak.leaked) for leak in report.leaks if leak.relation == "id"):
        lines.append(f"In several parts: {report.n_same_id} ids, each taken for one sample and kept in one fold")
    if explain_choice(totals):
        lines.append(f"{explain_choice(totals)} Pass --json for all.")
    if report.n_left_out:
        lines.append(f"Left out, could not be converted: {report.n_left_out} samples")
    return "\n".join(lines)
