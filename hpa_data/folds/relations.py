"""Relations between samples that must not straddle training and validation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.folds.duplicates import (
    find_exact_duplicates,
    find_near_duplicates,
    find_uniform,
    group_samples,
    hash_part,
)
from hpa_data.reader.reader import ORIGINAL, Reader
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress

# What one sample may be to another that must not lie across a border.
RELATIONS = ("copy", "same pixels", "same picture", "any", "antibody")


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
    progress: Progress = SILENT,
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
    progress : Progress, optional
        Of samples.

    Returns
    -------
    Relations
    """
    opened = [store.part(name) for name in parts]
    sums = np.concatenate([part.read_sums() for part in opened])
    checksums = np.concatenate([part.read_checksums() for part in opened])
    is_copy = reader.parents != ORIGINAL
    n_samples, pixels = len(reader), int(np.prod(reader.image_shape[:2]))
    left_out = find_uniform(sums, pixels=pixels) | is_copy | ~is_readable(reader.status)
    rows = np.arange(n_samples)
    groups = {
        "copy": np.where(reader.parents >= 0, reader.parents, rows),
        "same pixels": group_samples(n_samples, find_exact_duplicates(checksums, sums, left_out)),
    }
    if near:
        hashes = np.concatenate(
            [
                np.zeros((len(part.ids), reader.image_shape[-1]), np.uint64)
                if part.copies is not None
                else hash_part(store, part.name, threads=threads, progress=progress)
                for part in opened
            ]
        )
        same = _link(groups["same pixels"])
        hashes[same[:, 0] != same[:, 1]] = 0  # of equal ones, the first stands for all
        groups["same picture"] = group_samples(n_samples, same, find_near_duplicates(hashes, threads=threads))
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
