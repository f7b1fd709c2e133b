"""Folds over the parts of a store: which samples are in training and which in validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.folds.assign import NOT_USED, TRAINING_ONLY, assign_folds, check_n_folds, hold_out, split_fold
from hpa_data.folds.leak_check import NOT_CHECKED, LeakCheck
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.folds.relations import count_duplicates, find_relations, group_same_ids, search_near
from hpa_data.reader.reader import ABSENT, ORIGINAL, Reader
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """The fold of each of N samples."""

    n_folds: int
    """With one, a share of the samples validates the only model; with none, nothing does."""

    folds: npt.NDArray[np.int64]
    """The fold in whose validation set each sample is, shape (N,); -1 for copies and for samples that are not used;
    `TRAINING_ONLY` for those that validate no model, where there are fewer than two folds."""

    parents: npt.NDArray[np.int64]
    """The index of each copy's parent, shape (N,); negative for all others. With `legacy_leak`, copies are others."""

    groups: npt.NDArray[np.int64] | None = None
    """The group of each sample, shape (N,): those of one group are in one fold. None if no two originals share one."""

    leak_check: LeakCheck = NOT_CHECKED
    """Which duplicates were looked for, and kept together."""

    @property
    def used(self) -> npt.NDArray[np.int64]:
        """The indices of the originals that are used, ascending."""
        return np.flatnonzero(self.folds != NOT_USED)

    @property
    def n_models(self) -> int:
        """Models that are trained: one per fold, and one without folds."""
        return max(self.n_folds, 1)

    def split(self, fold: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the training and the validation indices of a fold; see `assign.split_fold`."""
        return split_fold(self.folds, self.parents, fold)


def plan_folds(
    reader: Reader,
    n_folds: int,
    *,
    method: FoldMethod = "stratified",
    find_groups: Callable[[], npt.NDArray[np.int64]] | None = None,
    seed: int = 0,
    legacy_leak: bool = False,
    validation: float = 0.0,
) -> FoldPlan:
    """Assign the originals of a reader to folds; copies are in training where their parents are.

    Originals with the same id, in different parts, are in the same fold: as a rule they are one sample that was
    converted twice, such as in two sizes, and a model must not be validated on what it was trained on.

    Parameters
    ----------
    reader : Reader
        Over parts with labels.
    n_folds, method, seed
        See `assign.assign_folds`. With one fold, see `assign.hold_out`. With none, no sample is validated.
    find_groups : function, optional
        Returns groups, int64 (N,), that stay together; see `Relations.merge`. By default, those with the same id. It is
        called last, as it may read every image, after everything else was checked; not with `legacy_leak`.
    legacy_leak : bool
        Do what the paper of 2018 probably did: treat copies as independent samples and split all into contiguous
        folds. Its scores are too high: copies of validation samples are in training.
    validation : float
        With one fold: the share of the samples in it.

    Raises
    ------
    InputError
        If a part has no labels or is not finished, if the parents of its copies are in no part of the reader, or if
        `n_folds` or `method` cannot be used.
    """
    if reader.labels is None:
        raise InputError(
            "Cannot assign samples to folds: a part was converted without a label table. Convert it with --labels, or "
            "name other parts."
        )
    n_pending = int((reader.status == PENDING).sum())
    if n_pending:
        raise InputError(
            f"Cannot assign samples to folds: {n_pending} of them are still pending. Rerun the same `hpa convert` or "
            "`hpa augment`."
        )
    if (reader.parents == ABSENT).any():
        raise InputError(
            "Cannot assign samples to folds: there are copies without the part of their parents. Name that part, too."
        )
    readable = is_readable(reader.status)
    parents = reader.parents
    if legacy_leak:
        method = "contiguous"
        parents = np.full(len(reader), ORIGINAL)
    originals = np.flatnonzero(readable & (parents == ORIGINAL))
    # Copies are appended, as the paper's were, whatever the order of the parts.
    originals = originals[np.argsort(reader.parents[originals] != ORIGINAL, kind="stable")]
    same_id = np.arange(len(reader)) if legacy_leak else group_same_ids(reader)
    if n_folds > 1:
        check_n_folds(n_folds, len(np.unique(same_id[originals])), seed)
    # Without validation, nothing leaks into it.
    groups = same_id if find_groups is None or legacy_leak or not n_folds else find_groups()
    folds: npt.NDArray[np.int64] = np.full(len(reader), NOT_USED)
    folds[originals] = TRAINING_ONLY
    if n_folds:
        folds[originals] = _assign(
            reader.labels[originals], n_folds, method, groups[originals], seed, validation=validation
        )
    # A copy that could not be written must not be read, although its parent can.
    parents = np.where(readable, parents, ORIGINAL)
    is_grouped = len(np.unique(groups[originals])) < len(originals)
    return FoldPlan(n_folds=n_folds, folds=folds, parents=parents, groups=groups if is_grouped else None)


def _assign(
    labels: npt.NDArray[np.uint8],
    n_folds: int,
    method: FoldMethod,
    groups: npt.NDArray[np.int64],
    seed: int,
    *,
    validation: float,
) -> npt.NDArray[np.int64]:
    """Assign samples to folds, those with the same value in `groups`, int64 (N,), to the same one."""

    def assign(
        labels: npt.NDArray[np.uint8], method: FoldMethod, groups: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        if n_folds == 1:
            return hold_out(labels, validation, method, groups, seed)
        return assign_folds(labels, n_folds, method, groups, seed)

    _, firsts, members = np.unique(groups, return_index=True, return_inverse=True)
    if method == "grouped-stratified":
        return assign(labels, method, groups)
    if len(firsts) == len(labels):
        return assign(labels, method, None)
    if method == "stratified":
        return assign(labels, "grouped-stratified", groups)
    return assign(labels[firsts], method, None)[members]


def plan_training(
    store: Store,
    parts: Sequence[str],
    reader: Reader,
    n_folds: int,
    *,
    method: FoldMethod,
    seed: int,
    legacy_leak: bool,
    duplicates: DuplicateSearch = "auto",
    validation: float = 0.0,
    progress: Progress = SILENT,
) -> FoldPlan:
    """Assign the samples of a store to folds; duplicates stay in one fold.

    Parameters
    ----------
    store : Store
    parts : sequence of str
    reader : Reader
        Over these parts, in the same order.
    n_folds, method, seed, legacy_leak, validation
        See `plan_folds`. Only ``grouped-stratified`` also keeps the fold groups of naming schemes together.
    duplicates, progress
        See `search_near`. With ``exact``, nothing is read but what lies beside the images. With `legacy_leak`, nothing
        is searched for.

    Returns
    -------
    FoldPlan
        With the record of what was searched for.
    """
    is_grouped, found = method == "grouped-stratified", []

    def find_groups() -> npt.NDArray[np.int64]:
        near = search_near(reader, duplicates, method, progress)
        found.append(find_relations([store.part(name) for name in parts], reader, near=near))
        return found[0].merge(fold_groups=is_grouped)

    plan = plan_folds(
        reader,
        n_folds,
        method=method,
        find_groups=None if duplicates == "ignore" and not is_grouped else find_groups,
        seed=seed,
        legacy_leak=legacy_leak,
        validation=validation,
    )
    return replace(plan, leak_check=count_duplicates(found[0], reader)) if found else plan
