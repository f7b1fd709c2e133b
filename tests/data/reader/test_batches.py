"""The indices of each batch, and batches as NumPy arrays."""

import contextlib
import gc
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpa_data.reader.batches import draw_orientations, iter_batches, make_ahead
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store, open_store


@settings(deadline=None, max_examples=60)
@given(
    n_samples=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    shuffle=st.booleans(),
    unit=st.sampled_from(("one", "some", "batch")),
    seed=st.integers(0, 3),
)
def test_each_epoch_holds_each_index_once(n_samples: int, batch_size: int, shuffle: bool, unit: str, seed: int) -> None:
    least = {"one": 1, "some": next(d for d in (3, 2, 1) if batch_size % d == 0), "batch": batch_size}[unit]
    assume(n_samples >= least)
    choice = {"drop_last": True} if unit == "batch" else {"divisible_by": least}
    sampler = BatchSampler(np.arange(n_samples) + 7, batch_size, shuffle=shuffle, seed=seed, **choice)  # type: ignore[arg-type]
    for epoch in range(3):
        batches = [sampler.indices(epoch * sampler.n_steps + step) for step in range(sampler.n_steps)]
        seen = np.concatenate(batches)
        assert len(set(seen.tolist())) == len(seen)
        assert set(seen.tolist()) <= set(range(7, n_samples + 7))
        assert len(seen) == n_samples - n_samples % least
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (sampler.n_steps - 1)
        assert all(len(batch) % least == 0 for batch in batches)


@settings(deadline=None, max_examples=60)
@given(
    n_samples=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    min_last=st.integers(1, 6),
    divisible_by=st.integers(1, 3),
    seed=st.integers(0, 3),
)
def test_a_small_last_batch_joins_the_one_before_it(
    n_samples: int, batch_size: int, min_last: int, divisible_by: int, seed: int
) -> None:
    assume(batch_size % divisible_by == 0 and n_samples >= divisible_by)
    sampler = BatchSampler(
        np.arange(n_samples), batch_size, seed=seed, divisible_by=divisible_by, min_last=min_last * divisible_by
    )
    for epoch in range(2):
        batches = [sampler.indices(epoch * sampler.n_steps + step) for step in range(sampler.n_steps)]
        assert (
            len({*np.concatenate(batches).tolist()}) == sum(map(len, batches)) == n_samples - n_samples % divisible_by
        )
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (sampler.n_steps - 1)
        assert len(batches[-1]) < batch_size + min_last * divisible_by
        if sampler.n_steps > 1:
            assert len(batches[-1]) >= min(min_last * divisible_by, batch_size)
        assert len(batches[-1]) % divisible_by == 0


@pytest.mark.parametrize("indices", [[], [True, False], [0.5], [[1]]])
def test_indices_that_are_not_a_sequence_of_integers_are_refused(indices: list[object]) -> None:
    with pytest.raises(ValueError, match="indices must be a sequence of at least one integer"):
        BatchSampler(indices, 4)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0])
def test_a_batch_size_below_one_is_refused(batch_size: int) -> None:
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1"):
        BatchSampler([1], batch_size)


def test_an_epoch_without_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="indices must fill at least one batch"):
        BatchSampler([1, 2], 3, drop_last=True)
    with pytest.raises(ValueError, match="indices must fill at least one batch"):
        BatchSampler([1], 4, divisible_by=2)
    with pytest.raises(ValueError, match="must be divisible by 2. Received: batch_size=3"):
        BatchSampler([1, 2], 3, divisible_by=2)


@settings(deadline=None, max_examples=25)
@given(epoch=st.integers(0, 2), step=st.integers(0, 3), prefetch=st.integers(0, 3))
def test_a_resumed_iteration_delivers_what_an_uninterrupted_one_would(
    store: Store, epoch: int, step: int, prefetch: int
) -> None:
    with store.reader(threads=2) as reader:
        sampler = BatchSampler(np.arange(1, 12), 4, seed=3)
        whole = [
            (batch.images.copy(), batch.labels, batch.indices) for batch in iter_batches(reader, sampler, epochs=3)
        ]
        assert len(whole) == 9
        rest = whole[sampler.global_step(epoch, min(step, 3)) :]
        n_seen = 0
        for batch in iter_batches(reader, sampler, epochs=3, resume_at=(epoch, min(step, 3)), prefetch=prefetch):
            for one, other in zip(batch, rest[n_seen], strict=True):
                assert np.array_equal(one, other)
            n_seen += 1
        assert n_seen == len(rest)


