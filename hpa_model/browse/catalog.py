"""What is known of each sample before a page is shown: labels, predictions, folds, parents, metadata."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Dataset

# Where the probabilities of a sample come from.
NOWHERE, OUT_OF_FOLD, EMBEDDED = 0, 1, 2
# More values than anyone filters by.
MAX_VALUES = 500


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a run predicts for the samples, or what was embedded with them."""

    name: str
    """Of the run."""

    probs: npt.NDArray[np.float32]
    """Probabilities, scaled by temperature, (N, K); 0 where there are none."""

    origins: npt.NDArray[np.uint8]
    """Where they come from, (N,): `NOWHERE`, `OUT_OF_FOLD` or `EMBEDDED`."""

    predicted: npt.NDArray[np.bool_]
    """Predicted classes, (N, K)."""

    thresholds: npt.NDArray[np.float64] | None
    """Of each class, (K,), as `hpa predict` applies them; None without a run: then nothing is predicted."""

    folds: npt.NDArray[np.int64]
    """The validation fold of each sample, (N,); -1 if it has none."""

    is_apart: bool = False
    """Whether those that are `EMBEDDED` are of other models or thresholds than the run, so that none apply to them."""

    @property
    def has_thresholds(self) -> npt.NDArray[np.bool_]:
        """To which samples the thresholds apply, (N,)."""
        if self.thresholds is None:
            return np.zeros(len(self.origins), bool)
        return (self.origins == OUT_OF_FOLD) | ((self.origins == EMBEDDED) & (not self.is_apart))


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Features of some of the samples."""

    name: str
    """Of the file."""

    scaled: npt.NDArray[np.float32]
    """Of length 1, (M, D)."""

    samples: npt.NDArray[np.int64]
    """Index of the sample of each row, (M,)."""

    rows: npt.NDArray[np.int64]
    """Row of each sample, (N,); -1 if it has none."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The N samples of some parts of a store, in the order of a reader of these parts."""

    name: str
    """Of the store."""

    dataset: Dataset
    part_names: tuple[str, ...]

    ids: list[str]
    parts: npt.NDArray[np.int64]
    """Index of the part of each sample, (N,)."""

    labels: npt.NDArray[np.bool_]
    """Multi-hot, (N, K); False where they are not known."""

    is_labeled: npt.NDArray[np.bool_]
    """Of which samples the labels are known, (N,)."""

    status: npt.NDArray[np.uint8]

    parents: npt.NDArray[np.int64]
    """As `Reader.parents`, (N,)."""

    transforms: dict[int, str]
    """How a copy was made, as its part stores it."""

    notes: dict[int, str]
    """Why a sample failed, or a warning about it."""

    columns: dict[str, list[str]]
    """Metadata of each sample; empty texts where a part has none."""

    predictions: Predictions | None = None
    vectors: Vectors | None = None

    maps: dict[int, Path] = field(default_factory=dict)
    """Pictures of class maps, by the index of their sample."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def families(self) -> npt.NDArray[np.int64]:
        """Index of the original of each sample, which is its own, (N,)."""
        return np.where(self.parents >= 0, self.parents, np.arange(len(self)))

    @cached_property
    def _copies(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for index in np.flatnonzero(self.parents >= 0).tolist():
            found.setdefault(int(self.parents[index]), []).append(index)
        return found

    def find_copies(self, index: int) -> list[int]:
        """List the copies that were made of a sample."""
        return self._copies.get(index, [])

    @cached_property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """Whether all classes of a sample are predicted as labeled, (N,); see `is_judged`."""
        if self.predictions is None:
            return np.zeros(len(self), bool)
        return (self.predictions.predicted == self.labels).all(axis=1)

    @cached_property
    def is_judged(self) -> npt.NDArray[np.bool_]:
        """Which samples are predicted out of fold, and labeled, so that a prediction can be right or wrong, (N,).

        Of other samples, a model that predicts them may have been trained on them.
        """
        if self.predictions is None or self.predictions.thresholds is None:
            return np.zeros(len(self), bool)
        return self.is_labeled & (self.predictions.origins == OUT_OF_FOLD)

    @cached_property
    def losses(self) -> npt.NDArray[np.float64]:
        """Cross-entropy of the probabilities of each sample, summed over classes, (N,); 0 where it is not judged."""
        losses = np.zeros(len(self))
        if self.predictions is not None:
            rows = np.flatnonzero(self.is_judged)
            likelihood = np.where(self.labels[rows], self.predictions.probs[rows], 1 - self.predictions.probs[rows])
            losses[rows] = -np.log(likelihood.clip(1e-7)).sum(axis=1)
        return losses


def list_values(catalog: Catalog, name: str, rows: Sequence[int]) -> list[str]:
    """List the values of a column that some samples have, in alphabetical order."""
    column = catalog.columns[name]
    return sorted({column[row] for row in rows if column[row]})
