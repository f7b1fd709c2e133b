from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.folds import close_pairs, duplicates
from hpa_data.folds.duplicates import (
    MAX_DISTANCE,
    find_exact_duplicates,
    find_near_duplicates,
    find_uniform,
    group_samples,
    hash_samples,
    perceptual_hash,
)
from hpa_data.store.store import Store, open_store
from hpa_data.synth.sample import draw_sample
from hpa_data.system import memory
from hpa_data.system.progress import Progress
from tests.builders import convert, draw_image, write_sample

Image = npt.NDArray[np.uint8]


def draw_field(seed: int) -> Image:
    labels = np.zeros(28, np.uint8)
    labels[[seed % 28, 0]] = 1
    return draw_sample(labels, rng=np.random.default_rng(seed))


def encode_jpeg(image: Image, quality: int = 75) -> Image:
    planes = []
    for plane in cv2.split(image):
        done, data = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        planes.append(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    return np.stack(planes, axis=-1)


def brighten(image: Image, *factors: float) -> Image:
    return np.rint(image * np.array(factors)).clip(0, 255).astype(np.uint8)


def add_noise(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)


def measure_distance(one: Image, other: Image) -> int:
    return int(np.bitwise_count(perceptual_hash(one) ^ perceptual_hash(other)).sum())


def export_again(image: Image) -> Image:
    """Change a sample as much as the external set does at worst."""
    return encode_jpeg(np.roll(brighten(image, 1.5, 1.2, 1.4, 1.3), 1, axis=(0, 1)))


@pytest.mark.parametrize(
    "change",
    [
        encode_jpeg,
        lambda image: brighten(image, 1.2, 1.3, 1.4, 1.5),
        add_noise,
        lambda image: np.roll(image, 1, axis=(0, 1)),
        lambda image: cv2.resize(cv2.resize(image, (2048, 2048), interpolation=cv2.INTER_CUBIC), (512, 512)),
        lambda image: brighten(image, 0.5, 0.5, 0.5, 0.5),
        export_again,
    ],
    ids=["jpeg", "brighter", "noise", "moved by a pixel", "resized", "darker", "all of it"],
)
def test_the_hash_of_a_field_hardly_changes_with_its_export(change) -> None:  # type: ignore[no-untyped-def]
    for seed in range(3):
        image = draw_field(seed)
        assert measure_distance(image, change(image)) <= MAX_DISTANCE // 2


def test_different_fields_have_different_hashes() -> None:
    hashes = np.stack([perceptual_hash(draw_field(seed)) for seed in range(8)])
    assert len(find_near_duplicates(hashes, max_distance=2 * MAX_DISTANCE)) == 0


def test_a_channel_without_structure_hashes_to_zero_and_no_other_does() -> None:
    image = draw_field(0)
    image[..., 0] = 0
    image[..., 1] = 130
    image[..., 2] = np.random.default_rng(0).normal(10, 2, (512, 512)).clip(0, 255)
    assert (perceptual_hash(image) > 0).tolist() == [False, False, False, True]


@settings(deadline=None, max_examples=50)
@given(image=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=40)))
def test_a_hash_is_zero_or_has_its_highest_bit_set(image: Image) -> None:
    image = image[..., :4]
    hashes = perceptual_hash(image)
    assert hashes.shape == (image.shape[2],)
    assert hashes.dtype == np.uint64
    assert ((hashes == 0) | (hashes >> np.uint64(63) == 1)).all()


def test_samples_are_hashed_in_order_whatever_the_threads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_BATCH_SAMPLES", 5)
    planned: list[int] = []
    read: list[int] = []
    with store.reader(["train"]) as reader:
        indices = np.arange(12)[::-1]
        progress = Progress(start=planned.append, advance=read.append)
        hashes = hash_samples(reader, indices, threads=1, progress=progress)
        assert (planned, read) == ([12], [5, 5, 2])
        np.testing.assert_array_equal(hashes, hash_samples(reader, indices, threads=3))
        np.testing.assert_array_equal(hashes, [perceptual_hash(image) for image in reader.read(indices)])


