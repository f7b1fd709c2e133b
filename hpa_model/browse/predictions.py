"""Predictions of a run and features of a file, for the samples of a catalog."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.store.part import Part
from hpa_model.browse.catalog import EMBEDDED, NOWHERE, OUT_OF_FOLD, Catalog, Predictions, Vectors

if TYPE_CHECKING:
    from hpa_model.predict.embeddings import Embeddings
    from hpa_model.runs.decision import Decision
    from hpa_model.runs.out_of_fold import OutOfFold


def read_predictions(
    catalog: Catalog, parts: Sequence[Part], *, run: Path | None, embedded: "Embeddings | None"
) -> Predictions:
    """Read out-of-fold predictions, and those of a file for samples without; InputError if they do not fit.

    Parameters
    ----------
    catalog : Catalog
    parts : sequence of Part
        Of the catalog.
    run : Path or None
    embedded : Embeddings or None
        Its probabilities are taken for samples that no model validated. Thresholds apply to them only if they are of
        all models of this run, and of these thresholds; with a run, calibrated ones are left out.
    """
    n, k = catalog.labels.shape
    probs, origins = np.zeros((n, k), np.float32), np.full(n, NOWHERE, np.uint8)
    folds, predicted = np.full(n, -1, np.int64), np.zeros((n, k), bool)
    decision: Decision | None = None
    is_apart = False
    if run is not None:
        decision, rows, of_rows = _read_rows(catalog, parts, run)
        scaled = decision.scale(rows.probs, rows.folds)
        found = np.flatnonzero(of_rows >= 0)
        samples = of_rows[found]
        probs[samples], folds[samples], origins[samples] = scaled[found], rows.folds[found], OUT_OF_FOLD
        predicted[samples] = decision.predict(scaled).astype(bool)[found]
    # Those that were calibrated are not of the scale of the thresholds.
    if embedded is not None and not (decision is not None and embedded.about.get("calibrated")):
        of_rows = find_samples(catalog, list(zip(embedded.parts, embedded.ids, strict=True)))
        found = np.flatnonzero(of_rows >= 0)
        found = found[origins[of_rows[found]] == NOWHERE]
        samples = of_rows[found]
        probs[samples], origins[samples] = embedded.probs[found], EMBEDDED
        if run is not None and decision is not None and len(samples):
            is_apart = not _fits(run, len(decision.temperatures), embedded)
            if not is_apart:
                predicted[samples] = decision.predict(embedded.probs[found]).astype(bool)
    return Predictions(
        name=run.absolute().name if run is not None else str(embedded.about.get("run", "")) if embedded else "",
        probs=probs,
        origins=origins,
        predicted=predicted,
        thresholds=None if decision is None else decision.thresholds,
        folds=folds,
        is_apart=is_apart,
    )


def _fits(run: Path, n_models: int, embedded: "Embeddings") -> bool:
    """Return whether probabilities of a file are of all models of a run, and as its thresholds are now.

    The name of a run says neither: another may have it, and models that are trained again keep it.
    """
    from hpa_data.system.files import MAX_TEXT_BYTES
    from hpa_model.runs.folder import THRESHOLDS_FILE
    from hpa_model.runs.seal import read_file

    content = read_file(run / THRESHOLDS_FILE, max_bytes=MAX_TEXT_BYTES)
    about = embedded.about
    return about.get("decision") == hashlib.sha256(content).hexdigest() and about.get("folds") == list(range(n_models))


def _read_rows(
    catalog: Catalog, parts: Sequence[Part], run: Path
) -> tuple["Decision", "OutOfFold", npt.NDArray[np.int64]]:
    """Read a run's decision, its rows, and the index of the sample of each, -1 if it is of a part not shown."""
    from hpa_model.runs.decision import read_decision
    from hpa_model.runs.folder import read_run
    from hpa_model.runs.out_of_fold import read_out_of_fold

    description = read_run(run)
    if description.classes != catalog.dataset.classes:
        raise InputError(
            f"run must be of the classes of the store. Received: {run}, with {len(description.classes)} classes, for "
            f"{len(catalog.dataset.classes)} of {catalog.name}. Pass the store that it was trained on."
        )
    shown = {part.name: part.manifest.fingerprint for part in parts}
    trained = [name for name in description.config.parts if name in shown]
    changed = [name for name in trained if shown[name] != description.fingerprints.get(name)]
    if changed or not trained:
        what = f"part {changed[0]!r} is not the one" if changed else "it has none of the parts"
        raise InputError(
            f"Cannot show run {run} with {catalog.name}: {what} that the run was trained on. Pass the store of the run."
        )
    rows = read_out_of_fold(run)
    decision = read_decision(run, description.classes, description.config.n_models)
    if rows.parts is not None:
        return decision, rows, find_samples(catalog, rows.keys)
    of_ids = {
        name: index
        for index, (name, part) in enumerate(zip(catalog.ids, catalog.parts.tolist(), strict=True))
        if catalog.part_names[part] in trained and index not in catalog.transforms
    }
    return decision, rows, np.array([of_ids.get(name, -1) for name in rows.ids], np.int64)


def find_samples(catalog: Catalog, keys: Sequence[tuple[str, str]]) -> npt.NDArray[np.int64]:
    """Find the index of each sample, int64 (M,), by part and id; -1 if it is not in the catalog."""
    names = catalog.part_names
    known = {
        (names[part], name): index
        for index, (part, name) in enumerate(zip(catalog.parts.tolist(), catalog.ids, strict=True))
    }
    return np.array([known.get(key, -1) for key in keys], np.int64)


def read_vectors(path: Path, catalog: Catalog) -> tuple[Vectors, "Embeddings"]:
    """Read a file of `hpa embed`; InputError if it is not of these samples and classes."""
    from hpa_model.predict.embeddings import read_embeddings
    from hpa_model.predict.similar import scale_vectors

    found = read_embeddings(path)
    if found.classes != catalog.dataset.classes:
        raise InputError(
            f"embeddings must be of the classes of the store. Received: {path}, with {len(found.classes)} classes, for "
            f"{len(catalog.dataset.classes)} of {catalog.name}. Pass the file of this store."
        )
    samples = find_samples(catalog, list(zip(found.parts, found.ids, strict=True)))
    kept = np.flatnonzero(samples >= 0)
    if not len(kept):
        raise InputError(
            f"embeddings must be of samples of the store. Received: {path}, with none of the samples that are shown. "
            "Pass the file that `hpa embed` wrote of it."
        )
    rows = np.full(len(catalog), -1, np.int64)
    rows[samples[kept]] = np.arange(len(kept))
    vectors = Vectors(name=path.name, scaled=scale_vectors(found.vectors[kept]), samples=samples[kept], rows=rows)
    return vectors, found


def place_metadata(catalog: Catalog, embedded: "Embeddings") -> dict[str, list[str]]:
    """Return the columns of a file for the samples of a catalog; empty texts for samples that the file lacks."""
    samples = find_samples(catalog, list(zip(embedded.parts, embedded.ids, strict=True)))
    columns = {name: [""] * len(catalog) for name in embedded.metadata}
    for name, values in embedded.metadata.items():
        for sample, value in zip(samples.tolist(), values, strict=True):
            if sample >= 0:
                columns[name][sample] = value
    return columns
