"""Folds over the parts of a store: which samples train and which validate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.folds.assign import assign_folds, split_fold
from hpa_data.folds.options import FoldMethod
from hpa_data.folds.relations import find_relations
from hpa_data.reader.reader import ABSENT, ORIGINAL, Reader
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Who trains and who validates, for samples in one order.

    Attributes
    ----------
    n_folds : int
        The number of folds.
    folds : array of int64, shape (N,)
        The fold in which each sample validates. -1 for copies, which validate nowhere, and what takes no part.
    parents : array of int64, shape (N,)
        The row of each copy's parent, negative for all others. All are others where copies are taken for samples.
    """

    n_folds: int
    folds: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]

    def split(self, fold: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the rows that train and those that validate in a fold; see `folds.split_fold`."""
        return split_fold(self.folds, self.parents, fold)


def plan_folds(
    reader: Reader,
    n_folds: int,
    *,
    method: FoldMethod = "stratified",
    groups: npt.NDArray[np.int64] | None = None,
    seed: int = 0,
    legacy_leak: bool = False,
) -> FoldPlan:
    """Assign the originals of a reader to folds; copies go with their parents.

    Parameters
    ----------
    reader : Reader
        Over parts with labels.
    n_folds, method, seed
        See `folds.assign_folds`.
    groups : array of int64, shape (N,), optional
        See `Relations.join`; for ``grouped-stratified``.
    legacy_leak : bool
        Do what the paper of 2018 probably did: take copies for samples and cut all, as they stand, into contiguous
        runs. Its scores flatter: copies of samples that validate are trained on.

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
    folds[own] = assign_folds(reader.labels[own], n_folds, method, chosen, seed)
    # A copy that could not be made takes no part, although its parent does: it must not be read.
    return FoldPlan(n_folds=n_folds, folds=folds, parents=np.where(readable, parents, ORIGINAL))


def plan_training(
    store: Store,
    parts: Sequence[str],
    reader: Reader,
    n_folds: int,
    *,
    method: FoldMethod,
    seed: int,
    legacy_leak: bool,
    progress: Progress = SILENT,
) -> FoldPlan:
    """Assign samples to folds; duplicates and antibodies are looked for only where groups are asked for."""
    plan = plan_folds(
        reader, n_folds, method=method, groups=_singletons(reader, method), seed=seed, legacy_leak=legacy_leak
    )
    if method != "grouped-stratified" or legacy_leak:
        return plan
    relations = find_relations(store, parts, reader, progress=progress)
    return plan_folds(reader, n_folds, method=method, groups=relations.join(), seed=seed)


def _singletons(reader: Reader, method: FoldMethod) -> npt.NDArray[np.int64] | None:
    """Return groups of one sample each for a method that asks for groups."""
    return np.arange(len(reader)) if method == "grouped-stratified" else None
