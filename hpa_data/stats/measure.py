"""Statistics of a store: class counts, correlations of classes, and channel intensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.stats.intensities import IntensityStatistics, measure_intensities
from hpa_data.stats.labels import LabelStatistics, label_statistics
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import first_duplicate


@dataclass(frozen=True, kw_only=True)
class StoreStatistics:
    """Statistics of the labels and gray levels of a store's parts."""

    store: Path | str
    parts: tuple[str, ...]
    """The measured parts, in this order."""
    labels: LabelStatistics | None
    """Over all parts of labeled originals together, and all parts of copies; None without labeled originals."""
    intensities: tuple[IntensityStatistics, ...]
    """One per part with a readable sample; empty if images were not read."""
    n_left_out: int
    """Samples that are not measured, because they failed or are not yet converted."""


def measure_store(
    store: Store,
    parts: Sequence[str] | None = None,
    *,
    pixels: bool = True,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> StoreStatistics:
    """Compute the statistics of a store's readable samples.

    Parameters
    ----------
    store : Store
    parts : sequence of str, optional
        By default all.
    pixels : bool
        Whether to read the images, for channel intensities.
    threads, progress
        See `measure_intensities`; `progress` counts the samples of all parts.

    Raises
    ------
    InputError
        If the store has no such part or no readable sample, the parts have different classes, or `pixels` is False and
        there are no labels.
    """
    names = store.parts() if parts is None else list(parts)
    repeated = first_duplicate(names)
    if repeated is not None or not names:
        raise InputError(
            f"parts must be given, and each once. Received: {repeated + ' twice' if repeated else 'none'}. Choose from "
            f"those of {store.location}: {', '.join(store.parts()) or 'none'}."
        )
    opened = [store.part(name) for name in names]
    readable = {part.name: is_readable(part.read_status()) for part in opened}
    n_readable = {name: int(rows.sum()) for name, rows in readable.items()}
    if not any(n_readable.values()):
        raise InputError(
            f"Cannot measure {store.location}: no sample of {', '.join(names)} is readable. Convert it again."
        )
    labels = _measure_labels(opened, readable)
    if labels is None and not pixels:
        raise InputError(
            f"Cannot measure labels of {store.location}: no original in {', '.join(names)} has any. Name a part of "
            "originals with labels, or omit --no-intensities."
        )
    intensities = []
    if pixels:
        progress.start(sum(n_readable.values()))
        intensities = [
            measure_intensities(store, name, threads=threads, progress=progress.part())
            for name in names
            if n_readable[name]
        ]
    return StoreStatistics(
        store=store.location,
        parts=tuple(names),
        labels=labels,
        intensities=tuple(intensities),
        n_left_out=sum(len(rows) - int(rows.sum()) for rows in readable.values()),
    )


def _measure_labels(parts: Sequence[Part], readable: dict[str, npt.NDArray[np.bool_]]) -> LabelStatistics | None:
    """Count the labels of all parts, originals and copies separately; None without a labeled original."""
    originals: list[npt.NDArray[np.uint8]] = []
    copies: list[npt.NDArray[np.uint8]] = []
    classes: dict[tuple[str, ...], str] = {}
    for part in parts:
        if part.labels is not None:
            rows = originals if part.copies is None else copies
            rows.append(part.labels[readable[part.name]])
            classes.setdefault(part.manifest.classes, part.name)
    if len(classes) > 1:
        raise InputError(
            f"Cannot measure parts {' and '.join(classes.values())} together: they have different classes. Measure "
            "one after the other."
        )
    if not sum(map(len, originals)):
        return None
    return label_statistics(
        np.concatenate(originals), np.concatenate(copies) if copies else None, classes=next(iter(classes))
    )
