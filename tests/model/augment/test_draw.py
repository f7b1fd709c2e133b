"""What is drawn for a sample: its ranges, its evenness, and what it depends on."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.reader.batches import draw_orientations
from hpa_data.reader.strata import REPEAT
from hpa_model.augment import POLICIES, Augmentation, plan_augmentation
from hpa_model.augment.draw import Samples, draw_parameter
from hpa_model.augment.hashing import draw_bits, draw_normals
from hpa_model.augment.operations import OPERATIONS
from tests.model.augment.images import CHANNELS

MANY = np.arange(20_000)
EVERYTHING = {"policy": "strong", "crop": {}, "blur": {}, "mixup": {"p": 0.5}, "cutmix": {"p": 0.5}}


def plan(augment: str | dict, **changed: int) -> Augmentation:
    """Make the augmentation of images of 32 x 32 pixels."""
    made = plan_augmentation(augment, CHANNELS, (64, 64, 4), (32, 32), seed=changed.get("seed", 0))
    assert made is not None
    return dataclasses.replace(made, devices=changed.get("devices", 1))


def test_numbers_are_uniform_and_independent_of_neighbors_epochs_seeds_and_names() -> None:
    base = Samples(keys=MANY, seed=3, epoch=5)
    columns = [base.uniform("a", 3), base.uniform("b", 2)]
    columns += [dataclasses.replace(base, **each).uniform("a", 1) for each in ({"epoch": 6}, {"epoch": 4}, {"seed": 4})]
    columns += [dataclasses.replace(base, keys=MANY + by).uniform("a", 1) for by in (1, 2, 20, REPEAT)]
    numbers = np.concatenate(columns, axis=1)
    assert ((numbers >= 0) & (numbers < 1)).all()
    for column in numbers.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    # The standard deviation of a correlation of independent numbers is 1 / sqrt(20,000) = 0.007.
    assert np.abs(np.corrcoef(numbers.T) - np.eye(numbers.shape[1])).max() < 0.035
    pairs, *_ = np.histogram2d(numbers[:, 0], numbers[:, 5], bins=10)
    assert scipy.stats.chisquare(pairs.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in {"mixup", "cutmix"}])
def test_a_parameter_fills_its_range_evenly(name: str) -> None:
    samples = Samples(keys=MANY, seed=0, epoch=0)
    for key, parameter in OPERATIONS[name].parameters.items():
        drawn = draw_parameter(parameter, f"{name}.{key}", samples, CHANNELS, n_symmetries=8)
        low, high = getattr(parameter, "low", None), getattr(parameter, "high", None)
        if low is not None:
            assert ((drawn >= low) & (drawn < high)).all()
            for column in drawn.T:
                assert scipy.stats.kstest((column - low) / (high - low), "uniform").pvalue > 1e-4
        else:
            _, counts = np.unique(drawn if len(np.unique(drawn)) < 9 else drawn // 2**20, return_counts=True)
            assert scipy.stats.chisquare(counts).pvalue > 1e-4
            assert len(counts) > 1


def test_channels_are_as_bright_as_each_other_in_four_of_five_images() -> None:
    samples = Samples(keys=MANY, seed=0, epoch=0)
    drawn = draw_parameter(OPERATIONS["brightness"].parameters["factors"], "x", samples, CHANNELS, n_symmetries=8)
    assert drawn.shape == (len(MANY), 4)
    assert np.mean((drawn == drawn[:, :1]).all(axis=1)) == pytest.approx(0.8, abs=0.015)


@settings(deadline=None, max_examples=25)
@given(
    keys=st.lists(st.integers(0, 5 * REPEAT), min_size=1, max_size=9, unique=True),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 10**6),
    policy=st.sampled_from(sorted(POLICIES.keys() - {"none"})),
    data=st.data(),
)
def test_a_row_depends_on_seed_epoch_and_key_alone(
    keys: list[int], seed: int, epoch: int, policy: str, data: st.DataObject
) -> None:
    augmentation = plan(policy, seed=seed)
    rows, _ = augmentation.draw(np.array(keys), epoch)
    order = data.draw(st.permutations(range(len(keys))))
    shuffled, _ = plan(policy, seed=seed).draw(np.array(keys)[order], epoch)
    assert (rows[order] == shuffled).all()
    assert (augmentation.draw(np.array(keys[:1]), epoch)[0] == rows[:1]).all()


def test_rows_differ_from_epoch_to_epoch_and_from_repeat_to_repeat() -> None:
    augmentation = plan("strong")
    rows = [augmentation.draw(np.array([7 + REPEAT * again]), epoch)[0] for epoch in range(3) for again in range(3)]
    assert len({row.tobytes() for row in rows}) == 9


def test_another_operation_changes_no_number_of_the_others() -> None:
    one, other = plan({"contrast": {}}), plan({"contrast": {}, "blur": {}, "affine": {"p": 0.5}})
    factors = [words.split("; ")[0] for words in other.describe(MANY[:20], 3)]
    assert factors == one.describe(MANY[:20], 3)


def test_symmetries_are_those_of_earlier_versions() -> None:
    rows, _ = plan("symmetries", seed=9).draw(MANY, 4)
    assert rows.dtype == np.uint8
    assert (rows == draw_orientations(MANY, seed=9, epoch=4)).all()
    more, _ = plan({"policy": "symmetries", "contrast": {}}, seed=9).draw(MANY, 4)
    assert (more[:, 0] == rows).all()


def test_one_of_the_operations_of_the_paper_is_drawn_each_equally_often() -> None:
    words = plan("paper").describe(MANY, 0)
    assert all(";" not in each for each in words)
    kinds = ("flip", "blur", "crop", "contrast", "noise", "brightness", "rotate")
    counts = np.array([sum(each.startswith(kind) for each in words) for kind in kinds]) * (2, 2, 1, 1, 1, 1, 1)
    assert counts / len(MANY) == pytest.approx(np.full(7, 1 / 7), abs=0.012)
    assert sum(each == "unchanged" for each in words) / len(MANY) == pytest.approx(1 / 7, abs=0.01)


def test_the_strong_policy_turns_evenly_and_never_drops_the_signal() -> None:
    augmentation = plan("strong")
    rows, _ = augmentation.draw(MANY, 0)
    assert scipy.stats.chisquare(np.unique(rows[:, 0], return_counts=True)[1]).pvalue > 1e-4
    text = " ".join(augmentation.describe(MANY[:3000], 0))
    assert "without red" in text
    assert "without green" not in text
    assert "contrast of the signal" in text


def test_pairs_are_mixed_once_with_the_labels_of_both() -> None:
    keys, labels = np.arange(41), np.random.default_rng(0).integers(0, 2, (41, 6)).astype(np.float32)
    augmentation = plan({"mixup": {"p": 0.5, "alpha": 1.0}, "cutmix": {"p": 0.5}})
    rows, mixed = augmentation.draw(keys, 0, labels)
    assert rows.shape == (41, 6)
    mixup, cutmix = rows[:, 0], rows[:, 1]
    assert ((mixup < 1) != (cutmix < 1))[:40].sum() >= 36  # a box may lie outside
    assert (rows[0:40:2] == rows[1:40:2]).all()
    assert (mixup[40], cutmix[40]) == (1, 1)
    share = (mixup * cutmix)[:, None]
    partners = np.append(np.arange(40) ^ 1, 40)
    assert np.abs(mixed - (share * labels + (1 - share) * labels[partners])).max() < 1e-6
    assert (mixed[40] == labels[40]).all()
    boxes = rows[:, 2:].astype(int)
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    assert cutmix == pytest.approx(1 - areas / 32**2, abs=1e-6)


def test_shares_follow_the_beta_distribution() -> None:
    augmentation = plan({"mixup": {"alpha": 0.4}})
    shares = augmentation.draw(MANY, 0)[0][::2, 0].astype(np.float64)
    assert scipy.stats.kstest(shares, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 1e-4


def test_one_and_two_devices_mix_the_same_pairs() -> None:
    keys, labels = np.arange(8), np.eye(8, dtype=np.float32)
    one, two = (plan(EVERYTHING, devices=devices).draw(keys, 2, labels) for devices in (1, 2))
    assert (one[0] == two[0]).all()
    assert (one[1] == two[1]).all()


def test_the_hash_of_the_device_is_that_of_numpy() -> None:
    seeds, counters = np.array([0, 1, 2**24 - 1], np.float32), np.arange(1000, dtype=np.uint32)

    def mix(bits: np.ndarray) -> np.ndarray:
        bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)
        bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
        return bits ^ (bits >> np.uint32(16))

    golden = np.uint32(0x9E3779B9)
    expected = mix(mix(seeds.astype(np.uint32) * golden)[:, None] + counters * golden)
    assert (np.asarray(draw_bits(seeds, counters)) == expected).all()


def test_normal_numbers_of_the_device_are_normal_and_independent() -> None:
    numbers = np.asarray(draw_normals(np.arange(8, dtype=np.float32), 20_000), np.float64)
    assert scipy.stats.kstest(numbers.ravel(), "norm").pvalue > 1e-4
    assert np.abs(numbers).max() < 4.9
    assert np.abs(np.corrcoef(numbers) - np.eye(8)).max() < 0.035
    for row in numbers:
        assert np.abs([np.corrcoef(row[by:], row[:-by])[0, 1] for by in (1, 2, 32, 10_000)]).max() < 0.05
