"""The plan of an augmented part: its copies and the transform of each. Writes nothing."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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

# Noise compresses badly: the copies of 60 real samples took 1.10 times the bytes of their parents.
NOISE_SIZE_FACTOR = 1.25


class Copy(NamedTuple):
    """A planned copy."""

    parent: int
    """Row of the parent among all originals."""
    number: int
    """Index among the copies of this parent, from 0."""
    transform: str


@dataclass(frozen=True, kw_only=True)
class CopySummary:
    """The numbers of a plan of copies."""

    store: Path
    part: str
    """The part that will hold the copies."""
    min_count: int
    classes: tuple[str, ...]
    """Length K."""
    counts_before: tuple[int, ...]
    """Readable samples of each class without the copies, length K."""
    counts_after: tuple[int, ...]
    """Readable samples of each class with the copies, length K."""
    n_samples: int
    """Readable samples of the parts that are copied from."""
    n_copies: int
    n_parents: int
    """Samples that are copied at least once."""
    max_copies_per_sample: int
    n_failed: int
    """Samples of a class below the minimum that are not copied because they are unreadable."""
    n_black: int
    """Samples of a class below the minimum that are not copied because they are black."""
    n_unchanged: int
    """Copies whose transform changes nothing."""
    n_bytes: int
    """Estimated size of the copies on disk, from the mean size of all originals; noise takes more."""
    below_minimum: tuple[str, ...]
    """Names of the classes that stay below the minimum, because none of their samples can be copied."""


@dataclass(frozen=True, kw_only=True)
class AugmentationPlan:
    """An augmented part to make."""

    part: PartPlan
    tasks: tuple[CopyTask, ...]
    """One per copy, in the order of the part."""
    summary: CopySummary


def plan_augmentation(
    store: Store,
    *,
    parts: Sequence[str] = ("train",),
    min_count: int = 500,
    order: Order = "index",
    policy: Policy = "paper",
    seed: int = 0,
    part: str = COPIES_PART,
) -> AugmentationPlan:
    """Plan the copies of a store's rare samples and draw the transform of each; nothing is written.

    Parameters
    ----------
    store : Store
    parts : sequence of str
        Parts to copy from: originals with labels, completely converted.
    min_count, order
        See `plan_copies`. Failed samples do not count; black ones count and are not copied.
    policy : {"paper", "strong"}
        See `policies`.
    seed : int
        The transform of a copy depends on it, on the parent's id and on the copy's number among those of its parent.
    part : str
        Name of the part that will hold the copies.

    Raises
    ------
    InputError
        If a part cannot be copied from, or an argument is not valid.
    """
    local = store.require_local()
    # Not by opening it: a damaged part of copies may be made again.
    if part in store.parts() and not store.storage.exists(f"{part}/recipe"):
        raise InputError(
            f"part must be new or hold copies. Received: part={part!r}, which holds originals. Choose another name."
        )
    originals = _gather_originals(store, parts)
    if seed < 0:
        raise InputError(f"seed must be at least 0. Received: seed={seed}. Pass another number.")
    copies = _draw_copies(originals, min_count=min_count, order=order, policy=policy, seed=seed)
    settings = {
        "parents": {parent.name: parent.manifest.fingerprint for parent in originals.parts},
        "min_count": min_count,
        "order": order,
        "policy": policy,
        "seed": seed,
    }
    return AugmentationPlan(
        part=_plan_part(copies, originals, path=Path(os.path.abspath(local)), name=part, settings=settings),
        tasks=tuple(originals.task_of(copy) for copy in copies),
        summary=summarize(copies, originals, store=local, part=part, min_count=min_count),
    )


@dataclass(frozen=True, kw_only=True)
class Originals:
    """The samples of all parts to copy from, one part after the other."""

    parts: list[Part]
    ids: list[str]
    """Length N."""
    positions: list[tuple[str, int]]
    """The part of each sample and its row there, length N."""
    labels: npt.NDArray[np.uint8]
    """Multi-hot, shape (N, K)."""
    status: npt.NDArray[np.uint8]
    """Shape (N,)."""
    checksum: npt.NDArray[np.uint32]
    """CRC-32 of each image, shape (N,)."""
    black: npt.NDArray[np.bool_]
    """Whether all pixels of a sample are 0, shape (N,)."""

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """Whether a sample can be read, shape (N,)."""
        return is_readable(self.status)

    @property
    def counted_labels(self) -> npt.NDArray[np.uint8]:
        """Labels of the readable samples, zeros for the others, shape (N, K)."""
        return self.labels * self.readable[:, None]

    @property
    def mean_bytes(self) -> float:
        """Mean size on disk of a readable sample."""
        return sum(part.count_bytes() for part in self.parts) / max(int(self.readable.sum()), 1)

    def task_of(self, copy: Copy) -> CopyTask:
        """Return what has to be known to make a copy."""
        part, row = self.positions[copy.parent]
        return CopyTask(part, row, int(self.checksum[copy.parent]), int(self.status[copy.parent]), copy.transform)


def summarize(copies: Sequence[Copy], originals: Originals, *, store: Path, part: str, min_count: int) -> CopySummary:
    """Compute the numbers of a plan of copies."""
    parents = [copy.parent for copy in copies]
    before = originals.counted_labels.sum(axis=0, dtype=np.int64)  # (K,)
    after = before + originals.labels[parents].sum(axis=0, dtype=np.int64)
    is_rare = (originals.labels[:, before < min_count] > 0).any(axis=1)  # (N,)
    dataset = originals.parts[0].manifest.dataset
    classes = dataset.classes
    return CopySummary(
        store=store,
        part=part,
        min_count=min_count,
        classes=classes,
        counts_before=tuple(before.tolist()),
        counts_after=tuple(after.tolist()),
        n_samples=int(originals.readable.sum()),
        n_copies=len(copies),
        n_parents=len(set(parents)),
        max_copies_per_sample=max((copy.number for copy in copies), default=-1) + 1,
        n_failed=int((is_rare & ~originals.readable).sum()),
        n_black=int((is_rare & originals.readable & originals.black).sum()),
        n_unchanged=sum(describe_transform(copy.transform, dataset.channels) == UNCHANGED for copy in copies),
        n_bytes=round(originals.mean_bytes * len(copies)),
        below_minimum=tuple(classes[k] for k in np.flatnonzero(after < min_count)),
    )


def _draw_copies(originals: Originals, *, min_count: int, order: Order, policy: Policy, seed: int) -> list[Copy]:
    """Choose the samples to copy, and draw the transform of each copy."""
    eligible = originals.readable & ~originals.black
    dataset = originals.parts[0].manifest.dataset
    is_square = dataset.height == dataset.width
    numbers: Counter[int] = Counter()
    copies = []
    for parent in plan_copies(originals.counted_labels, min_count, order, eligible=eligible).tolist():
        number = numbers[parent]
        numbers[parent] += 1
        transform = draw_transform(
            policy,
            seed=seed,
            parent=originals.ids[parent],
            number=number,
            channels=dataset.channels,
            is_square=is_square,
        )
        copies.append(Copy(parent, number, transform))
    return copies


def _plan_part(
    copies: Sequence[Copy], originals: Originals, *, path: Path, name: str, settings: dict[str, Any]
) -> PartPlan:
    """Plan the part that holds the copies, with codec and shards of the first part that is copied from."""
    parents = [copy.parent for copy in copies]
    first = originals.parts[0].manifest.settings
    return PartPlan(
        path=path,
        name=name,
        ids=tuple(f"{originals.ids[copy.parent]}-copy{copy.number}" for copy in copies),
        labels=originals.labels[parents],
        settings=settings,
        dataset=originals.parts[0].manifest.dataset,
        codec=first["codec"],
        shard_samples=int(first["shard_samples"]),
        copies=Provenance(
            parents=tuple(originals.ids[parent] for parent in parents),
            parts=tuple(originals.positions[parent][0] for parent in parents),
            checksums=tuple(originals.checksum[parents].tolist()),
            transforms=tuple(copy.transform for copy in copies),
        ),
    )


def _gather_originals(store: Store, names: Sequence[str]) -> Originals:
    """Open the parts to copy from."""
    parts = [_open_originals(store, name) for name in dict.fromkeys(names)]
    if not parts:
        raise InputError("parts must not be empty. Received: none. Name the parts to copy from.")
    first = parts[0]
    for other in parts[1:]:
        if other.layout.image_shape != first.layout.image_shape or not other.manifest.dataset.is_like(
            first.manifest.dataset
        ):
            raise InputError(
                f"parts must have the same channels, classes and image size. Received: {first.name} and {other.name}, "
                "which differ. Copy from one of them."
            )
    ids = [name for part in parts for name in part.ids]
    repeated = first_duplicate(ids)
    if repeated is not None:
        raise InputError(
            f"Cannot copy from parts {', '.join(names)} together: sample id {repeated!r} is in two of them. Copy from "
            "one of them."
        )
    return Originals(
        parts=parts,
        ids=ids,
        positions=[(part.name, row) for part in parts for row in range(len(part.ids))],
        labels=np.concatenate([part.labels for part in parts if part.labels is not None]),
        status=np.concatenate([part.read_status() for part in parts]),
        checksum=np.concatenate([part.read_checksums() for part in parts]),
        black=~np.concatenate([part.read_sums()[..., 0].any(axis=1) for part in parts]),
    )


def _open_originals(store: Store, name: str) -> Part:
    """Open a part to copy from; InputError if it has no labels, holds copies or is not completely converted."""
    part = store.part(name)
    if part.labels is None:
        raise InputError(f"Cannot copy from part {name!r}: it has no labels. Convert it with --labels.")
    if part.copies is not None:
        raise InputError(f"Cannot copy from part {name!r}: it holds copies. Name parts of originals.")
    if (part.read_status() == PENDING).any():
        raise InputError(
            f"Cannot copy from part {name!r}: its conversion is not finished. Run the same `hpa convert` again."
        )
    return part
