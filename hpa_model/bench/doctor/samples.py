"""Reading some samples of a store: whether their checksums are right, and how fast they come."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.part import Part

# Of each part: without a damaged one among them, fewer than 1.5 % of all are, with 95 % certainty.
N_CHECKED = 200
# For all parts together.
CHECK_S = 3.0
# For batches. They say how fast the page cache and the decoder are to a tenth.
RATE_S, BATCH_SIZE = 1.0, 16


@dataclass(frozen=True, kw_only=True)
class SampleCheck:
    """What reading a random sample of a part's samples found."""

    good: list[int] = field(default_factory=list)
    """Rows that are as they were written."""

    reasons: list[str] = field(default_factory=list)
    """What reading each of the others said."""


def check_samples(part: Part, *, seconds: float) -> SampleCheck:
    """Compare a random sample of the samples of a part with their checksums, as many as fit into a time.

    Which ones depends on the part alone, so that what is found is found again.
    """
    rows = np.flatnonzero(is_readable(part.read_status()))
    chosen = np.random.default_rng(0).permutation(rows)[:N_CHECKED].tolist()
    check = SampleCheck()
    ends_at = time.perf_counter() + seconds
    with Reader([part.reader_spec()], threads=1, verify="always") as reader:
        for row in chosen:
            try:
                reader.read_one(row)
                check.good.append(row)
            except InputError as error:
                check.reasons.append(str(error))
            if time.perf_counter() > ends_at:
                break
    return check


def measure_rate(part: Part, rows: Sequence[int]) -> float | None:
    """Return how many samples per second come in batches, in random order, out of these; None if none does.

    They should have been read before: then they come from the page cache.
    """
    if not rows:
        return None
    n_read = 0
    with Reader([part.reader_spec()], verify="never") as reader:
        sampler = BatchSampler(rows, min(BATCH_SIZE, len(rows)))
        try:
            batches = iter_batches(reader, sampler)
            next(batches)  # opens files, and starts threads
            began = time.perf_counter()
            for batch in batches:
                n_read += len(batch.images)
                del batch
                if time.perf_counter() - began > RATE_S:
                    break
        except InputError:
            return None
    return n_read / (time.perf_counter() - began)
