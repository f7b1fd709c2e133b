"""The plan of a conversion: which samples become a part, from the files of a source and a label table."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.format.options import DEFAULT_CODEC, CodecName
from hpa_data.sources.measure import find_native_size
from hpa_data.sources.naming import SampleFiles, find_samples, missing_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.store.create import PartPlan
from hpa_data.store.storage import Storage, open_storage
from hpa_data.store.store import open_store
from hpa_data.system.records import list_absent
from hpa_data.tables import LabelTable, TableOptions, read_label_table


@dataclass(frozen=True, kw_only=True)
class ConversionPlan:
    """Which samples become which part."""

    root: Path
    """The source, absolute."""

    part: PartPlan

    samples: tuple[SampleFiles, ...]
    """Of length N, in the order of the part."""

    settings: ImportOptions

    dataset: Dataset
    """Channels, classes and image size of the part."""

    unlabeled: tuple[str, ...]
    """Ids of samples left out because the label table has no row for them."""

    skipped: tuple[str, ...]
    """Ids of samples left out because they lack a channel."""

    def list_paths(self) -> list[str]:
        """List what every worker must see: the source or its archive, and the folder that holds the store."""
        paths = [self.root, self.part.path]
        return [str(next(parent for parent in (path, *path.parents) if parent.exists())) for path in paths]


def plan_conversion(
    source: str | Path,
    store: str | Path,
    *,
    labels: str | Path | None = None,
    part: str = "train",
    settings: ImportOptions | None = None,
    dataset: Dataset = HPA_2018,
    table_options: TableOptions | None = None,
    codec: CodecName = DEFAULT_CODEC,
    overwrite: bool = False,
) -> ConversionPlan:
    """Find the samples of a source and pair them with a label table; nothing is written.

    Parameters
    ----------
    source : str or Path
        A folder, an archive, or a folder inside one.
    store : str or Path
        The store's folder; need not exist.
    labels : str or Path, optional
        A label table; see `tables.read_label_table`. Its rows decide which samples the part holds and in which order.
        Without it, the part has no labels and holds every sample, sorted by id.
    part : str
        Name of the part.
    settings : ImportOptions, optional
        By default those for the files of Kaggle's competition.
    dataset : Dataset
        Channels and classes, and the size that the images are reduced to.
    table_options : TableOptions, optional
        How the label table is read.
    codec : CodecName
        A name in `format.codecs.CODECS`.
    overwrite : bool
        Whether a part of that name is deleted first. Otherwise its rules, windows and native size are those of the
        plan, too.

    Raises
    ------
    InputError
        If the source or the table cannot be used.
    """
    settings = settings or ImportOptions()
    storage = open_storage(store)  # refuses what cannot be written
    settings.check_channels(dataset.channel_names)
    settings, native_size = (settings, None) if overwrite else _adopt(settings, storage, part)
    table = read_label_table(Path(labels), dataset, table_options) if labels is not None else None
    found = find_samples(source, settings, dataset)
    skipped: tuple[str, ...] = ()
    if settings.missing == "skip":
        skipped = tuple(sample.id for sample in found if missing_channels(sample, dataset))
        found = [sample for sample in found if not missing_channels(sample, dataset)]
    samples, rows, unlabeled = _join(found, table, skipped, source, labels)
    if not samples:
        raise InputError(
            f"Cannot convert {source}: each of its {len(skipped)} samples lacks a channel. Pass --missing fill."
        )
    if settings.native:
        dataset = dataset.resized(*(native_size or find_native_size(samples, settings)))
    planned = PartPlan(
        path=Path(os.path.abspath(store)),
        name=part,
        ids=tuple(sample.id for sample in samples),
        labels=rows,
        settings=settings.encode(),
        dataset=dataset,
        absent=list_absent(ImportOptions),
        codec=codec,
    )
    return ConversionPlan(
        root=Path(os.path.abspath(source)),
        part=planned,
        samples=tuple(samples),
        settings=settings,
        dataset=dataset,
        unlabeled=unlabeled,
        skipped=skipped,
    )


def _adopt(settings: ImportOptions, storage: Storage, part: str) -> tuple[ImportOptions, tuple[int, int] | None]:
    """Return settings with what the part has from when it was begun: rules of version 0.1.0, windows, native size.

    Its pixels must stay equal, whatever became of its files. None for the size if there is no part.
    """
    # What cannot be opened is told when the part is written.
    with contextlib.suppress(InputError):
        if storage.exists(f"{part}/zarr.json"):
            manifest = open_store(storage).part(part).manifest
            height, width, _ = manifest.dataset.image_shape
            begun = ImportOptions.decode(manifest.settings)
            # If they belong to another scaling, that is what the user is told about.
            windows = begun.windows if settings.windows is None else settings.windows
            return replace(settings, rules=begun.rules, windows=windows), (height, width)
    return settings, None


def _join(
    found: Sequence[SampleFiles],
    table: LabelTable | None,
    skipped: Sequence[str],
    source: str | Path,
    labels: str | Path | None,
) -> tuple[list[SampleFiles], npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    """Pair the samples with the rows of a label table.

    Returns the samples in the order of the part, their labels (N, K), and the ids that have files but no row.
    """
    if table is None:
        return list(found), None, ()
    if not table.ids:
        raise InputError(f"Cannot convert {source}: the label table {labels} has no rows. Pass another table.")
    by_id = {sample.id: sample for sample in found}
    left_out = set(skipped)
    absent = [name for name in table.ids if name not in by_id and name not in left_out]
    if absent:
        raise InputError(
            f"Cannot convert {source}: it has no files for {absent[0]!r} and {len(absent) - 1} more ids of {labels}. "
            "Add the files, or remove the rows."
        )
    rows = [row for row, name in enumerate(table.ids) if name in by_id]
    known = set(table.ids)
    unlabeled = tuple(sample.id for sample in found if sample.id not in known)
    return [by_id[table.ids[row]] for row in rows], table.labels[rows], unlabeled
