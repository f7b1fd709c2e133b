"""Histograms and their statistics, against NumPy and against the store's own manifest."""

import numpy as np
import pytest

from hpa_data.stats.intensities import histogram, intensity_statistics, measure_intensities
from hpa_data.store.store import Store
from tests.builders import draw_image


def test_levels_are_counted_exactly() -> None:
    image = draw_image(0)
    expected = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(4)]
    assert (histogram(image) == expected).all()


def test_the_statistics_of_a_histogram_are_those_of_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, 10_001)
    pixels[:300], pixels[300:400] = 0, 255
    counts = np.bincount(pixels, minlength=256).astype(np.uint64)[None]
    statistics = intensity_statistics(counts, part="train", channels=["red"], n_samples=1)
    assert statistics.mean[0] == pytest.approx(pixels.mean())
    assert statistics.std[0] == pytest.approx(pixels.std())
    assert statistics.percentiles[0] == tuple(np.percentile(pixels, [1, 50, 99], method="inverted_cdf"))
    assert statistics.black[0] == (pixels == 0).mean()
    assert statistics.saturated[0] == (pixels == 255).mean()


@pytest.mark.parametrize("threads", [1, 3])
def test_intensities_are_those_of_the_manifest_whatever_the_threads(store: Store, threads: int) -> None:
    measured = measure_intensities(store, "train", threads=threads)
    statistics = store.part("train").manifest.statistics
    assert statistics is not None
    assert (measured.mean, measured.std, measured.n_samples) == (statistics.mean, statistics.std, 12)


@pytest.mark.parametrize("shape", [(33, 70, 1), (64, 64, 9), (4096, 4097, 1)])
def test_levels_of_images_of_any_shape_are_counted_exactly(shape: tuple[int, int, int]) -> None:
    image = np.zeros(shape, np.uint8)  # more black pixels than float32 can count one by one
    image[1, 2:9] = 5
    expected = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(shape[2])]
    assert (histogram(image) == expected).all()
