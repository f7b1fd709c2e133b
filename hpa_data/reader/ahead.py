"""Telling a reader which samples follow those that were requested, so that it can read them ahead."""

import math
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


class Ahead(Protocol):
    """What a reader reads ahead for one iteration over batches."""

    @property
    def n_samples(self) -> int:
        """How many of the samples that follow those requested it wants to know now."""
        ...

    def expect(self, samples: npt.NDArray[np.int64]) -> None:
        """Take note that these samples, int64 (M,), are requested after those that it knows of."""
        ...


@runtime_checkable
class AheadReader(Protocol):
    """A reader that may read ahead."""

    def look_ahead(self) -> Ahead | None:
        """Begin to read ahead for one iteration; None if nothing would be gained."""
        ...


class Indices(Protocol):
    """The samples of each batch, see `BatchSampler`."""

    n_steps: int

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of a batch by its global step."""
        ...


class Announcer:
    """Tells a reader what is requested next, as far ahead as it wants to know, and at most an epoch.

    Parameters
    ----------
    reader : AheadReader or another
        Others are told nothing.
    sampler : BatchSampler
    end : int, optional
        Global step to stop before.
    """

    def __init__(self, reader: object, sampler: Indices, *, end: int | None = None) -> None:
        self._ahead = reader.look_ahead() if isinstance(reader, AheadReader) else None
        self._sampler = sampler
        self._end = math.inf if end is None else end
        self._step, self._next = -1, 0
        self._n_ahead: dict[int, int] = {}  # samples of the steps that were told and not yet requested

    def tell(self, step: int) -> None:
        """Tell what follows the batch of a step, which has been requested; steps may begin anew."""
        if self._ahead is None:
            return
        if not self._step < step <= self._next:
            self._next = step + 1
            self._n_ahead.clear()
        self._n_ahead.pop(step, None)
        self._step, self._next = step, max(self._next, step + 1)
        end = min(self._end, step + 1 + self._sampler.n_steps)
        while self._next < end and sum(self._n_ahead.values()) < self._ahead.n_samples:
            samples = self._sampler.indices(self._next)
            self._ahead.expect(samples)
            self._n_ahead[self._next] = len(samples)
            self._next += 1
