"""Opening what a page shows: parts of a store, a reader of them, and what is known of their samples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.maps import read_maps
from hpa_model.browse.predictions import place_metadata, read_predictions, read_vectors

# The column of what the files of a sample are like.
FILES = "files"


def choose_parts(store: Store, names: Sequence[str]) -> list[Part]:
    """Open parts that one page can show; of all parts, those that are like the first one.

    Raises
    ------
    InputError
        If the store has no part, or not that one, or no sample.
    """
    parts = [store.part(name) for name in names or store.parts()]
    if not names and parts:
        # Labeled originals first, then what has no labels, then copies.
        ordered = sorted(parts, key=lambda part: (part.copies is not None, part.labels is None))
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
    explained: Path | None = None,
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
    explained : Path, optional
        A folder of `hpa explain`.

    Raises
    ------
    InputError
        If run, file or folder are damaged, or of other samples or classes.
    """
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
        columns={name: values for name, values in columns.items() if _differs(name, values)},
    )
    if explained is not None:
        catalog = replace(catalog, maps=read_maps(explained, catalog))
    if run is None and embeddings is None:
        return catalog
    vectors, embedded = read_vectors(embeddings, catalog) if embeddings is not None else (None, None)
    predictions = read_predictions(catalog, parts, run=run, embedded=embedded)
    if vectors is not None and embedded is not None:
        catalog = replace(catalog, columns=catalog.columns | place_metadata(catalog, embedded))
    return replace(catalog, predictions=predictions, vectors=vectors)


def _differs(name: str, values: Sequence[str]) -> bool:
    """Return whether a column tells samples apart; that copies and failed samples have no files does not."""
    return len(set(values) - ({""} if name == FILES else set())) > 1


def _list_columns(part: Part) -> dict[str, list[str]]:
    """List the metadata of a part's samples by their names: its own columns, and what its files are like."""
    columns = {name: [str(value) for value in values] for name, values in part.columns.items()}
    origins, filled = part.read_origins(), part.read_filled()
    if origins is not None:
        columns[FILES] = origins
    if filled is not None:
        columns["filled channels"] = [", ".join(names) for names in filled]
    return columns
