"""Joining image files with a label table into a part of a store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.images import SampleFiles, find_samples, read_sample
from hpa_data.layout import ShardTask
from hpa_data.schema import LabelTable, Statistics, read_label_table
from hpa_data.store import begin_part, open_store
from hpa_data.writer import Failure, write_shards


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a conversion did.

    Attributes
    ----------
    store : Path
    part : str
    n_samples : int
        In the part.
    n_ok : int
        Of them, readable.
    unlabelled : tuple of str
        Ids of samples left out because the label table has no row for them.
    failures : tuple of Failure
        Samples of the part that could not be read.
    n_bytes : int
        On disk, the images of the part.
    statistics : Statistics or None
        Channel mean and standard deviation; None if no sample is readable.
    """

    store: Path
    part: str
    n_samples: int
    n_ok: int
    unlabelled: tuple[str, ...]
    failures: tuple[Failure, ...]
    n_bytes: int
    statistics: Statistics | None


def convert_folder(
    source: Path,
    store: Path,
    *,
    labels: Path | None = None,
    part: str = "train",
    codec: str = "lz4hc",
    workers: int | None = None,
    overwrite: bool = False,
    on_plan: Callable[[int], None] | None = None,
    on_shard: Callable[[ShardTask], None] | None = None,
) -> Conversion:
    """Convert a folder of Kaggle's planes into a part of a store.

    Parameters
    ----------
    source : Path
        The folder that holds ``<id>_<channel>.png``.
    store : Path
        The store's folder; made if missing.
    labels : Path, optional
        A label table with the columns ``Id`` and ``Target``. Its rows decide which samples the part holds and in which
        order. Without it, the part has no labels and holds every sample, sorted by id.
    part : str
        Name of the part.
    codec : str
        A name in `shards.CODECS`.
    workers : int, optional
        Threads; by default one a core.
    overwrite : bool
        Delete a part of that name first.
    on_plan : function of int, optional
        Called once with N before anything is read.
    on_shard : function of ShardTask, optional
        Called after each shard, from any thread.

    Returns
    -------
    Conversion

    Raises
    ------
    InputError
        If the source, the table or the store cannot be used. Nothing is written then.
    """
    found = find_samples(source)
    table = read_label_table(labels) if labels is not None else None
    samples, rows, unlabelled = _join(found, table, source, labels)
    begun = begin_part(
        store,
        part,
        ids=[sample.id for sample in samples],
        labels=rows,
        settings={"source": "kaggle"},
        codec=codec,
        overwrite=overwrite,
    )
    if on_plan is not None:
        on_plan(len(samples))
    failures = write_shards(begun, lambda index: read_sample(samples[index]), workers=workers, on_shard=on_shard)
    return Conversion(
        store=store,
        part=part,
        n_samples=len(samples),
        n_ok=begun.count_readable(),
        unlabelled=unlabelled,
        failures=tuple(failures),
        n_bytes=begun.count_bytes(),
        statistics=open_store(store).part(part).manifest.statistics,
    )


def _join(
    found: Sequence[SampleFiles], table: LabelTable | None, source: Path, labels: Path | None
) -> tuple[list[SampleFiles], npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    """Pair samples with the rows of a label table.

    Returns the samples in the order of the part, their labels (N, K), and the ids that have files but no row.
    """
    if table is None:
        return list(found), None, ()
    by_id = {sample.id: sample for sample in found}
    absent = [name for name in table.ids if name not in by_id]
    if absent:
        raise InputError(
            f"Each id of the label table must have files. Received: {absent[0]!r} in {labels} and {len(absent) - 1} "
            f"more without any in {source}. Fetch the files, or take the rows out."
        )
    if not table.ids:
        raise InputError(f"A label table must have rows. Received: {labels} with none. Pass another table.")
    known = set(table.ids)
    unlabelled = tuple(sample.id for sample in found if sample.id not in known)
    return [by_id[name] for name in table.ids], table.labels, unlabelled
