"""What the page is told about the store, and about a sample, as values that JSON has."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpa_data.augment.transform import describe_transform
from hpa_data.dataset import FAILED, FILLED, OK, PENDING
from hpa_model.browse.catalog import EMBEDDED, MAX_VALUES, NOWHERE, Catalog, list_values

STATUS = {PENDING: "pending", OK: "ok", FAILED: "failed", FILLED: "filled"}
N_NEIGHBORS, MAX_COPIES = 12, 60


def describe_catalog(catalog: Catalog, samples: Sequence[int] | None = None) -> dict[str, Any]:
    """Describe what the page needs before its first sample; with indices of samples, a page of these alone."""
    rows = np.arange(len(catalog)) if samples is None else np.array(samples, np.int64)
    is_judged = catalog.is_judged[rows]
    found = catalog.predictions
    height, width, _ = catalog.dataset.image_shape
    listed = {name: list_values(catalog, name, rows.tolist()) for name in catalog.columns}
    return {
        "name": catalog.name,
        "static": samples is not None,
        "n": len(rows),
        "parts": list(catalog.part_names),
        "channels": [{"name": each.name, "color": each.color} for each in catalog.dataset.channels],
        "classes": list(catalog.dataset.classes),
        "counts": catalog.labels[rows].sum(axis=0).tolist(),
        "height": height,
        "width": width,
        "predicted": None
        if found is None
        else {
            "name": found.name,
            "folds": [fold for fold in np.unique(found.folds).tolist() if fold >= 0],
            "thresholds": found.thresholds.tolist() if found.thresholds is not None else None,
            "apart": found.is_apart,
            "judged": int(is_judged.sum()),
            "right": int((is_judged & catalog.is_right[rows]).sum()),
        },
        "judges": bool(is_judged.any()),
        "neighbors": catalog.vectors is not None,
        "copies": bool(catalog.transforms),
        "unreadable": int(np.isin(catalog.status[rows], (PENDING, FAILED)).sum()),
        "columns": {name: values[:MAX_VALUES] for name, values in listed.items() if values},
        "n_values": {name: len(values) for name, values in listed.items() if values},
    }


def describe_tile(catalog: Catalog, index: int, k: int = -1) -> dict[str, Any]:
    """Describe a sample in a few words; with a class, by its probability."""
    found = catalog.predictions
    has_probs = found is not None and found.origins[index] != NOWHERE
    tile: dict[str, Any] = {
        "i": index,
        "id": catalog.ids[index],
        "part": int(catalog.parts[index]),
        "labels": np.flatnonzero(catalog.labels[index]).tolist() if catalog.is_labeled[index] else None,
        "status": STATUS[int(catalog.status[index])],
        "copy": index in catalog.transforms,
    }
    if found is not None and has_probs:
        tile["predicted"] = np.flatnonzero(found.predicted[index]).tolist()
        tile["p"] = _round(found.probs[index, k] if k >= 0 else found.probs[index].max())
        if catalog.is_judged[index]:
            tile["right"] = bool(catalog.is_right[index])
    return tile


def describe_sample(catalog: Catalog, index: int, *, gains: Sequence[float] = ()) -> dict[str, Any]:
    """Describe all that is known of a sample."""
    found = catalog.predictions
    sample = describe_tile(catalog, index)
    sample["note"] = catalog.notes.get(index, "")
    sample["columns"] = {name: values[index] for name, values in catalog.columns.items() if values[index]}
    sample["gains"] = [_round(gain) for gain in gains]
    if found is not None:
        sample["fold"] = int(found.folds[index])
        sample["probs"] = [_round(p) for p in found.probs[index]] if "p" in sample else None
        sample["embedded"] = bool(found.origins[index] == EMBEDDED)
    if index in catalog.transforms:
        sample["transform"] = describe_transform(catalog.transforms[index], catalog.dataset.channels)
        parent = int(catalog.parents[index])
        sample["parent"] = describe_tile(catalog, parent) if parent >= 0 else None
    family = catalog.find_copies(int(catalog.families[index]))
    siblings = [other for other in family if other != index]
    sample["n_copies"] = len(siblings)
    sample["copies"] = [describe_tile(catalog, other) for other in siblings[:MAX_COPIES]]
    sample["map"] = index in catalog.maps
    sample["neighbors"] = find_neighbors(catalog, index)
    return sample


def find_neighbors(catalog: Catalog, index: int) -> list[dict[str, Any]] | None:
    """List the samples that are most like one by their features, with cosines; None if it has no features."""
    vectors = catalog.vectors
    if vectors is None or vectors.rows[index] < 0:
        return None
    from hpa_model.predict.similar import rank_scaled

    nearest = rank_scaled(vectors.scaled, int(vectors.rows[index]), N_NEIGHBORS)
    return [
        describe_tile(catalog, int(vectors.samples[each.other])) | {"cosine": _round(each.cosine)} for each in nearest
    ]


def _round(value: Any) -> float:
    """Round to as many places as float32 has."""
    return round(float(value), 6)
