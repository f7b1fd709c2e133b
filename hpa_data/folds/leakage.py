"""Folds over the parts of a store, or over a label table, and what leaks across their borders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.augment.options import Order
from hpa_data.augment.oversample import plan_copies
from hpa_data.dataset import CLASSES, is_readable
from hpa_data.errors import InputError
from hpa_data.folds.assign import assign_folds
from hpa_data.folds.options import FoldMethod
from hpa_data.folds.plan import FoldPlan, _singletons, plan_folds
from hpa_data.folds.relations import RELATIONS, Relations, find_relations, group_by_antibody
from hpa_data.reader.reader import ORIGINAL
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import read_label_table


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Samples that are related, and what of them lies on both sides of a border.

    Attributes
    ----------
    relation : str
        ``copy`` (a sample and its augmented copies), ``same pixels``, ``same picture`` (or nearly: another export of a
        field of view), ``any`` (of these, also by way of a third), ``antibody``.
    n_groups : int
        Groups of two or more related samples.
    leaked : tuple of int, length F
        For each fold, the samples that validate in it while a related one trains.
    """

    relation: str
    n_groups: int
    leaked: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FoldReport:
    """Folds, class by class, and their leaks.

    Attributes
    ----------
    classes : tuple of str, length K
    counts : tuple of tuple of int, shape (K, F)
        Samples of each class that validate in each fold.
    n_validation, n_training : tuple of int, length F
    leaks : tuple of Leak
    n_left_out : int
        Samples that take no part, because they could not be converted.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    n_validation: tuple[int, ...]
    n_training: tuple[int, ...]
    leaks: tuple[Leak, ...]
    n_left_out: int

    @property
    def n_leaked(self) -> int:
        """Samples that validate while a copy or a duplicate trains; a common antibody is no leak of pixels."""
        return sum(sum(leak.leaked) for leak in self.leaks if leak.relation == "any")


def report_folds(
    plan: FoldPlan, labels: npt.NDArray[np.uint8], relations: Relations, *, classes: Sequence[str], n_left_out: int = 0
) -> FoldReport:
    """Count classes over folds, and what leaks.

    Parameters
    ----------
    plan : FoldPlan
    labels : array of uint8, shape (N, K)
    relations : Relations
    classes : sequence of str, length K
    n_left_out : int
    """
    splits = [plan.split(fold) for fold in range(plan.n_folds)]
    counts = np.array([labels[validation].sum(axis=0, dtype=np.int64) for _, validation in splits])  # (k, K)
    leaks = []
    found = relations.groups | {"any": relations.join(antibodies=False)}
    for relation in RELATIONS:
        if relation not in found:
            continue
        groups = found[relation]
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
    near, threads, progress
        See `find_relations`.

    Returns
    -------
    FoldReport

    Raises
    ------
    InputError
        If the parts cannot be assigned to folds, or are damaged.
    """
    names = [name for name in store.parts() if store.part(name).labels is not None] if parts is None else list(parts)
    if not names:
        raise InputError(
            f"A store must have a part with labels. Received: {store.location} without. Pass another store."
        )
    with store.reader(names) as reader:
        # Whatever cannot be is refused before every image is read.
        plan = plan_folds(
            reader, n_folds, method=method, groups=_singletons(reader, method), seed=seed, legacy_leak=legacy_leak
        )
        relations = find_relations(store, names, reader, near=near, threads=threads, progress=progress)
        if method == "grouped-stratified" and not legacy_leak:
            plan = plan_folds(reader, n_folds, method=method, groups=relations.join(), seed=seed)
        n_left_out = int((~is_readable(reader.status)).sum())
        labels = np.empty((0, 0), np.uint8) if reader.labels is None else reader.labels
    classes = store.part(names[0]).manifest.classes
    return report_folds(plan, labels, relations, classes=classes, n_left_out=n_left_out)


def audit_table_folds(
    path: Path,
    n_folds: int,
    *,
    method: FoldMethod = "stratified",
    seed: int = 0,
    min_count: int | None = None,
    order: Order = "index",
    legacy_leak: bool = False,
) -> FoldReport:
    """Assign the rows of a label table to folds, and report classes and what copies would leak; no image is needed.

    Parameters
    ----------
    path : Path
        A label table; see `tables.read_label_table`.
    n_folds, method, seed
        See `folds.assign_folds`; groups are the antibodies of ids that begin with the number of one.
    min_count, order
        Append the copies that `augment.plan_copies` would make.
    legacy_leak : bool
        See `plan_folds`.

    Returns
    -------
    FoldReport

    Raises
    ------
    InputError
        If it cannot be read as a label table, or has too few rows.
    """
    table = read_label_table(path)
    if not table.ids:
        raise InputError(f"A label table must have rows. Received: {path} with none. Pass another table.")
    n_rows = len(table.ids)
    copies = np.empty(0, np.int64) if min_count is None else plan_copies(table.labels, min_count, order)
    labels = np.concatenate([table.labels, table.labels[copies]])
    true_parents = np.concatenate([np.full(n_rows, ORIGINAL), copies])
    rows = np.arange(len(labels))
    relations = {"copy": np.where(true_parents >= 0, true_parents, rows)}
    is_external = np.array([name.split("_")[0].isdigit() and "_" in name for name in table.ids])
    if is_external.any():
        antibodies = group_by_antibody(table.ids, among=is_external)
        relations["antibody"] = np.concatenate([antibodies, rows[n_rows:]])
    folds: npt.NDArray[np.int64] = np.full(len(labels), -1)
    if legacy_leak:
        folds = assign_folds(labels, n_folds, "contiguous")
    else:
        groups = Relations(groups=relations).join()[:n_rows] if method == "grouped-stratified" else None
        folds[:n_rows] = assign_folds(table.labels, n_folds, method, groups, seed)
    plan = FoldPlan(
        n_folds=n_folds, folds=folds, parents=np.full(len(labels), ORIGINAL) if legacy_leak else true_parents
    )
    return report_folds(plan, labels, Relations(groups=relations), classes=CLASSES)
