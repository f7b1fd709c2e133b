"""The command `hpa folds`: its options and its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from hpa_data.folds.options import FoldMethod

if TYPE_CHECKING:
    from hpa_data.folds.leakage import FoldReport


def folds(
    store: Annotated[str | None, typer.Argument(help=STORE + "; or give --labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A label table, in place of a store.")] = None,
    parts: Annotated[
        str | None, typer.Option(help="Parts of the store, with commas between; by default all with labels.")
    ] = None,
    k: Annotated[int, typer.Option("--folds", min=2, help="How many.")] = 3,
    method: Annotated[FoldMethod, typer.Option(help="How samples are spread over folds.")] = "stratified",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="With --labels: as if copies had been made up to this count.")
    ] = None,
    order: Annotated[Order, typer.Option(help="With --min-count: index, or rarest.")] = "index",
    legacy_leak: Annotated[
        bool, typer.Option("--legacy-leak", help="Cut copies and samples alike into runs, as the paper probably did.")
    ] = False,
    near: Annotated[bool, typer.Option(help="Look at every image for other exports of one picture.")] = True,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show how the classes spread over folds, and what leaks from training into validation."""
    from hpa_data.folds.leakage import audit_store_folds, audit_table_folds
    from hpa_data.store.store import open_store

    if store is None:
        table = check_table(labels, {"--parts": parts, "--no-near": not near, "--threads": threads})
        done = audit_table_folds(
            table, k, method=method, seed=seed, min_count=min_count, order=order, legacy_leak=legacy_leak
        )
    else:
        check_store(labels, {"--min-count": min_count})
        with progress("samples") as shown:
            done = audit_store_folds(
                open_store(store),
                None if parts is None else split_names(parts),
                k,
                method=method,
                seed=seed,
                legacy_leak=legacy_leak,
                near=near,
                threads=threads,
                progress=shown,
            )
    show(done, as_json, describe_folds(done))


# How two samples may be related, in words.
LEAKS = {
    "copy": "a copy or parent",
    "same pixels": "the same pixels",
    "same picture": "the same picture",
    "any": "any of these",
    "antibody": "the same antibody",
}


def describe_folds(done: "FoldReport") -> str:
    """Say how classes spread over folds, and what leaks."""
    n_folds = len(done.n_validation)
    head = "".join(f"{f'fold {fold}':>14}" for fold in range(n_folds))
    lines = [f"{'validation samples':<34}{'all':>7}{head}"]

    def add(name: str, counts: Sequence[int]) -> None:
        total = sum(counts)
        shares = "".join(f"{count:>7} {100 * count / max(total, 1):4.1f} %" for count in counts)
        lines.append(f"{escape(name):<34}{total:>7}{shares}")

    for number, (name, counts) in enumerate(zip(done.classes, done.counts, strict=True)):
        add(f"{number:>2} {name}", counts)
    add("samples that validate", done.n_validation)
    lines.append(f"{'samples that train':<34}{'':>7}" + "".join(f"{count:>14}" for count in done.n_training))
    for leak in done.leaks:
        name = f"with {LEAKS[leak.relation]} in training"
        lines.append(f"{name:<41}" + "".join(f"{count:>14}" for count in leak.leaked) + f"   {leak.n_groups} groups")
    if done.n_left_out:
        lines.append(f"Left out, could not be converted: {done.n_left_out} samples")
    return "\n".join(lines)
