"""What the samples of a part were made from: image files, or the parents of copies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.augment.copy_task import copy_function, list_copy_tasks
from hpa_data.convert.understand import count_again
from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.sources.naming import SampleFiles, find_samples
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from hpa_data.store.part import Part
from hpa_data.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the samples of a part were made from."""

    items: Sequence[Any]
    """What to read each of the N samples from."""
    read: Callable[[Any], Sample]
    """Reads an item; raises InputError if it cannot."""
    exists: npt.NDArray[np.bool_]
    """Bool (N,): whether there is anything of the sample."""
    on_repaired: Callable[[Part], None] = lambda part: None
    """Called after samples of the part were written again."""


def find_source(store: Store, part: Part, source: str | Path | None, *, repair: bool) -> Source | None:
    """Find what the samples of a part were made from; None if it is not asked for."""
    if part.copies is not None:
        if source is not None and not (Path(source).is_dir() and Path(source).samefile(store.path)):
            raise InputError(
                f"source must be the store itself for a part of augmented copies. Received: source={source} for part "
                f"{part.name!r}. Pass --source {store.path}."
            )
        if source is None and not repair:
            return None
        tasks = list_copy_tasks(store, part)
        return Source(items=tasks, read=copy_function(store.path), exists=np.ones(len(tasks), np.bool_))
    if source is None:
        return None
    options, dataset = ImportOptions.decode(part.manifest.settings), part.manifest.dataset
    by_id = {sample.id: sample for sample in find_samples(source, options, dataset)}
    no_planes = (None,) * len(dataset.channels)
    files = [by_id.get(name) or SampleFiles(name, no_planes, "the source has no file of it") for name in part.ids]
    exists = np.array([any(plane is not None for plane in sample.planes) for sample in files])
    return Source(
        items=files,
        read=partial(read_sample, options=options, dataset=dataset),
        exists=exists,
        on_repaired=partial(count_again, samples=files, options=options),
    )
