"""Choose the samples to write again, and write them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hpa_data.store.opening import seal_part
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import Progress
from hpa_data.verify.findings import Finding, State
from hpa_data.verify.samples import check_part
from hpa_data.verify.sealing import SealCheck, check_seal, restore_statistics
from hpa_data.verify.source import Source


def choose_repairs(
    findings: Sequence[Finding], source: Source, sealed: SealCheck, shard_samples: int
) -> npt.NDArray[np.bool_]:
    """Choose the samples to write again, bool (N,).

    A sample that is good in the store but unreadable in its source stays. A lost one is tried in any case, so that at
    least its failure is recorded. Where the metadata of a shard are damaged, all of its samples are written again, or
    none: what is kept would be sealed. A failed one has nothing to lose then.
    """
    states = np.array([finding.state for finding in findings])
    is_lost = np.isin(states, [State.MISSING, State.CORRUPT, State.DIFFERS])
    rows: npt.NDArray[np.bool_] = is_lost | ((states == State.FAILED) & source.exists)
    for shard in sealed.shards:
        members = slice(shard * shard_samples, (shard + 1) * shard_samples)
        rows[members] = (rows | (states == State.FAILED))[members].all()
    return rows


def repair_part(
    store: Store, part: Part, source: Source, rows: npt.NDArray[np.bool_], *, threads: int | None, progress: Progress
) -> tuple[SealCheck, dict[str, Finding]]:
    """Write samples again, bool (N,); return what a second check finds: of the seal, and in their shards by id."""
    restore_statistics(part)
    part.storage.remove_partial(part.name)
    progress.start(int(rows.sum()))
    workers = Parallelism(threads=threads)
    write_shards(part, source.items, source.read, rewrite=rows, workers=workers, progress=progress.part())
    if rows.any():
        source.on_repaired(store.part(part.name, compares_seal=False))
    part = store.part(part.name, compares_seal=False)
    sealed = check_seal(part)
    if not sealed.shards:  # or nothing is sealed yet of those that could not be repaired
        seal_part(part)
        sealed = check_seal(part)
    part = replace(part, lost=sealed.damaged)
    shards = np.unique(np.flatnonzero(rows) // part.layout.shard_samples).tolist()
    again = check_part(part, source, shards=shards, sealed=sealed, threads=threads, progress=progress)
    return sealed, {finding.id: finding for finding in again}
