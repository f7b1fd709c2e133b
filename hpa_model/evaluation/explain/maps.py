"""The maps of the classes of samples, by the models that explain each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED
from hpa_model.evaluation.class_maps import Mapper
from hpa_model.evaluation.explain.samples import Chosen, pick_classes
from hpa_model.evaluation.figure_class_maps import ClassMap
from hpa_model.predict.chosen import ChosenModels
from hpa_model.predict.models import check_rows
from hpa_model.predict.source import Source
from hpa_model.thresholds import apply_temperatures

# Samples that are in memory at a time.
BATCH = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A sample that was explained."""

    sample: Chosen
    image: npt.NDArray[np.uint8]  # (Y, X, C)
    classes: tuple[int, ...]
    maps: tuple[ClassMap, ...]
    """Of these classes."""


def explain_rows(
    models: ChosenModels,
    opened: Source,
    chosen: Sequence[Chosen],
    mappers: Mapping[int, Mapper],
    *,
    classes: tuple[int, ...] = (),
    names: Mapping[int, str],
) -> Iterator[Row]:
    """Yield the samples that can be read, with the maps of their classes.

    Where several models explain a sample, its map is the mean of theirs, and its probabilities are, as in a prediction.

    Parameters
    ----------
    models : ChosenModels
    opened : Source
    chosen : sequence of Chosen
    mappers : mapping of int to Mapper
        Of each fold.
    classes : tuple of int
        By default those of `pick_classes`.
    names : mapping of int to str
        What messages call the model of each fold.

    Raises
    ------
    InputError
        If a sample of a store cannot be read, or a model gives anything but probabilities.
    """
    reader, decision = opened.reader, models.decision
    temperatures = dict(zip(models.folds, models.temperatures, strict=True))
    for first in range(0, len(chosen), BATCH):
        batch = chosen[first : first + BATCH]
        images = reader.read([each.index for each in batch])
        is_read = [reader.status[each.index] != FAILED for each in batch]  # files are read only now
        batch, images = [each for each, read in zip(batch, is_read, strict=True) if read], images[is_read]
        probs: npt.NDArray[np.float64] = np.zeros((len(batch), len(models.description.classes)))
        shares = _share(batch, mappers)
        for fold, (own, share) in shares.items():
            _, found = mappers[fold](images[own], [-1])
            indices = np.array([batch[n].index for n in own])
            check_rows(found, reader, indices, name=names[fold], remedy="Train the model again.")
            probs[own] += apply_temperatures(found, temperatures[fold]) * share[:, None]
        predicted = decision.predict(probs)
        of_each = [classes or pick_classes(probs[n], predicted[n], each.labels) for n, each in enumerate(batch)]
        maps = _compute(images, of_each, mappers, shares)
        for n, sample in enumerate(batch):
            of_classes = tuple(
                ClassMap(
                    name=models.description.full_dataset.classes[k],
                    cells=maps[n, number],
                    prob=float(probs[n, k]),
                    threshold=float(decision.thresholds[k]),
                    is_predicted=bool(predicted[n, k]),
                    is_true=None if sample.labels is None else bool(sample.labels[k]),
                )
                for number, k in enumerate(of_each[n])
            )
            yield Row(sample=sample, image=images[n], classes=of_each[n], maps=of_classes)


Shares = dict[int, tuple[list[int], npt.NDArray[np.float64]]]


def _share(batch: Sequence[Chosen], folds: Mapping[int, object]) -> Shares:
    """Return the samples that the model of each fold explains, and what part of the mean it is of each."""
    shares = {}
    for fold in folds:
        own = [n for n, each in enumerate(batch) if fold in each.folds]
        if own:
            shares[fold] = own, np.array([1 / len(batch[n].folds) for n in own])
    return shares


def _compute(
    images: npt.NDArray[np.uint8], classes: Sequence[Sequence[int]], mappers: Mapping[int, Mapper], shares: Shares
) -> npt.NDArray[np.float32]:
    """Compute the maps of the classes of each image, float32 (B, M, y, x); 0 where an image has fewer than M."""
    chosen = np.full((len(images), max(map(len, classes), default=0)), -1, np.int64)
    for n, each in enumerate(classes):
        chosen[n, : len(each)] = each
    size = next(iter(mappers.values())).grid.size
    maps: npt.NDArray[np.float32] = np.zeros((*chosen.shape, *size), np.float32)
    for fold, (own, share) in shares.items():
        found, _ = mappers[fold](images[own], chosen[own])
        maps[own] += found * share[:, None, None, None].astype(np.float32)
    return maps
