"""Folds over the parts of a store, or over a label table, and what leaks across their borders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.copies import plan_copies
from hpa_data.duplicates import find_blank, find_exact, find_near, group_samples, hash_part
from hpa_data.errors import InputError
from hpa_data.folds import Method, assign_folds, split_fold
from hpa_data.reader import ABSENT, ORIGINAL, Reader
from hpa_data.schema import CLASSES, PENDING, is_readable
from hpa_data.store import Store
from hpa_data.tables import read_label_table

Tell = Callable[[int], None]

# What one sample may be to another that must not lie across a border.
RELATIONS = ("copy", "same pixels", "same picture", "any", "antibody")


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Who trains and who validates, for samples in one order.

    Attributes
    ----------
    k : int
        The number of folds.
    folds : array of int64, shape (N,)
        The fold in which each sample validates. -1 for copies, which validate nowhere, and what takes no part.
    parents : array of int64, shape (N,)
        The row of each copy's parent, negative for all others. All are others where copies are taken for samples.
    """

    k: int
    folds: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]

    def split(self, fold: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the rows that train and those that validate in a fold; see `folds.split_fold`."""
        return split_fold(self.folds, self.parents, fold)


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
    leaked : tuple of int, length k
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
    counts : tuple of tuple of int, shape (K, k)
        Samples of each class that validate in each fold.
    n_validation, n_training : tuple of int, length k
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


def plan_folds(
    reader: Reader,
    k: int,
    *,
    method: Method = "stratified",
    groups: npt.NDArray[np.int64] | None = None,
    seed: int = 0,
    legacy_leak: bool = False,
) -> FoldPlan:
    """Assign the originals of a reader to folds; copies go with their parents.

    Parameters
    ----------
    reader : Reader
        Over parts with labels.
    k, method, seed
        See `folds.assign_folds`.
    groups : array of int64, shape (N,), optional
        See `Relations.join`; for ``grouped-stratified``.
    legacy_leak : bool
        Do what the paper of 2018 probably did: take copies for samples and cut all, as they stand, into k runs. Its
        scores flatter: copies of samples that validate are trained on.

    Raises
    ------
    InputError
        If a part has no labels, is not finished, or its copies' parents are in no part that is read.
    """
    if reader.labels is None:
        raise InputError(
            "Parts to assign to folds must have labels. Received: a part converted without a label table. Convert it "
            "with --labels, or name others."
        )
    n_pending = int((reader.status == PENDING).sum())
    if n_pending:
        raise InputError(
            f"Parts to assign to folds must be finished. Received: one with {n_pending} samples still to be made. Run "
            "the same `hpa convert` or `hpa augment` again."
        )
    if (reader.parents == ABSENT).any():
        raise InputError(
            "Copies must be read with their parents. Received: parts of copies without the part that they are copies "
            "of. Name that part, too."
        )
    readable = is_readable(reader.status)
    parents = reader.parents
    if legacy_leak:
        method, groups = "contiguous", None
        parents = np.full(len(reader), ORIGINAL)
    own = np.flatnonzero(readable & (parents == ORIGINAL))
    # Copies are appended, as the paper's were, whatever the order of the parts.
    own = own[np.argsort(reader.parents[own] != ORIGINAL, kind="stable")]
    folds: npt.NDArray[np.int64] = np.full(len(reader), -1)
    chosen = None if groups is None else groups[own]
    folds[own] = assign_folds(reader.labels[own], k, method, chosen, seed)
    # A copy that could not be made takes no part, although its parent does: it must not be read.
    return FoldPlan(k=k, folds=folds, parents=np.where(readable, parents, ORIGINAL))


@dataclass(frozen=True, kw_only=True)
class Relations:
    """What the samples of some parts are to each other.

    Attributes
    ----------
    groups : dict of str to array of int64, shape (N,)
        For each of `RELATIONS` that was looked for, the group of each sample; related ones share a group.
    """

    groups: dict[str, npt.NDArray[np.int64]]

    def join(self, *, antibodies: bool = True) -> npt.NDArray[np.int64]:
        """Return groups that keep all related samples together, int64 (N,); those of one antibody only if told to."""
        joined = [groups for name, groups in self.groups.items() if antibodies or name != "antibody"]
        return group_samples(len(joined[0]), *(_link(groups) for groups in joined))


def _link(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return pairs of samples that hold each group together, int64 (P, 2)."""
    _, firsts, numbers = np.unique(groups, return_index=True, return_inverse=True)
    return np.column_stack([firsts[numbers], np.arange(len(groups))])


def find_relations(
    store: Store,
    parts: Sequence[str],
    reader: Reader,
    *,
    near: bool = True,
    threads: int | None = None,
    on_plan: Tell | None = None,
    on_read: Tell | None = None,
) -> Relations:
    """Find out which samples of some parts are copies, duplicates or of one antibody.

    Parameters
    ----------
    store : Store
    parts : sequence of str
        In the order of the reader.
    reader : Reader
        Over these parts.
    near : bool
        Look at every image for pictures that are nearly the same, which takes as long as reading them all. Copies are
        not looked at: they are known by their parents.
    threads : int, optional
    on_plan, on_read : function of int, optional
        Called with the number of samples of a part before they are read, and as they are.

    Returns
    -------
    Relations
    """
    opened = [store.part(name) for name in parts]
    sums = np.concatenate([part.sums for part in opened])
    checksums = np.concatenate([part.checksum for part in opened])
    is_copy = reader.parents != ORIGINAL
    n_samples, pixels = len(reader), int(np.prod(reader.image_shape[:2]))
    left_out = find_blank(sums, pixels=pixels) | is_copy | ~is_readable(reader.status)
    rows = np.arange(n_samples)
    groups = {
        "copy": np.where(reader.parents >= 0, reader.parents, rows),
        "same pixels": group_samples(n_samples, find_exact(checksums, sums, left_out)),
    }
    if near:
        hashes = np.concatenate(
            [
                np.zeros((len(part.ids), reader.image_shape[-1]), np.uint64)
                if part.copies is not None
                else hash_part(store, part.name, threads=threads, on_plan=on_plan, on_read=on_read)
                for part in opened
            ]
        )
        same = _link(groups["same pixels"])
        hashes[same[:, 0] != same[:, 1]] = 0  # of equal ones, the first stands for all
        groups["same picture"] = group_samples(n_samples, same, find_near(hashes, threads=threads))
    external = np.concatenate(
        [np.full(len(part.ids), part.manifest.settings.get("source") == "hpav18") for part in opened]
    )
    if external.any():
        groups["antibody"] = group_by_antibody(reader.ids, among=external & ~is_copy)
    return Relations(groups=groups)


def group_by_antibody(ids: Sequence[str], *, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Group samples of the external set by the antibody that their id begins with: ``30741_800_A6_1``.

    Parameters
    ----------
    ids : sequence of str, length N
    among : array of bool, shape (N,)
        The samples whose ids are of that form; each other one is a group of its own.

    Returns
    -------
    array of int64, shape (N,)

    Examples
    --------
    >>> group_by_antibody(["7_1_A1_1", "8_1_A1_1", "7_2_B4_2", "7_x"], among=np.array([True, True, True, False]))
    array([0, 1, 0, 3])
    """
    firsts: dict[str, int] = {}
    return np.array(
        [firsts.setdefault(name.split("_")[0], row) if among[row] else row for row, name in enumerate(ids)], np.int64
    )


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
    splits = [plan.split(fold) for fold in range(plan.k)]
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
    k: int,
    *,
    method: Method = "stratified",
    seed: int = 0,
    legacy_leak: bool = False,
    near: bool = True,
    threads: int | None = None,
    on_plan: Tell | None = None,
    on_read: Tell | None = None,
) -> FoldReport:
    """Assign the samples of a store to folds, and report classes and leaks.

    Parameters
    ----------
    store : Store
    parts : sequence of str, optional
        By default all that have labels.
    k, method, seed, legacy_leak
        See `plan_folds`.
    near, threads, on_plan, on_read
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
        plan = plan_folds(reader, k, method=method, groups=_alone(reader, method), seed=seed, legacy_leak=legacy_leak)
        relations = find_relations(store, names, reader, near=near, threads=threads, on_plan=on_plan, on_read=on_read)
        if method == "grouped-stratified" and not legacy_leak:
            plan = plan_folds(reader, k, method=method, groups=relations.join(), seed=seed)
        n_left_out = int((~is_readable(reader.status)).sum())
        labels = np.empty((0, 0), np.uint8) if reader.labels is None else reader.labels
    classes = store.part(names[0]).manifest.classes
    return report_folds(plan, labels, relations, classes=classes, n_left_out=n_left_out)


def plan_training(
    store: Store,
    parts: Sequence[str],
    reader: Reader,
    k: int,
    *,
    method: Method,
    seed: int,
    legacy_leak: bool,
    on_plan: Tell | None = None,
    on_read: Tell | None = None,
) -> FoldPlan:
    """Assign samples to folds; duplicates and antibodies are looked for only where groups are asked for."""
    plan = plan_folds(reader, k, method=method, groups=_alone(reader, method), seed=seed, legacy_leak=legacy_leak)
    if method != "grouped-stratified" or legacy_leak:
        return plan
    relations = find_relations(store, parts, reader, on_plan=on_plan, on_read=on_read)
    return plan_folds(reader, k, method=method, groups=relations.join(), seed=seed)


def _alone(reader: Reader, method: Method) -> npt.NDArray[np.int64] | None:
    """Return groups of one sample each for a method that asks for groups."""
    return np.arange(len(reader)) if method == "grouped-stratified" else None


def audit_table_folds(
    path: Path,
    k: int,
    *,
    method: Method = "stratified",
    seed: int = 0,
    min_count: int | None = None,
    order: str = "index",
    legacy_leak: bool = False,
) -> FoldReport:
    """Assign the rows of a label table to folds, and report classes and what copies would leak; no image is needed.

    Parameters
    ----------
    path : Path
        A label table; see `tables.read_label_table`.
    k, method, seed
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
        folds = assign_folds(labels, k, "contiguous")
    else:
        groups = Relations(groups=relations).join()[:n_rows] if method == "grouped-stratified" else None
        folds[:n_rows] = assign_folds(table.labels, k, method, groups, seed)
    plan = FoldPlan(k=k, folds=folds, parents=np.full(len(labels), ORIGINAL) if legacy_leak else true_parents)
    return report_folds(plan, labels, Relations(groups=relations), classes=CLASSES)
