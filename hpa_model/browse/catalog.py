"""What is known of each sample before a page is shown: labels, predictions, folds, parents, metadata."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store

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
    """Calibrated probabilities, (N, K); 0 where there are none."""

    origins: npt.NDArray[np.uint8]
    """Where they come from, (N,): `NOWHERE`, `OUT_OF_FOLD` or `EMBEDDED`."""

    predicted: npt.NDArray[np.bool_]
    """Predicted classes, (N, K)."""

    thresholds: npt.NDArray[np.float64] | None
    """Of each class, (K,), as `hpa predict` applies them; None without a run: then nothing is predicted."""

    folds: npt.NDArray[np.int64]
    """The validation fold of each sample, (N,); -1 if it has none."""


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


def choose_parts(store: Store, names: Sequence[str]) -> list[Part]:
    """Open parts that one page can show; of all parts, those that are like the first one.

    Raises
    ------
    InputError
        If the store has no part, or not that one, or no sample.
    """
    parts = [store.part(name) for name in names or store.parts()]
    if not names and parts:
        ordered = sorted(parts, key=lambda part: part.copies is not None)  # originals first, as in other commands
        first = ordered[0].manifest.dataset
        parts = [
            part
            for part in ordered
            if part.manifest.dataset.is_like(first) and part.layout.image_shape == ordered[0].layout.image_shape
        ]
    if not sum(len(part.ids) for part in parts):
        raise InputError(f"Cannot browse {store.location}: it has no sample. Convert some first.")
    return parts


def open_reader(store: Store, parts: Sequence[Part]) -> Reader:
    """Open a reader of parts that are open; InputError if they do not fit, or copies are out of date."""
    for part in parts:
        store.find_parents(part)
    return Reader([part.reader_spec() for part in parts], threads=1)


def read_catalog(
    store: Store,
    parts: Sequence[Part],
    reader: Reader,
    *,
    run: Path | None = None,
    embeddings: Path | None = None,
) -> Catalog:
    """Read what is known of the samples.

    Parameters
    ----------
    store : Store
    parts : sequence of Part
    reader : Reader
        Of these parts.
    run : Path, optional
        A finished run, whose out-of-fold predictions are shown.
    embeddings : Path, optional
        A file of `hpa embed`: neighbors, and probabilities of samples that the run has no prediction for.

    Raises
    ------
    InputError
        If run or file are damaged, or of other samples or classes.
    """
    from hpa_model.browse.predictions import read_predictions, read_vectors

    dataset = reader.dataset
    n, k = len(reader), len(dataset.classes)
    labels, is_labeled = np.zeros((n, k), bool), np.zeros(n, bool)
    part_numbers = np.zeros(n, np.int64)
    transforms: dict[int, str] = {}
    notes: dict[int, str] = {}
    columns: dict[str, list[str]] = {}
    first = 0
    for number, part in enumerate(parts):
        rows = slice(first, first + len(part.ids))
        part_numbers[rows] = number
        if part.labels is not None:
            labels[rows], is_labeled[rows] = part.labels.astype(bool), True
        if part.copies is not None:
            transforms |= {first + row: text for row, text in enumerate(part.copies.transforms)}
        notes |= {
            first + row: f"{note} ({file})" if file else note
            for row, (note, file) in enumerate(part.read_notes())
            if note
        }
        for name, values in _list_columns(part).items():
            columns.setdefault(name, [""] * n)[rows] = values
        first += len(part.ids)
    catalog = Catalog(
        name=Path(str(store.location)).name or str(store.location),
        dataset=dataset,
        part_names=tuple(part.name for part in parts),
        ids=reader.ids,
        parts=part_numbers,
        labels=labels,
        is_labeled=is_labeled,
        status=reader.status,
        parents=reader.parents,
        transforms=transforms,
        notes=notes,
        columns={name: values for name, values in columns.items() if len(set(values)) > 1},
    )
    if run is None and embeddings is None:
        return catalog
    from dataclasses import replace

    vectors, embedded = read_vectors(embeddings, catalog) if embeddings is not None else (None, None)
    predictions = read_predictions(catalog, parts, run=run, embedded=embedded)
    return replace(catalog, predictions=predictions, vectors=vectors)


def _list_columns(part: Part) -> dict[str, list[str]]:
    """List the metadata of a part's samples by their names: its own columns, and what its files are like."""
    columns = {name: [str(value) for value in values] for name, values in part.columns.items()}
    origins, filled = part.read_origins(), part.read_filled()
    if origins is not None:
        columns["files"] = origins
    if filled is not None:
        columns["filled channels"] = [", ".join(names) for names in filled]
    return columns


def list_values(catalog: Catalog, name: str) -> list[str]:
    """List the values of a column that samples can be filtered by, in alphabetical order, `MAX_VALUES` at most."""
    return sorted({value for value in catalog.columns[name] if value})[:MAX_VALUES]
