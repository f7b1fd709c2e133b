import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.format.statistics import channel_statistics, sum_pixels


@given(hnp.arrays(np.uint8, (5, 3, 3, 2)), st.permutations(range(5)))
def test_statistics_are_those_of_numpy_and_do_not_depend_on_order(images: np.ndarray, order: list[int]) -> None:
    wide = images.astype(np.uint64).reshape(5, 9, 2)
    sums = np.stack([wide.sum(axis=1), (wide**2).sum(axis=1)], axis=2)
    statistics = channel_statistics(sums, pixels=9)
    assert statistics is not None
    assert statistics.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert statistics.std == pytest.approx(images.std(axis=(0, 1, 2)), abs=1e-9)
    assert channel_statistics(sums[order], pixels=9) == statistics


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), low=st.integers(0, 255), span=st.integers(1, 256))
def test_sums_are_exact(seed: int, low: int, span: int) -> None:
    image = np.random.default_rng(seed).integers(low, min(low + span, 256), (512, 512, 4), np.uint8)
    pixels = image.reshape(-1, 4).astype(np.uint64)
    assert (sum_pixels(image) == np.stack([pixels.sum(axis=0), (pixels**2).sum(axis=0)], axis=1)).all()
