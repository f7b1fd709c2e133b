"""Epochs with strata: how many images each gives, which ones, and that they can be resumed anywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.reader.batches import draw_orientations, iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata, apportion, find_rarest, stratify
from hpa_data.store.store import Store

N_SEEDS = 20
SIZES = (60, 25, 10, 4, 1)


@st.composite
def strata_of(draw: st.DrawFn) -> Strata:
    """Draw strata of up to 5 samples each, in up to three parts."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    shares = draw(st.lists(st.floats(0.01, 100), min_size=len(sizes), max_size=len(sizes)))
    of = np.random.default_rng(draw(st.integers(0, 9))).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = np.arange(len(sizes)) % draw(st.integers(1, min(3, len(sizes))))
    return Strata(of=of, shares=np.array(shares), parts=parts)


def make_labels() -> np.ndarray:
    """Make labels of 100 samples: one class each, and the most frequent class beside half of the others."""
    labels = np.eye(len(SIZES), dtype=np.uint8)[np.repeat(np.arange(len(SIZES)), SIZES)]
    labels[60::2, 0] = 1
    return labels


@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_counts_per_class_are_those_that_the_rates_give(seed: int) -> None:
    labels = make_labels()
    for power, expected in ((0.5, (41, 26, 17, 11, 5)), (1.0, (20, 20, 20, 20, 20))):
        sampler = BatchSampler(np.arange(100), 7, seed=seed, strata=stratify(labels, power=power))
        for epoch in range(4):
            drawn = np.concatenate([sampler.indices(epoch * sampler.n_steps + i) for i in range(sampler.n_steps)])
            rarest = find_rarest(labels)[drawn]
            assert tuple(np.bincount(rarest, minlength=5).tolist()) == expected
            assert (drawn == sampler.order(epoch)).all()