def test_a_failed_sample_counts_as_uniform(tmp_path: Path) -> None:
    for name, seed in {"a": 1, "b": 2, "c": 1}.items():
        write_sample(tmp_path / "files", name, draw_image(seed))
    (tmp_path / "files" / "b_red.png").write_bytes(b"no image")
    write_sample(tmp_path / "files", "d", np.zeros((512, 512, 4), np.uint8))
    convert(tmp_path / "files", tmp_path / "store")
    part = open_store(tmp_path / "store").part("train")
    is_uniform = find_uniform(part.read_sums(), pixels=512 * 512)
    hashes = np.zeros((4, 4), np.uint64)
    with open_store(tmp_path / "store").reader(["train"]) as reader:
        hashes[[0, 2, 3]] = hash_samples(reader, np.array([0, 2, 3]))
    assert is_uniform.tolist() == (hashes == 0).all(axis=1).tolist() == [False, True, False, True]
    assert find_exact_duplicates(part.read_checksums(), part.read_sums(), is_uniform).tolist() == [[0, 2]]
    assert find_near_duplicates(hashes).tolist() == [[0, 2]]


def test_each_equal_sample_is_paired_with_the_first() -> None:
    checksums = np.array([5, 7, 5, 7, 5, 9, 0, 0], np.uint32)
    is_uniform = checksums == 0
    assert find_exact_duplicates(checksums, np.ones((8, 4, 2), np.uint64), is_uniform).tolist() == [
        [0, 2],
        [0, 4],
        [1, 3],
    ]


def test_different_pixels_with_equal_checksums_are_not_a_pair() -> None:
    sums = np.ones((3, 4, 2), np.uint64)
    sums[1, 2, 0] = 2
    assert find_exact_duplicates(np.full(3, 5, np.uint32), sums, np.zeros(3, bool)).tolist() == [[0, 2]]


def find_near_slowly(hashes: npt.NDArray[np.uint64], max_distance: int) -> list[list[int]]:
    """Compare pair by pair, in Python's integers."""
    pairs = []
    for i, j in combinations(range(len(hashes)), 2):
        both = [(a, b) for a, b in zip(hashes[i].tolist(), hashes[j].tolist(), strict=True) if a and b]
        distance = sum((a ^ b).bit_count() for a, b in both)
        if len(both) >= min(2, hashes.shape[1]) and distance * hashes.shape[1] <= max_distance * len(both):
            pairs.append([i, j])
    return pairs


@settings(deadline=None, max_examples=150)
@given(
    hashes=hnp.arrays(
        np.uint64,
        st.tuples(st.integers(0, 45), st.integers(1, 5)),
        # Some channels missing, some words alike, some of all bits.
        elements=st.one_of(
            st.just(0), st.integers(1, 15), st.integers(2**64 - 9, 2**64 - 1), st.integers(0, 2**64 - 1)
        ),
    ),
    max_distance=st.one_of(st.integers(0, 12), st.integers(0, 320)),
    threads=st.integers(1, 3),
)
def test_near_pairs_are_those_of_a_slow_search(hashes: npt.NDArray[np.uint64], max_distance: int, threads: int) -> None:
    found = find_near_duplicates(hashes, max_distance=max_distance, threads=threads)
    assert found.tolist() == find_near_slowly(hashes, max_distance)
    assert found.dtype == np.int64
    assert found.shape == (len(found), 2)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 13), (64, 16)])
def test_the_result_does_not_depend_on_the_size_of_the_blocks(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**64 - 1, (100, 4), np.uint64, endpoint=True)
    hashes[50:] = hashes[:50] ^ np.uint64(5)
    hashes[rng.random((100, 4)) < 0.2] = 0
    monkeypatch.setattr(close_pairs, "ROWS", rows)
    monkeypatch.setattr(close_pairs, "COLUMNS", columns)
    found = find_near_duplicates(hashes, max_distance=8)
    assert found.tolist() == find_near_slowly(hashes, 8)
    assert len(found) > 20


