"""Which copies a store is to get, and of what."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.augment.copy_task import CopyTask
from hpa_data.augment.options import Order, Policy
from hpa_data.augment.oversample import plan_copies
from hpa_data.augment.policies import draw_transform
from hpa_data.augment.transform import UNCHANGED, describe_transform
from hpa_data.dataset import PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.format.manifest import Provenance
from hpa_data.store.create import PartPlan
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_data.tables import first_duplicate

COPIES_PART = "augmented"


# Copies with noise compress less than their parents: 60 real samples' copies took 1.10 times as much.
NOISE_SIZE_FACTOR = 1.25


@dataclass(frozen=True, kw_only=True)
class CopySummary:
    """What a plan of copies comes to.

    Attributes
    ----------
    store : Path
    part : str
        That the copies are to make.
    min_count : int
    classes : tuple of str, length K
    counts_before, counts_after : tuple of int, length K
        Readable samples of each class, without the copies and with them.
    n_samples : int
        Readable samples of the parts that are copied from.
    n_copies : int
    n_parents : int
        Samples that are copied.
    max_copies_per_sample : int
        Of one parent.
    n_failed, n_black : int
        Samples that carry a class below the minimum and are not copied, because they could not be read or are black.
    n_unchanged : int
        Copies whose recipe does nothing.
    n_bytes : int
        What the copies take on disk, about, judged by all samples that are copied from; noise takes more.
    short : tuple of str
        Names of the classes that stay below the minimum, because none of their samples can be copied.
    """

    store: Path
    part: str
    min_count: int
    classes: tuple[str, ...]
    counts_before: tuple[int, ...]
    counts_after: tuple[int, ...]
    n_samples: int
    n_copies: int
    n_parents: int
    max_copies_per_sample: int
    n_failed: int
    n_black: int
    n_unchanged: int
    n_bytes: int
    short: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AugmentationPlan:
    """Which copies a store is to get.

    Attributes
    ----------
    part : PartPlan
    tasks : tuple of CopyTask, length M
        In the order of the part.
    summary : CopySummary
    """

    part: PartPlan
    tasks: tuple[CopyTask, ...]
    summary: CopySummary


def plan_augmentation(
    store: Store,
    *,
    parts: Sequence[str] = ("train",),
    min_count: int = 500,
    order: Order = "index",
    policy: Policy = "paper",
    seed: int = 0,
    into: str = COPIES_PART,
) -> AugmentationPlan:
    """Plan the copies of a store's rare samples, each with what is to be done to it; nothing is written.

    Parameters
    ----------
    store : Store
    parts : sequence of str
        The parts to copy from, which have labels and are converted to their end.
    min_count, order
        See `plan_copies`. Failed samples do not count; black ones count and are not copied.
    policy : str
        A name in `policies.POLICIES`.
    seed : int
        What is done to a copy depends on it, on the parent's id and on the copy's number among those of its parent.
    into : str
        Name of the part to make.

    Raises
    ------
    InputError
        If a part cannot be copied from, or a setting cannot be used.
    """
    if into in store.parts() and not (store.require_local() / into / "recipe").exists():
        raise InputError(
            f"into must be a new part or one of copies. Received: into={into!r}, a part of originals. Use another name."
        )
    source = _gather_originals(store, parts)
    if seed < 0:
        raise InputError(f"seed must be at least 0. Received: seed={seed}. Pass another number.")
    counted = source.labels * source.readable[:, None]  # (N, K)
    rows = plan_copies(counted, min_count, order, eligible=source.readable & ~source.black).tolist()
    numbers = _number_copies(rows)
    recipes = [
        draw_transform(policy, seed=seed, parent=source.ids[row], number=number)
        for row, number in zip(rows, numbers, strict=True)
    ]
    settings = {
        "parents": {part.name: part.manifest.fingerprint for part in source.parts},
        "min_count": min_count,
        "order": order,
        "policy": policy,
        "seed": seed,
    }
    first = source.parts[0].manifest
    planned = PartPlan(
        path=Path(os.path.abspath(store.require_local())),
        name=into,
        ids=tuple(f"{source.ids[row]}-copy{number}" for row, number in zip(rows, numbers, strict=True)),
        labels=source.labels[rows],
        settings=settings,
        codec=first.settings["codec"],
        shard_samples=int(first.settings["shard_samples"]),
        copies=Provenance(
            parents=tuple(source.ids[row] for row in rows),
            parts=tuple(source.places[row][0] for row in rows),
            checksums=tuple(source.checksum[rows].tolist()),
            recipes=tuple(recipes),
        ),
    )
    before = counted.sum(axis=0, dtype=np.int64)
    after = before + source.labels[rows].sum(axis=0, dtype=np.int64)
    rare = (source.labels[:, before < min_count] > 0).any(axis=1)
    summary = CopySummary(
        store=store.path,
        part=into,
        min_count=min_count,
        classes=first.classes,
        counts_before=tuple(before.tolist()),
        counts_after=tuple(after.tolist()),
        n_samples=int(source.readable.sum()),
        n_copies=len(rows),
        n_parents=len(set(rows)),
        max_copies_per_sample=max(numbers, default=-1) + 1,
        n_failed=int((rare & ~source.readable).sum()),
        n_black=int((rare & source.readable & source.black).sum()),
        n_unchanged=sum(describe_transform(recipe) == UNCHANGED for recipe in recipes),
        n_bytes=round(source.mean_bytes * len(rows)),
        short=tuple(first.classes[k] for k in np.flatnonzero(after < min_count)),
    )
    tasks = [source.task_of(row, recipe) for row, recipe in zip(rows, recipes, strict=True)]
    return AugmentationPlan(part=planned, tasks=tuple(tasks), summary=summary)


@dataclass(frozen=True, kw_only=True)
class _Originals:
    """The samples of all parts to copy from, one after the other."""

    parts: list[Part]
    ids: list[str]
    places: list[tuple[str, int]]
    labels: npt.NDArray[np.uint8]
    status: npt.NDArray[np.uint8]
    checksum: npt.NDArray[np.uint32]
    black: npt.NDArray[np.bool_]

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        return is_readable(self.status)

    @property
    def mean_bytes(self) -> float:
        """Bytes that a readable sample takes on disk."""
        return sum(part.count_bytes() for part in self.parts) / max(int(self.readable.sum()), 1)

    def task_of(self, row: int, recipe: str) -> CopyTask:
        return CopyTask(*self.places[row], int(self.checksum[row]), int(self.status[row]), recipe)


def _gather_originals(store: Store, names: Sequence[str]) -> _Originals:
    """Open the parts to copy from."""
    parts = [_open_parent(store, name) for name in dict.fromkeys(names)]
    if not parts:
        raise InputError("parts must be named. Received: none. Name those to copy from.")
    ids = [name for part in parts for name in part.ids]
    repeated = first_duplicate(ids)
    if repeated is not None:
        raise InputError(
            f"Ids of parts that are copied together must be unique. Received: {repeated!r} in two of "
            f"{', '.join(names)}. Copy from one of them."
        )
    return _Originals(
        parts=parts,
        ids=ids,
        places=[(part.name, row) for part in parts for row in range(len(part.ids))],
        labels=np.concatenate([part.labels for part in parts if part.labels is not None]),
        status=np.concatenate([part.read_status() for part in parts]),
        checksum=np.concatenate([part.read_checksums() for part in parts]),
        black=~np.concatenate([part.read_sums()[..., 0].any(axis=1) for part in parts]),
    )


def _open_parent(store: Store, name: str) -> Part:
    """Open a part to copy from."""
    part = store.part(name)
    for is_wrong, what in (
        (part.labels is None, "without labels. Convert it with --labels"),
        (part.copies is not None, "of copies. Name parts of originals"),
        ((part.read_status() == PENDING).any(), "that is not finished. Run the same `hpa convert` again"),
    ):
        if is_wrong:
            raise InputError(
                f"A part to copy from must be whole, with labels and no copies. Received: {name!r}, {what}."
            )
    return part


def _number_copies(rows: Sequence[int]) -> list[int]:
    """Give each copy its number among those of its parent, from 0."""
    seen: Counter[int] = Counter()
    numbers = []
    for row in rows:
        numbers.append(seen[row])
        seen[row] += 1
    return numbers
