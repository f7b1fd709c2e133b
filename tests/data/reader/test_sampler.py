"""The order of samples over several processes, and its state."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata


def list_batches(sampler: BatchSampler, n_epochs: int) -> list[list[int]]:
    """List the indices of all batches from the start of a sampler to the end of an epoch."""
    return [sampler.indices(step).tolist() for step in range(sampler.first_step(), sampler.global_step(n_epochs, 0))]


def join(shares: list[list[list[int]]]) -> list[list[int]]:
    """Join the shares of each batch, in the order of the ranks."""
    return [list(chain(*parts)) for parts in zip(*shares, strict=True)]


def make_strata(n_samples: int) -> Strata:
    """Make strata of three kinds of samples."""
    return Strata(of=np.arange(n_samples) % 3, shares=np.array([5.0, 1.0, 2.0]))


@settings(deadline=None, max_examples=80)
@given(
    n_samples=st.integers(6, 60),
    batch_size=st.sampled_from((6, 12)),
    world_size=st.sampled_from((1, 2, 3, 6)),
    shuffle=st.booleans(),
    with_strata=st.booleans(),
    divisible=st.booleans(),
    seed=st.integers(0, 3),
)
def test_ranks_share_the_batches_of_one_process_with_equally_many_steps(
    *, n_samples: int, batch_size: int, world_size: int, shuffle: bool, with_strata: bool, divisible: bool, seed: int
) -> None:
    assume(shuffle or not with_strata)
    options = {
        "shuffle": shuffle,
        "seed": seed,
        "divisible_by": 6 if divisible else 1,
        "strata": make_strata(n_samples) if with_strata else None,
    }
    indices = np.arange(n_samples) + 7
    one = BatchSampler(indices, batch_size, min_last=world_size, **options)  # type: ignore[arg-type]
    ranks = [
        BatchSampler(indices, batch_size, rank=rank, world_size=world_size, **options)  # type: ignore[arg-type]
        for rank in range(world_size)
    ]
    assert {rank.n_steps for rank in ranks} == {one.n_steps}
    assert {rank.n_images for rank in ranks} == {one.n_images}
    assert n_samples - one.n_images == (n_samples % 6 if divisible else 0)
    shares = [list_batches(rank, 3) for rank in ranks]
    assert join(shares) == list_batches(one, 3)
    sizes = np.array([[len(batch) for batch in share] for share in shares])
    assert sizes.min() >= 1
    full = np.arange(sizes.shape[1]) % one.n_steps < one.n_steps - 1
    assert (sizes[:, full] == batch_size // world_size).all()
    assert (sizes.max(axis=0) - sizes.min(axis=0)).max() <= (0 if divisible else 1)
    if not with_strata and not divisible:
        for epoch in range(3):
            in_epoch = join(shares)[epoch * one.n_steps : (epoch + 1) * one.n_steps]
            assert sorted(chain(*in_epoch)) == indices.tolist()


@settings(deadline=None, max_examples=120)
@given(
    n_samples=st.integers(6, 60),
    first=st.sampled_from(((12, 1), (12, 2), (6, 3), (5, 5))),
    second=st.sampled_from(((12, 1), (12, 3), (6, 2), (4, 4), (7, 1))),
    with_strata=st.booleans(),
    stopped=st.integers(0, 30),
    rank=st.integers(0, 10),
)
def test_a_run_goes_on_with_another_number_of_processes_and_another_batch_size(
    *, n_samples: int, first: tuple[int, int], second: tuple[int, int], with_strata: bool, stopped: int, rank: int
) -> None:
    strata = make_strata(n_samples) if with_strata else None
    before = BatchSampler(
        np.arange(n_samples), first[0], seed=1, strata=strata, rank=rank % first[1], world_size=first[1]
    )
    state = before.position(stopped)
    delivered = n_samples * state[0] + state[1]
    expected = np.concatenate([before.order(epoch) for epoch in range(state[0] + 2)])[delivered:].tolist()
    ranks = [
        BatchSampler(
            np.arange(n_samples), second[0], seed=1, strata=strata, rank=rank, world_size=second[1], start=state
        )
        for rank in range(second[1])
    ]
    shares = [list_batches(each, state[0] + 2) for each in ranks]
    assert len({len(share) for share in shares}) == 1
    left = n_samples - state[1]
    if left < second[1]:  # fewer images than processes end an epoch
        expected = expected[left:]
    assert list(chain(*join(shares))) == expected


@settings(deadline=None, max_examples=80)
@given(
    n_samples=st.integers(2, 30),
    batch_size=st.sampled_from((2, 4, 6)),
    start=st.tuples(st.integers(0, 2), st.integers(0, 30)),
    step=st.integers(0, 60),
)
def test_steps_count_on_through_epochs_from_any_start(
    n_samples: int, batch_size: int, start: tuple[int, int], step: int
) -> None:
    sampler = BatchSampler(np.arange(n_samples), batch_size, start=(start[0], min(start[1], n_samples)))
    epoch, image = sampler.position(step)
    assert epoch == sampler.epoch_of(step)
    begin = sampler.position(sampler.global_step(epoch, 0))[1] if sampler.steps_in(epoch) else 0
    assert sampler.global_step(epoch, (image - begin) // batch_size) == step
    assert sampler.global_step(epoch + 1, 0) == sampler.global_step(epoch, sampler.steps_in(epoch))
    assert sampler.indices(step).tolist() == sampler.order(epoch)[image : image + len(sampler.indices(step))].tolist()


def test_what_is_drawn_for_an_image_does_not_depend_on_the_number_of_processes() -> None:
    strata = Strata(of=np.arange(24) // 23, shares=np.array([1.0, 3.0]))
    one = BatchSampler(np.arange(24), 12, strata=strata)
    ranks = [BatchSampler(np.arange(24), 12, strata=strata, rank=rank, world_size=3) for rank in range(3)]
    assert np.array_equal(np.concatenate([each.keys(5) for each in ranks]), one.keys(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, r"rank must be from 0 to world_size - 1\. Received: rank=2, world_size=2"),
        ({"rank": -1, "world_size": 2}, "rank must be from 0 to world_size - 1"),
        ({"world_size": 0}, "rank must be from 0 to world_size - 1"),
        ({"world_size": 4}, r"batch_size must be divisible by world_size.*Received: batch_size=6, world_size=4"),
        ({"start": (-1, 0)}, "start must be an epoch, at least 0, and images of it, from 0 to 5"),
        ({"start": (0, 6)}, "start must be an epoch, at least 0, and images of it, from 0 to 5"),
        ({"world_size": 6}, r"indices must fill at least one batch of 6\. Received: 5 samples"),
    ],
)
def test_a_rank_or_a_start_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSampler(range(5), 6, **options)  # type: ignore[arg-type]