def test_more_pairs_than_memory_should_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 100)
    with pytest.raises(InputError, match="more than 100 pairs of samples differ in at most 28 bits"):
        find_near_duplicates(np.ones((20, 4), np.uint64))


def test_thousands_of_uniform_samples_are_not_pairs() -> None:
    assert find_near_duplicates(np.zeros((20_000, 4), np.uint64)).shape == (0, 2)


@settings(deadline=None)
@given(data=st.data(), n_samples=st.integers(1, 30))
def test_groups_are_the_finest_that_keep_pairs_together(data: st.DataObject, n_samples: int) -> None:
    index = st.integers(0, n_samples - 1)
    arrays = [
        np.array(pairs, np.int64).reshape(-1, 2)
        for pairs in data.draw(st.lists(st.lists(st.tuples(index, index), max_size=12), max_size=3))
    ]
    groups = group_samples(n_samples, *arrays)
    # The closure of the pairs, by Warshall's algorithm.
    linked = np.eye(n_samples, dtype=bool)
    for pairs in arrays:
        linked[pairs[:, 0], pairs[:, 1]] = linked[pairs[:, 1], pairs[:, 0]] = True
    for middle in range(n_samples):
        linked |= np.outer(linked[:, middle], linked[middle])
    np.testing.assert_array_equal(groups[:, None] == groups, linked)
    # Numbered in the order of their first samples.
    assert list(dict.fromkeys(groups.tolist())) == list(range(groups.max() + 1))
    assert groups.dtype == np.int64


def test_a_pair_may_be_given_many_times() -> None:
    assert group_samples(3, np.tile([[2, 0]], (256, 1)), np.array([[0, 2]])).tolist() == [0, 1, 0]


def test_no_samples_make_no_groups() -> None:
    assert group_samples(0).tolist() == []


def read_real_image(folder: Path, sample_id: str) -> Image:
    planes = [
        cv2.imread(str(folder / f"{sample_id}_{channel}.png"), cv2.IMREAD_UNCHANGED)
        for channel in HPA_2018.channel_names
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.realdata
def test_a_real_sample_is_a_near_duplicate_of_its_other_export_alone(real_data: Path) -> None:
    folder = real_data / "kaggle" / "train"
    ids = sorted(path.name.removesuffix("_red.png") for path in folder.glob("*_red.png"))
    images = [read_real_image(folder, name) for name in ids]
    hashes = np.stack([perceptual_hash(image) for image in (*images, *map(export_again, images))])
    for max_distance in (MAX_DISTANCE // 2, 2 * MAX_DISTANCE):
        found = find_near_duplicates(hashes, max_distance=max_distance)
        assert found.tolist() == [[index, len(ids) + index] for index in range(len(ids))]


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("shape", [(64, 64), (33, 70), (256, 384)])
def test_an_export_is_found_whatever_the_channels_and_the_shape(n_channels: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(n_channels)
    coarse = rng.integers(0, 200, (20, 9, 9, n_channels), np.uint8)
    planes = [[cv2.resize(image[..., c], shape[::-1]) for c in range(n_channels)] for image in coarse]
    images = [np.stack(each, axis=-1) for each in planes]
    hashes = np.stack([perceptual_hash(image) for image in images])
    for c in range(n_channels):  # each channel as if it were alone
        alone = np.concatenate([perceptual_hash(np.ascontiguousarray(image[..., c : c + 1])) for image in images])
        assert np.bitwise_count(alone ^ hashes[:, c]).max() <= 1
    again = np.stack([hashes[3], perceptual_hash(encode_jpeg(images[5], 90))])
    found = find_near_duplicates(np.concatenate([hashes, again]))
    assert found.tolist() == [[3, 20], [5, 21]]


def test_hashes_of_a_batch_are_those_of_each_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 40, 40, 5), np.uint8)
    images[::3, ..., 1] = 7
    found = duplicates._hash_coefficients(np.stack([duplicates._low_frequencies(image) for image in images]))
    np.testing.assert_array_equal(found, [perceptual_hash(image) for image in images])