@settings(deadline=None, max_examples=60)
@given(
    strata=strata_of(),
    seed=st.integers(0, 3),
    unit=st.integers(1, 3),
    drop_last=st.booleans(),
    n_epochs=st.integers(1, 12),
)
def test_each_stratum_gives_its_images_in_every_epoch_and_each_sample_of_it_equally_many(
    strata: Strata, seed: int, unit: int, drop_last: bool, n_epochs: int
) -> None:
    n_images = len(strata.of) // unit * unit
    choice = {"drop_last": True} if drop_last else {"divisible_by": unit}
    try:
        strata.count(n_images)
    except ValueError:
        with pytest.raises(ValueError, match="Cannot draw from each of|must fill at least one batch"):
            BatchSampler(np.arange(len(strata.of)), unit, strata=strata, **choice)  # type: ignore[arg-type]
        return
    assert n_images >= len(strata.shares)
    indices = np.arange(len(strata.of)) * 3 + 5
    size = unit if drop_last else 2 * unit
    sampler = BatchSampler(indices, size, seed=seed, strata=strata, **choice)  # type: ignore[arg-type]
    counts, sizes, total = strata.count(n_images), strata.sizes, np.zeros(len(indices), np.int64)
    assert counts.sum() == n_images == sampler.n_images
    assert counts.min() >= 1
    for epoch in range(n_epochs):
        drawn = np.bincount((sampler.order(epoch) - 5) // 3, minlength=len(indices))
        assert (np.bincount(strata.of, weights=drawn) == counts).all()
        least = (counts // sizes)[strata.of]
        assert ((drawn == least) | (drawn == least + 1)).all()
        total += drawn
        for stratum in range(len(sizes)):
            of_stratum = total[strata.of == stratum]
            assert of_stratum.max() - of_stratum.min() <= 1


@settings(deadline=None, max_examples=60)
@given(shares=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12), extra=st.integers(0, 500))
def test_a_number_is_shared_out_whole_with_one_to_each_at_least_and_in_the_order_of_the_shares(
    shares: list[float], extra: int
) -> None:
    total = len(shares) + extra
    counts = apportion(total, np.array(shares))
    assert counts.sum() == total
    assert counts.min() >= 1
    ideal = total * np.array(shares) / sum(shares)
    assert (counts[counts > 1] <= ideal[counts > 1] + 1).all()
    ordered = counts[np.argsort(shares)]
    assert (np.diff(ordered) >= -1).all()  # of equal shares, the first are rounded up


def test_parts_share_an_epoch_by_their_own_shares_whatever_is_in_them() -> None:
    labels = make_labels()
    parts = np.arange(100) % 4 == 0
    for power in (0.0, 0.5, 1.0):
        strata = stratify(labels[:98], power=power, parts=parts[:98], part_shares=[1, 3])
        sampler = BatchSampler(np.arange(98), 10, strata=strata)
        assert np.bincount(parts[sampler.order(5)]).tolist() == [25, 73]  # 24.5 and 73.5


def test_without_rates_the_samples_of_a_part_are_drawn_equally_often() -> None:
    parts = np.repeat([0, 1], [70, 30])
    sampler = BatchSampler(np.arange(100), 8, strata=stratify(make_labels(), power=0, parts=parts, part_shares=[1, 1]))
    total = sum(np.bincount(sampler.order(epoch), minlength=100) for epoch in range(21))
    assert np.unique(total[:70]).tolist() == [15]
    assert np.unique(total[70:]).tolist() == [35]


@settings(deadline=None, max_examples=15)
@given(epoch=st.integers(0, 2), step=st.integers(0, 3))
def test_a_resumed_iteration_with_strata_delivers_what_an_uninterrupted_one_would(
    store: Store, epoch: int, step: int
) -> None:
    strata = Strata(of=np.arange(11) % 3, shares=np.array([5.0, 1.0, 2.0]))
    with store.reader(threads=2) as reader:
        whole = [
            (batch.indices, batch.images.copy())
            for batch in iter_batches(reader, BatchSampler(np.arange(1, 12), 4, seed=3, strata=strata), epochs=3)
        ]
        sampler = BatchSampler(np.arange(1, 12), 4, seed=3, strata=strata)
        step = min(step, sampler.n_steps)
        rest = whole[sampler.global_step(epoch, step) :]
        for one, batch in zip(rest, iter_batches(reader, sampler, epochs=3, resume_at=(epoch, step)), strict=True):
            assert (one[0] == batch.indices).all()
            assert (one[1] == batch.images).all()


def test_batches_with_strata_are_the_same_with_1_2_and_8_threads(store: Store) -> None:
    strata = Strata(of=np.arange(12) // 11, shares=np.array([1.0, 2.0]))
    found = []
    for threads in (1, 2, 8):
        with store.reader(threads=threads) as reader:
            sampler = BatchSampler(np.arange(12), 5, seed=9, strata=strata)
            found.append([(b.indices.tolist(), b.images.tobytes()) for b in iter_batches(reader, sampler, epochs=3)])
    assert found[0] == found[1] == found[2]
    assert any(len(set(indices)) < len(indices) for indices, _ in found[0])  # a sample, twice in a batch


def test_a_sample_that_is_drawn_again_in_an_epoch_is_turned_anew() -> None:
    sampler = BatchSampler(np.arange(64), 64, strata=Strata(of=np.arange(64) // 63, shares=np.array([1.0, 63.0])))
    keys, indices = sampler.keys(3), sampler.indices(3)
    assert len(set(keys.tolist())) == 64
    again = indices == 63
    assert again.sum() == 63
    assert len(set(draw_orientations(keys[again], seed=0, epoch=3).tolist())) == 8
    plain = BatchSampler(np.arange(64), 64)
    assert (plain.keys(0) == plain.indices(0)).all()


def test_strata_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="strata must be of the 3 samples, with shuffle"):
        BatchSampler([1, 2, 3], 2, strata=Strata(of=np.array([0, 0]), shares=np.array([1.0])))
    with pytest.raises(ValueError, match="strata must be of the 1 samples, with shuffle. Received.*shuffle=False"):
        BatchSampler([1], 2, shuffle=False, strata=Strata(of=np.array([0]), shares=np.array([1.0])))
    with pytest.raises(ValueError, match="of must be integers from 0 to 1, each at least once"):
        Strata(of=np.array([0, 2]), shares=np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="of must be integers from 0 to 0"):
        Strata(of=np.array([0.5]), shares=np.array([1.0]))
    with pytest.raises(ValueError, match=r"shares must be numbers above 0. Received: 0\.0"):
        Strata(of=np.array([0, 1]), shares=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="parts must have one number for each stratum. Received: 1 for 2"):
        Strata(of=np.array([0, 1]), shares=np.array([1.0, 1.0]), parts=np.array([0]))
    with pytest.raises(ValueError, match="power must be from 0 to 1. Received: power=2"):
        stratify([[1, 0]], power=2)
    labels = [[1, 0], [0, 1], [0, 1]]
    with pytest.raises(ValueError, match=r"parts must have one number for each of 3 samples"):
        stratify(labels, power=1, parts=[0, 1])
    with pytest.raises(ValueError, match="parts must be integers from 0 to 2, each at least once"):
        stratify(labels, power=1, parts=[0, 2, 2])
    for shares in ([1], [1, 0], [1, np.nan], [1, 1, 1]):
        with pytest.raises(ValueError, match=r"part_shares must be a number above 0 for each of 2 parts"):
            stratify(labels, power=1, parts=[0, 1, 1], part_shares=shares)
    with pytest.raises(ValueError, match=r"labels must have the shape \(samples, classes\)"):
        stratify([1, 0], power=1)


def test_samples_without_a_class_are_a_stratum_of_their_own() -> None:
    strata = stratify([[1, 0], [1, 1], [0, 0], [0, 0], [1, 0]], power=1)
    assert strata.of.tolist() == [0, 1, 2, 2, 0]
    assert strata.count(6).tolist() == [2, 2, 2]
