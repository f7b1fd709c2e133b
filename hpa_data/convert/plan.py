"""The plan of a conversion: which samples become a part, from the files of a source and a label table."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.convert.match import explain_absent, match_ids
from hpa_data.convert.options import Joining
from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.format.options import DEFAULT_CODEC, CodecName
from hpa_data.sources.mapping import map_channels
from hpa_data.sources.measure import find_native_size
from hpa_data.sources.members import PassedOver
from hpa_data.sources.naming import SampleFiles, missing_channels, search_source
from hpa_data.sources.options import ImportOptions
from hpa_data.store.create import PartPlan
from hpa_data.store.storage import Storage, open_storage
from hpa_data.store.store import open_store
from hpa_data.system.memory import pause_collection
from hpa_data.system.records import list_absent
from hpa_data.tables import LabelCounts, LabelTable, TableOptions, count_labels, read_label_table


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

    missing_files: tuple[str, ...] = ()
    """Ids of the label table that the source has no files for."""

    matched: Mapping[str, str] = field(default_factory=dict)
    """Ids of the label table that are not equal to those of their samples, each with what differs."""

    label_counts: LabelCounts | None = None
    """Classes of the samples; None without a label table."""

    channel_sources: Mapping[str, str] = field(default_factory=dict)
    """By channel, the file or plane that it comes from, in words."""

    passed_over: tuple[PassedOver, ...] = ()
    """Files of the source that belong to no sample."""

    def list_paths(self) -> list[str]:
        """List what every worker must see: the source or its archive, and the folder that holds the store."""
        paths = [self.root, self.part.path]
        return [str(next(parent for parent in (path, *path.parents) if parent.exists())) for path in paths]


@pause_collection()
def plan_conversion(
    source: str | Path,
    store: str | Path,
    *,
    labels: str | Path | None = None,
    part: str = "train",
    settings: ImportOptions | None = None,
    dataset: Dataset = HPA_2018,
    table_options: TableOptions | None = None,
    joining: Joining | None = None,
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
    joining : Joining, optional
        Which samples the rows of the table mean.
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
    searched = search_source(source, settings, dataset)
    found = list(searched.samples)
    skipped: tuple[str, ...] = ()
    if settings.missing == "skip":
        skipped = tuple(sample.id for sample in found if missing_channels(sample, dataset))
        found = [sample for sample in found if not missing_channels(sample, dataset)]
    joined = _Joined(samples=list(found), labels=None)
    if table is not None and labels is not None:
        joined = _join(
            found, table, skipped, joining or Joining(), dataset, what=f"Cannot convert {source}", labels=labels
        )
    samples = joined.samples
    if not samples:
        raise InputError(
            f"Cannot convert {source}: each of its {len(skipped)} samples lacks a channel. Pass --missing fill."
        )
    if settings.native:
        dataset = dataset.resized(*(native_size or find_native_size(samples, settings)))
    mapping = map_channels(samples, settings, dataset)
    if native_size is None:  # a part that exists keeps those that it has
        settings = replace(settings, expected_names=mapping.expected_names)
    planned = PartPlan(
        path=Path(os.path.abspath(store)),
        name=part,
        ids=tuple(sample.id for sample in samples),
        labels=joined.labels,
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
        unlabeled=joined.unlabeled,
        skipped=skipped,
        missing_files=joined.missing_files,
        matched=joined.matched,
        label_counts=joined.label_counts,
        channel_sources=mapping.described,
        passed_over=searched.passed_over,
    )


def _adopt(settings: ImportOptions, storage: Storage, part: str) -> tuple[ImportOptions, tuple[int, int] | None]:
    """Return settings with what an existing part has: its rules, windows, expected names and native size.

    Its pixels must stay equal, whatever became of its files. None for the size if there is no part.
    """
    # What cannot be opened is an error when the part is written.
    with contextlib.suppress(InputError):
        if storage.exists(f"{part}/zarr.json"):
            manifest = open_store(storage).part(part).manifest
            height, width, _ = manifest.dataset.image_shape
            existing = ImportOptions.decode(manifest.settings)
            # Those of another scaling are refused when the part is written.
            windows = existing.windows if settings.windows is None else settings.windows
            settings = replace(settings, rules=existing.rules, windows=windows, expected_names=existing.expected_names)
            return settings, (height, width)
    return settings, None


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """The samples of a part, and what was left out."""

    samples: list[SampleFiles]
    labels: npt.NDArray[np.uint8] | None
    unlabeled: tuple[str, ...] = ()
    missing_files: tuple[str, ...] = ()
    matched: Mapping[str, str] = field(default_factory=dict)
    label_counts: LabelCounts | None = None


def _join(
    found: Sequence[SampleFiles],
    table: LabelTable,
    skipped: Sequence[str],
    joining: Joining,
    dataset: Dataset,
    *,
    what: str,
    labels: str | Path,
) -> _Joined:
    """Pair the samples with the rows of a label table."""
    if not table.ids:
        raise InputError(f"{what}: the label table {labels} has no rows. Pass another table.")
    by_id = {sample.id: sample for sample in found}
    ids = [*by_id, *skipped]
    matches = match_ids(table.ids, ids, joining.id_match, dataset.channel_names)
    if matches.absent and not (joining.allow_missing_files and matches.by_id):
        hint, remedy = explain_absent(matches, table.ids, ids, dataset.channel_names)
        n_more = len(matches.absent) - 1
        raise InputError(
            f"{what}: it has no files for {matches.absent[0]!r}{f' and {n_more} more ids' * bool(n_more)} of {labels}. "
            f"{hint}{' ' * bool(hint)}{remedy}."
        )
    rows = [row for row, name in enumerate(table.ids) if matches.by_id.get(name) in by_id]
    known = set(matches.by_id.values())
    return _Joined(
        samples=[by_id[matches.by_id[table.ids[row]]] for row in rows],
        labels=table.labels[rows],
        unlabeled=tuple(sample.id for sample in found if sample.id not in known),
        missing_files=matches.absent,
        matched=matches.loose,
        label_counts=count_labels(table, rows),
    )
