"""What a data set is made of: how often and with what each class occurs, and how bright the channels are."""

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
    """What the parts of a store are made of.

    Attributes
    ----------
    store : Path
    parts : tuple of str
        That were measured, in this order.
    labels : LabelStatistics or None
        Over all parts of labelled originals together, beside all parts of copies; None without labelled originals.
    intensities : tuple of IntensityStatistics
        One for each part with a readable sample; empty if pixels were not to be read.
    n_left_out : int
        Samples that count nowhere, because they failed or are not yet converted.
    """

    store: Path | str
    parts: tuple[str, ...]
    labels: LabelStatistics | None
    intensities: tuple[IntensityStatistics, ...]
    n_left_out: int


def measure_store(
    store: Store,
    parts: Sequence[str] | None = None,
    *,
    pixels: bool = True,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> StoreStatistics:
    """Measure labels and gray levels of a store's readable samples.

    Parameters
    ----------
    store : Store
    parts : sequence of str, optional
        By default all.
    pixels : bool
        Whether to read the images.
    threads, progress
        See `measure_intensities`; the plan is that of all parts together.

    Returns
    -------
    StoreStatistics

    Raises
    ------
    InputError
        If the store has no such part, none of its samples is readable, the parts have different classes, or there are
        neither labels nor pixels to measure.
    """
    names = store.parts() if parts is None else list(parts)
    repeated = first_duplicate(names)
    if repeated is not None or not names:
        raise InputError(
            f"parts must be named once each. Received: {repeated + ' twice' if repeated else 'none'}; {store.location} "
            f"has {', '.join(store.parts()) or 'none'}. Name parts of the store."
        )
    opened = [store.part(name) for name in names]
    readable = {part.name: is_readable(part.read_status()) for part in opened}
    n_readable = {name: int(rows.sum()) for name, rows in readable.items()}
    if not any(n_readable.values()):
        raise InputError(
            f"A store to measure must have a readable sample. Received: {store.location}, parts={names}, without. "
            "Convert it again."
        )
    labels = _measure_parts(opened, readable)
    if labels is None and not pixels:
        raise InputError(
            f"Without pixels, a part must have labels to measure. Received: {store.location}, parts={names}, without. "
            "Name originals with labels, or measure pixels."
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


def _measure_parts(parts: Sequence[Part], readable: dict[str, npt.NDArray[np.bool_]]) -> LabelStatistics | None:
    """Measure the labels of parts together, originals and copies apart; None without a labelled original."""
    originals: list[npt.NDArray[np.uint8]] = []
    copies: list[npt.NDArray[np.uint8]] = []
    classes: dict[tuple[str, ...], str] = {}
    for part in parts:
        if part.labels is not None:
            is_copied = part.copies is not None
            (copies if is_copied else originals).append(part.labels[readable[part.name]])
            classes.setdefault(part.manifest.classes, part.name)
    if len(classes) > 1:
        raise InputError(
            "Parts measured together must have the same classes. Received: others in part "
            f"{' than in part '.join(map(repr, classes.values()))}. Measure them one after the other."
        )
    if not sum(map(len, originals)):
        return None
    return label_statistics(
        np.concatenate(originals), np.concatenate(copies) if copies else None, classes=next(iter(classes))
    )
