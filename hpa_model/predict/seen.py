"""Samples to predict that the models of a run were trained on: how well they are predicted says little about others."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hpa_data.dataset import is_readable
from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.folds.duplicates import find_uniform
from hpa_data.reader.kvstore import is_url
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_model.runs.folder import RunDescription

# Checksum and sums of an image that shows something: equal for the same pixels, and hardly ever for others.
ImageKey = tuple[int, bytes]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A sample to predict."""

    id: str

    training: tuple[str, str] | None = None
    """Part and id of the training sample that it is, or is a copy of, where the store says so."""

    image: ImageKey | None = None
    """None where it was not read, or shows nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainingSamples:
    """The samples that some models of a run were trained on."""

    run: Path
    description: RunDescription

    samples: Sequence[tuple[str, str, int]]
    """Part, empty where ids tell them apart, id and validation fold of each sample of the run."""

    folds: tuple[int, ...]
    """Those whose models predict."""

    @cached_property
    def seen(self) -> set[tuple[str, str]]:
        """Part and id of each sample that any of the models was trained on; no part where ids tell them apart."""
        return {(part, name) for part, name, fold in self.samples if any(fold != other for other in self.folds)}

    @cached_property
    def ids(self) -> set[str]:
        """Their ids."""
        return {name for _, name in self.seen}

    @cached_property
    def images(self) -> dict[ImageKey, tuple[str, str]]:
        """Part and id of each image in the store of the run; nothing if it is gone, elsewhere, or another by now."""
        images: dict[ImageKey, tuple[str, str]] = {}
        if is_url(self.description.store):
            return images
        with contextlib.suppress(InputError):
            store = open_store(self.description.store)
            for name, fingerprint in self.description.fingerprints.items():
                part = store.part(name)
                if part.copies is None and part.manifest.fingerprint == fingerprint:
                    images |= {key: (name, part.ids[row]) for row, key in list_images(part).items()}
        return images

    def includes(self, part: str, name: str) -> bool:
        """Return whether any of the models was trained on a sample."""
        return (part, name) in self.seen or ("", name) in self.seen


def list_images(part: Part) -> dict[int, ImageKey]:
    """List the images of a part that show something, by row."""
    sums, checksums = part.read_sums(), part.read_checksums().tolist()
    uniform = find_uniform(sums, pixels=int(np.prod(part.layout.image_shape[:2])))
    shown = np.flatnonzero(is_readable(part.read_status()) & ~uniform)
    return {row: (checksums[row], sums[row].tobytes()) for row in shown.tolist()}


def list_wanted(part: Part, description: RunDescription) -> list[Wanted]:
    """List the samples of a part, with what says which training samples they are."""
    names = {fingerprint: name for name, fingerprint in description.fingerprints.items()}
    own = names.get(part.manifest.fingerprint)
    if part.copies is not None:
        parents = part.manifest.settings.get("parents")
        parts = {name: names.get(fingerprint) for name, fingerprint in dict(parents or {}).items()}
        origins = [
            (trained, parent) if (trained := parts.get(name)) is not None else None
            for name, parent in zip(part.copies.parts, part.copies.parents, strict=True)
        ]
        return [Wanted(id=name, training=origin) for name, origin in zip(part.ids, origins, strict=True)]
    if own is not None:
        return [Wanted(id=name, training=(own, name)) for name in part.ids]
    images = list_images(part)
    return [Wanted(id=name, image=images.get(row)) for row, name in enumerate(part.ids)]


def notice_seen(training: TrainingSamples, samples: Sequence[Wanted]) -> list[Notice]:
    """Tell which samples the models were trained on: by what the store says, by their images, and by their ids."""
    same, equal, named = [], [], []
    for sample in samples:
        found = sample.training or (training.images.get(sample.image) if sample.image else None)
        if found is not None and training.includes(*found):
            part, name = found
            if sample.training or name == sample.id:
                same.append(sample.id)
            else:
                equal.append(f"{sample.id}, which is {name} of part {part}")
        elif found is None and sample.id in training.ids:
            named.append(sample.id)
    score = f"run `hpa evaluate {training.run}`: it scores each of them by the model that was not trained on it"
    if training.description.config.folds < 2:
        score = "train a run with several folds, which scores each sample by a model that was not trained on it"
    kinds = (
        ("the models were trained on samples to predict", same, f"To know how well they are predicted, {score}."),
        (
            "images to predict are those of samples that the models were trained on, under other ids",
            equal,
            "Leave them out where predictions are scored.",
        ),
        (
            "ids are those of samples that the models were trained on, whose images are others or cannot be compared",
            named,
            f"If they are the same samples, {score}.",
        ),
    )
    return [
        Notice(what=what, n=len(found), examples=tuple(found[:N_EXAMPLES]), remedy=remedy)
        for what, found, remedy in kinds
        if found
    ]