@pytest.mark.parametrize("resume_at", [(-1, 0), (0, -1), (0, 4)])
def test_resuming_at_a_step_that_does_not_exist_is_refused(store: Store, resume_at: tuple[int, int]) -> None:
    with store.reader() as reader, pytest.raises(ValueError, match="resume_at must be an epoch, at least 0"):
        next(iter_batches(reader, BatchSampler(np.arange(12), 4), resume_at=resume_at))


def test_images_come_with_their_own_labels_and_indices(store: Store) -> None:
    with store.reader() as reader:
        assert reader.labels is not None
        for batch in iter_batches(reader, BatchSampler(np.arange(12), 5, seed=1), epochs=2):
            assert batch.labels is not None
            assert (batch.images == reader.read(batch.indices)).all()
            assert (batch.labels == reader.labels[batch.indices]).all()
            assert batch.labels.dtype == np.float32


def test_without_a_number_of_epochs_iteration_never_ends(store: Store) -> None:
    with store.reader(["test"]) as reader:
        batches = iter_batches(reader, BatchSampler([0, 1, 2], 2))
        assert sum(len(next(batches).images) for _ in range(50)) == 75


def test_the_memory_of_batches_is_reused(store: Store) -> None:
    with store.reader() as reader:
        addresses = Counter(
            batch.images.ctypes.data
            for batch in iter_batches(reader, BatchSampler(np.arange(12), 4), epochs=20, prefetch=1)
        )
        gc.collect()
        assert len(addresses) <= 3


@pytest.mark.parametrize("threads", [2, 8])
def test_any_number_of_threads_gives_the_same_batches(store: Store, threads: int) -> None:
    with store.reader(threads=1) as one, store.reader(threads=threads) as many:
        sampler = BatchSampler(np.arange(12), 5, seed=9)
        for first, other in zip(
            iter_batches(one, sampler, epochs=3), iter_batches(many, sampler, epochs=3), strict=True
        ):
            assert (first.indices == other.indices).all()
            assert (first.images == other.images).all()


def test_orientations_are_a_function_of_seed_epoch_and_index_and_equally_likely() -> None:
    indices = np.arange(80_000)
    drawn = draw_orientations(indices, seed=1, epoch=2)
    assert drawn.dtype == np.uint8
    counts = np.bincount(drawn, minlength=8)
    assert len(counts) == 8
    assert np.abs(counts / 10_000 - 1).max() < 0.05  # five standard deviations are 0.047
    shuffled = np.random.default_rng(0).permutation(indices)
    assert (draw_orientations(shuffled, seed=1, epoch=2) == drawn[shuffled]).all()
    for seed, epoch in ((1, 3), (2, 2)):
        assert 0.1 < (draw_orientations(indices, seed=seed, epoch=epoch) == drawn).mean() < 0.15


def test_batches_come_from_several_parts_and_from_a_store_opened_by_name(store: Store) -> None:
    with open_store(str(store.path)).reader(["train", "test"]) as reader:
        (batch,) = iter_batches(reader, BatchSampler([14, 0], 2, shuffle=False), epochs=1)
        assert batch.labels is None
        assert batch.indices.tolist() == [14, 0]


@given(n_values=st.integers(0, 6), n_ahead=st.integers(0, 8), fails=st.booleans())
def test_values_are_made_ahead_and_an_error_waits_for_those_before_it(n_values: int, n_ahead: int, fails: bool) -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for value in range(n_values):
            made.append(value)
            yield value
        if fails:
            raise OSError("a fault")

    seen = []
    with pytest.raises(OSError, match="a fault") if fails else contextlib.nullcontext():
        for value in make_ahead(make(), n_ahead):
            seen.append(value)
            assert len(made) == min(len(seen) + n_ahead, n_values)
    assert seen == list(range(n_values))
