"""Relations between samples that must not straddle training and validation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.folds.duplicates import (
    estimate_near_s,
    find_exact_duplicates,
    find_near_duplicates,
    find_uniform,
    group_samples,
    hash_samples,
)
from hpa_data.folds.leak_check import LeakCheck
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.reader.reader import ORIGINAL, Reader
from hpa_data.sources.schemes import NAMING_SCHEMES, FoldGroup
from hpa_data.store.part import Part
from hpa_data.system.progress import SILENT, Progress

COPY, EXACT_DUPLICATE, NEAR_DUPLICATE = "copy", "exact duplicate", "near duplicate"
# Of samples of several parts: taken for one sample that was converted twice, such as in two sizes.
SAME_ID = "id"
# Seconds that the search for near duplicates may take where it was not asked for. Training takes far longer.
NEAR_BUDGET_S = 60.0
# From this estimate on, a line says what is being done.
NOTED_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Which samples are related, and how."""

    groups: dict[str, npt.NDArray[np.int64]]
    """For each relation, the group of each sample, int64 (N,); related samples have the same. The relations are `COPY`,
    `EXACT_DUPLICATE`, `NEAR_DUPLICATE` where it was searched for, `SAME_ID` where there are such samples, and the names
    of fold groups of naming schemes."""

    def merge(self, *, fold_groups: bool = True) -> npt.NDArray[np.int64]:
        """Return groups that keep all related samples together, int64 (N,).

        Without `fold_groups`, only samples that share pixels are related: copies, duplicates, those with the same id.
        """
        pixels = {COPY, EXACT_DUPLICATE, NEAR_DUPLICATE, SAME_ID}
        merged = [groups for name, groups in self.groups.items() if fold_groups or name in pixels]
        return group_samples(len(merged[0]), *(_edges(groups) for groups in merged))


def _edges(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return pairs of samples that hold each group together, int64 (P, 2)."""
    _, firsts, numbers = np.unique(groups, return_index=True, return_inverse=True)
    return np.column_stack([firsts[numbers], np.arange(len(groups))])


def find_relations(
    parts: Sequence[Part],
    reader: Reader,
    *,
    near: bool = True,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Relations:
    """Find the samples that are copies, duplicates or of one fold group.

    Parameters
    ----------
    parts : sequence of Part
    reader : Reader
        Over these parts, in the same order.
    near : bool
        Search for near duplicates, which reads every image but copies: their parents are known.
    threads : int, optional
        For near duplicates; by default one per core.
    progress : Progress, optional
        In samples.

    Returns
    -------
    Relations
    """
    sums = np.concatenate([part.read_sums() for part in parts])
    checksums = np.concatenate([part.read_checksums() for part in parts])
    is_copy = reader.parents != ORIGINAL
    originals = np.flatnonzero(is_readable(reader.status) & ~is_copy)
    n_samples, pixels = len(reader), int(np.prod(reader.image_shape[:2]))
    left_out = np.ones(n_samples, np.bool_)
    left_out[originals] = find_uniform(sums[originals], pixels=pixels)
    equal = group_samples(n_samples, find_exact_duplicates(checksums, sums, left_out))
    groups = {
        COPY: np.where(reader.parents >= 0, reader.parents, np.arange(n_samples)),
        EXACT_DUPLICATE: equal,
    }
    if near:
        hashes = np.zeros((n_samples, reader.image_shape[-1]), np.uint64)
        hashes[originals] = hash_samples(reader, originals, threads=threads, progress=progress)
        edges = _edges(equal)
        hashes[edges[:, 0] != edges[:, 1]] = 0  # of equal samples, the first stands for all
        groups[NEAR_DUPLICATE] = group_samples(n_samples, edges, find_near_duplicates(hashes, threads=threads))
    same_id = group_same_ids(reader)
    if (same_id != np.arange(n_samples)).any():
        groups[SAME_ID] = same_id
    for naming, scheme in NAMING_SCHEMES.items():
        from_scheme = np.concatenate(
            [np.full(len(part.ids), part.manifest.settings.get("source") == naming) for part in parts]
        )
        if scheme.fold_group and from_scheme.any():
            groups[scheme.fold_group.name] = group_by_id(reader.ids, scheme.fold_group, among=from_scheme & ~is_copy)
    return Relations(groups=groups)


def search_near(reader: Reader, duplicates: DuplicateSearch, method: FoldMethod, progress: Progress = SILENT) -> bool:
    """Decide whether to search for near duplicates before samples are assigned to folds.

    Parameters
    ----------
    reader : Reader
    duplicates : {"auto", "near", "exact", "ignore"}
        With ``auto``, they are searched for if that takes at most `NEAR_BUDGET_S` by an estimate, for which some images
        are read: on another machine, the decision may be another.
    method : FoldMethod
        ``grouped-stratified`` searches for them unless `duplicates` is ``exact``.
    progress : Progress, optional
        A line, if the search takes long enough to wonder.
    """
    if method == "grouped-stratified" or duplicates != "auto":
        return duplicates == "near" or (method == "grouped-stratified" and duplicates != "exact")
    originals = np.flatnonzero(is_readable(reader.status) & (reader.parents == ORIGINAL))
    seconds = estimate_near_s(reader, originals)
    if NOTED_S <= seconds <= NEAR_BUDGET_S:
        progress.note(f"Looking for near duplicates among {len(originals):,} samples, about {seconds:.0f} s")
    return seconds <= NEAR_BUDGET_S


def count_duplicates(relations: Relations, reader: Reader) -> LeakCheck:
    """Count the duplicates that were found among the originals of a reader."""
    originals = np.flatnonzero(is_readable(reader.status) & (reader.parents == ORIGINAL))

    def count(name: str) -> tuple[int, int]:
        sizes = np.unique(relations.groups[name][originals], return_counts=True)[1]
        return int((sizes > 1).sum()), int(sizes[sizes > 1].sum())

    is_near = NEAR_DUPLICATE in relations.groups  # whose groups hold the exact duplicates, too
    n_groups, n_in_groups = count(NEAR_DUPLICATE if is_near else EXACT_DUPLICATE)
    return LeakCheck(
        searched="near" if is_near else "exact",
        n_samples=len(originals),
        n_groups=n_groups,
        n_in_groups=n_in_groups,
        n_exact=count(EXACT_DUPLICATE)[1],
    )


def group_same_ids(reader: Reader) -> npt.NDArray[np.int64]:
    """Group originals that have the same id, in different parts; int64 (N,), the index of the first of each group.

    Each copy has a group to itself: its parent decides its fold.
    """
    firsts: dict[str, int] = {}
    is_copy = (reader.parents != ORIGINAL).tolist()
    return np.array(
        [row if is_copy[row] else firsts.setdefault(name, row) for row, name in enumerate(reader.ids)], np.int64
    )


def group_by_id(ids: Sequence[str], group: FoldGroup, *, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Group samples by what their ids show.

    Parameters
    ----------
    ids : sequence of str, length N
    group : FoldGroup
        Of the naming scheme.
    among : array of bool, shape (N,)
        The samples of that scheme; each other one has a group to itself.

    Returns
    -------
    array of int64, shape (N,)

    Examples
    --------
    >>> ids = ["7_1_A1_1", "8_1_A1_1", "7_2_B4_2", "7_x"]
    >>> group_by_id(ids, NAMING_SCHEMES["hpav18"].fold_group, among=np.array([True, True, True, False]))
    array([0, 1, 0, 3])
    """
    firsts: dict[str, int] = {}
    return np.array(
        [firsts.setdefault(group.find(name), row) if among[row] else row for row, name in enumerate(ids)], np.int64
    )
