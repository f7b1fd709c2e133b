"""Counts and intensities: by hand, against trusted libraries, and against the store's own manifest."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.stats.intensities import histogram, intensity_statistics, measure_intensities
from hpa_data.stats.labels import correlate_classes, label_statistics, measure_table
from hpa_data.stats.measure import measure_store
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from tests.builders import convert, draw_image, write_table

ROWS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(5)), elements=st.integers(0, 1))
NAMES = ("a", "b", "c", "d", "e")


@given(labels=ROWS)
def test_correlation_is_pearson_s_and_undefined_for_constant_classes(labels: np.ndarray) -> None:
    found = correlate_classes(labels)
    is_constant = (labels == labels[0]).all(axis=0)
    assert (np.isnan(found) == (is_constant[:, None] | is_constant)).all()
    varied = np.flatnonzero(~is_constant)
    if len(varied):
        expected = np.corrcoef(labels[:, varied], rowvar=False).reshape(len(varied), -1)
        assert np.allclose(found[np.ix_(varied, varied)], expected)


@given(labels=ROWS, copies=ROWS)
def test_counts_are_those_of_originals_and_copies(labels: np.ndarray, copies: np.ndarray) -> None:
    told = label_statistics(labels, copies, classes=NAMES)
    assert told.counts == tuple(int(row.sum()) for row in labels.T)
    assert told.copies == tuple(int(row.sum()) for row in copies.T)
    assert sum(told.labels_per_sample) == told.n_samples == len(labels)
    assert sum(n * count for n, count in enumerate(told.labels_per_sample)) == sum(told.counts)
    assert json.loads(json.dumps(asdict(told), allow_nan=False))["n_copies"] == len(copies)


def test_labels_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(InputError, match="labels must have at least one sample"):
        label_statistics(np.zeros((0, 28), np.uint8))
    with pytest.raises(InputError, match="must have a column for each of 28 classes"):
        label_statistics(np.zeros((3, 2), np.uint8))


@pytest.mark.realdata
def test_the_real_table_has_the_known_counts(real_data: Path) -> None:
    told = measure_table(real_data / "labels" / "train.csv", min_count=500)
    assert told.labels_per_sample == (0, 15_126, 12_485, 3_160, 299, 2)
    assert told.counts[:3] == (12_885, 1_254, 3_621)
    assert told.counts[27] == 11
    assert told.n_copies == 3_026
    assert told.counts[9] + told.copies[9] == 688


def test_levels_are_counted_exactly() -> None:
    image = draw_image(0)
    expected = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(4)]
    assert (histogram(image) == expected).all()


def test_a_histogram_says_what_the_pixels_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, 10_001)
    pixels[:300], pixels[300:400] = 0, 255
    histogram = np.bincount(pixels, minlength=256).astype(np.uint64)[None]
    told = intensity_statistics(histogram, part="train", channels=["red"], n_samples=1)
    assert told.mean[0] == pytest.approx(pixels.mean())
    assert told.std[0] == pytest.approx(pixels.std())
    assert told.percentiles[0] == tuple(np.percentile(pixels, [1, 50, 99], method="inverted_cdf"))
    assert told.black[0] == (pixels == 0).mean()
    assert told.saturated[0] == (pixels == 255).mean()


@pytest.mark.parametrize("threads", [1, 3])
def test_intensities_are_those_of_the_manifest_whatever_the_threads(store: Store, threads: int) -> None:
    told = measure_intensities(store, "train", threads=threads)
    statistics = store.part("train").manifest.statistics
    assert statistics is not None
    assert (told.mean, told.std, told.n_samples) == (statistics.mean, statistics.std, 12)


def test_a_store_is_measured_with_copies_beside_originals_and_failed_samples_nowhere(
    kaggle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "train"
    shutil.copytree(kaggle / "train", source)
    (source / "sample-00_green.png").write_bytes(b"no picture")
    table = write_table(tmp_path / "t.csv", {f"sample-{index:02}": str(index % 3) for index in range(12)})
    convert(source, tmp_path / "hpa.zarr", labels=table)
    convert(kaggle / "test", tmp_path / "hpa.zarr", part="test")
    store = open_store(tmp_path / "hpa.zarr")
    augment_store(plan_augmentation(store, min_count=5))
    seen: list[int] = []
    told = measure_store(store, progress=Progress(start=seen.append, advance=seen.append))
    assert told.labels is not None
    assert told.labels.counts[:3] == (3, 4, 4)
    assert told.labels.copies[:3] == (2, 1, 1)
    assert [(part.part, part.n_samples) for part in told.intensities] == [("augmented", 4), ("test", 3), ("train", 11)]
    assert told.n_left_out == 1
    assert seen[0] == sum(seen[1:]) == 18
    assert measure_store(store, ["train"], pixels=False).intensities == ()
    assert measure_store(store, ["test"]).labels is None
    for parts, pixels, message in (
        (["test"], False, "must have labels to measure"),
        (["train", "train"], True, "named once each"),
        ([], True, "named once each"),
        (["ghost"], True, "must be in the store"),
    ):
        with pytest.raises(InputError, match=message):
            measure_store(store, parts, pixels=pixels)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must have at least one row"):
        measure_table(write_table(tmp_path / "t.csv", {}))
