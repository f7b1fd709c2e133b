"""What a reader is told of the samples to come."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.reader.ahead import Announcer
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store


class Listener:
    """A reader that wants to know so many samples."""

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples
        self.told: list[int] = []

    def look_ahead(self) -> "Listener":
        return self

    def expect(self, samples: npt.NDArray[np.int64]) -> None:
        self.told += samples.tolist()


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 30),
    batch_size=st.integers(1, 8),
    wanted=st.integers(1, 80),
    first=st.integers(0, 20),
    more=st.integers(0, 40),
)
def test_a_reader_is_told_in_their_order_the_samples_that_follow_and_no_more_than_it_wants(
    n: int, batch_size: int, wanted: int, first: int, more: int
) -> None:
    sampler, listener = BatchSampler(np.arange(n), batch_size, seed=3), Listener(wanted)
    end = first + more
    announcer = Announcer(listener, sampler, end=end)
    following = [index for step in range(first + 1, end) for index in sampler.indices(step).tolist()]
    n_requested = 0
    for step in range(first, end):
        n_requested += 0 if step == first else len(sampler.indices(step))
        announcer.tell(step)
        assert listener.told == following[: len(listener.told)]
        n_ahead = len(listener.told) - n_requested
        assert n_ahead >= min(wanted, n - batch_size, len(following) - n_requested)
        assert n_ahead < wanted + batch_size or n_ahead == 0


def test_a_reader_is_told_anew_when_an_iteration_begins_anew() -> None:
    sampler, listener = BatchSampler(np.arange(40), 4, shuffle=False), Listener(8)
    announcer = Announcer(listener, sampler)
    for step in (0, 1, 0):
        announcer.tell(step)
    assert listener.told == [*range(4, 16), *range(4, 12)]


def test_a_reader_that_does_not_read_ahead_is_told_nothing() -> None:
    Announcer(object(), BatchSampler(np.arange(40), 4)).tell(0)


def test_a_reader_is_told_of_a_pass_whether_it_reads_ahead_or_not(store: Store, oracle: np.ndarray) -> None:
    with store.reader() as reader:
        reader.expect(np.arange(12))
        assert (reader.read([3]) == oracle[[3]]).all()
        with pytest.raises(IndexError, match="indices must be from 0 to 11"):
            reader.expect([12])


def test_a_reader_of_a_local_store_reads_the_same_batches(store: Store, oracle: np.ndarray) -> None:
    with store.reader(cache_bytes=2**20) as reader:
        for batch in iter_batches(reader, BatchSampler(np.arange(12), 5), epochs=2):
            assert (batch.images == oracle[batch.indices]).all()
