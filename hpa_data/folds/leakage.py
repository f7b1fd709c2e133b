"""Folds over the parts of a store, or over a label table, and what leaks from training into validation."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.augment.options import Order
from hpa_data.augment.oversample import plan_copies
from hpa_data.dataset import HPA_2018, Dataset, is_readable
from hpa_data.errors import InputError
from hpa_data.folds.assign import assign_folds
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.folds.plan import FoldPlan, plan_folds
from hpa_data.folds.relations import (
    COPY,
    EXACT_DUPLICATE,
    NEAR_DUPLICATE,
    SAME_ID,
    Relations,
    find_relations,
    group_by_id,
    search_near,
)
from hpa_data.reader.reader import ORIGINAL
from hpa_data.sources.schemes import NAMING_SCHEMES
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import TableOptions, read_label_table

# Any of copies and duplicates, also by way of a third sample.
ANY = "any"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """How many related samples are on both sides of a split."""

    relation: str
    """``copy`` (a sample and its augmented copies), ``exact duplicate``, ``near duplicate``, ``id`` (one that several
    parts have), ``any`` of these, or the fold group of a naming scheme: ``antibody``."""

    n_groups: int
    """Groups of two or more related samples."""

    leaked: tuple[int, ...]
    """For each fold, the validation samples that have a related sample in training."""


@dataclass(frozen=True, kw_only=True)
class FoldReport:
    """Classes per fold, and leaks."""

    classes: tuple[str, ...]

    counts: tuple[tuple[int, ...], ...]
    """Validation samples of each class in each fold, shape (K, F)."""

    n_validation: tuple[int, ...]

    n_training: tuple[int, ...]

    leaks: tuple[Leak, ...]

    n_left_out: int
    """Samples that are not used, because they could not be converted."""

    @property
    def n_same_id(self) -> int:
        """Ids that several parts have."""
        return sum(leak.n_groups for leak in self.leaks if leak.relation == SAME_ID)

    @property
    def n_leaked(self) -> int:
        """Validation samples with a copy or a duplicate in training; fold groups share no pixels and do not count."""
        return sum(sum(leak.leaked) for leak in self.leaks if leak.relation == ANY)


def report_folds(
    plan: FoldPlan, labels: npt.NDArray[np.uint8], relations: Relations, *, classes: Sequence[str], n_left_out: int = 0
) -> FoldReport:
    """Count classes per fold, and leaks.

    Parameters
    ----------
    plan : FoldPlan
    labels : array of uint8, shape (N, K)
    relations : Relations
    classes : sequence of str, length K
    n_left_out : int
    """
    splits = [plan.split(fold) for fold in range(plan.n_folds)]
    counts = np.array([labels[validation].sum(axis=0, dtype=np.int64) for _, validation in splits])  # (F, K)
    pixels = (COPY, EXACT_DUPLICATE, NEAR_DUPLICATE, SAME_ID)
    found = {name: relations.groups[name] for name in pixels if name in relations.groups}
    found |= {ANY: relations.merge(fold_groups=False)} | relations.groups  # in this order
    leaks = []
    for relation, groups in found.items():
        leaked = [int(np.isin(groups[validation], groups[training]).sum()) for training, validation in splits]
        n_groups = int((np.unique(groups, return_counts=True)[1] > 1).sum())
        leaks.append(Leak(relation=relation, n_groups=n_groups, leaked=tuple(leaked)))
    return FoldReport(
        classes=tuple(classes),
        counts=tuple(tuple(row) for row in counts.T.tolist()),
        n_validation=tuple(len(validation) for _, validation in splits),
        n_training=tuple(len(training) for training, _ in splits),
        leaks=tuple(leaks),
        n_left_out=n_left_out,
    )


def audit_store_folds(
    store: Store,
    parts: Sequence[str] | None,
    n_folds: int,
    *,
    method: FoldMethod = "stratified",
    seed: int = 0,
    legacy_leak: bool = False,
    duplicates: DuplicateSearch = "auto",
    near: bool = True,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> FoldReport:
    """Assign the samples of a store to folds, and report classes and leaks.

    Parameters
    ----------
    store : Store
    parts : sequence of str, optional
        By default all that have labels.
    n_folds, method, seed, legacy_leak
        See `plan_folds`.
    duplicates : {"auto", "near", "exact", "ignore"}
        What stays in one fold, as in `plan_training`: the folds are those of a training.
    near : bool
        Search for near duplicates, to report those that leak; without it, they are not kept in one fold either.
    threads, progress
        See `find_relations`.

    Returns
    -------
    FoldReport

    Raises
    ------
    InputError
        If the parts cannot be assigned to folds, or are damaged.
    """
    opened = [store.part(name) for name in (store.parts() if parts is None else parts)]
    if parts is None:
        opened = [part for part in opened if part.labels is not None]
    if not opened:
        raise InputError(
            f"Cannot assign samples to folds: no part of {store.location} has labels. Convert one with --labels."
        )
    with store.reader([part.name for part in opened], threads=threads) as reader:
        is_grouped = method == "grouped-stratified"
        # Each once, and not before the plan has refused what cannot be: near duplicates take reading every image.
        find = functools.cache(functools.partial(find_relations, opened, reader, threads=threads, progress=progress))

        def find_groups() -> npt.NDArray[np.int64]:
            return find(near=near and search_near(reader, duplicates, method)).merge(fold_groups=is_grouped)

        plan = plan_folds(
            reader,
            n_folds,
            method=method,
            find_groups=None if duplicates == "ignore" and not is_grouped else find_groups,
            seed=seed,
            legacy_leak=legacy_leak,
        )
        relations = find(near=near)
        n_left_out = int((~is_readable(reader.status)).sum())
        labels = np.empty((0, 0), np.uint8) if reader.labels is None else reader.labels
    return report_folds(plan, labels, relations, classes=opened[0].manifest.classes, n_left_out=n_left_out)


def audit_table_folds(
    path: Path,
    n_folds: int,
    *,
    method: FoldMethod = "stratified",
    seed: int = 0,
    min_count: int | None = None,
    order: Order = "index",
    legacy_leak: bool = False,
    dataset: Dataset = HPA_2018,
    options: TableOptions | None = None,
) -> FoldReport:
    """Assign the rows of a label table to folds, and report classes and what copies would leak; no image is needed.

    Parameters
    ----------
    path : Path
        A label table; see `tables.read_label_table`.
    n_folds, method, seed
        See `assign.assign_folds`. Groups are the fold groups of naming schemes, for ids of their form.
    min_count, order
        Append the copies that `augment.plan_copies` would make.
    legacy_leak : bool
        See `plan_folds`.
    dataset, options
        See `tables.read_label_table`.

    Returns
    -------
    FoldReport

    Raises
    ------
    InputError
        If it cannot be read as a label table, or has too few rows.
    """
    table = read_label_table(path, dataset, options)
    if not table.ids:
        raise InputError(f"Cannot assign samples to folds: {path} has no rows. Pass another label table.")
    n_rows = len(table.ids)
    copies = np.empty(0, np.int64) if min_count is None else plan_copies(table.labels, min_count, order)
    labels = np.concatenate([table.labels, table.labels[copies]])
    true_parents = np.concatenate([np.full(n_rows, ORIGINAL), copies])
    rows = np.arange(len(labels))
    groups = {COPY: np.where(true_parents >= 0, true_parents, rows)}
    for scheme in NAMING_SCHEMES.values():
        if scheme.fold_group and any(map(scheme.fold_group.matches, table.ids)):
            from_scheme = np.array([scheme.fold_group.matches(name) for name in table.ids])
            found = group_by_id(table.ids, scheme.fold_group, among=from_scheme)
            groups[scheme.fold_group.name] = np.concatenate([found, rows[n_rows:]])
    relations = Relations(groups=groups)
    folds: npt.NDArray[np.int64] = np.full(len(labels), -1)
    if legacy_leak:
        folds = assign_folds(labels, n_folds, "contiguous")
    else:
        merged = relations.merge()[:n_rows] if method == "grouped-stratified" else None
        folds[:n_rows] = assign_folds(table.labels, n_folds, method, merged, seed)
    plan = FoldPlan(
        n_folds=n_folds, folds=folds, parents=np.full(len(labels), ORIGINAL) if legacy_leak else true_parents
    )
    return report_folds(plan, labels, relations, classes=dataset.classes)
