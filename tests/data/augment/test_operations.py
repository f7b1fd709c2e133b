"""Each operation changes pixels as it says, and accepts the parameters that it draws."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.augment.operations import OPERATIONS, Choice, Range
from hpa_data.augment.transform import replay
from hpa_data.dataset import HPA_2018
from tests.builders import draw_image


def _apply(image: np.ndarray, operation: str, **parameters: Any) -> np.ndarray:
    """Apply one operation as a stored transform does."""
    return replay(image, json.dumps([{"operation": operation, "done": True, **parameters}]))


@given(name=st.sampled_from(sorted(OPERATIONS)), seed=st.integers(0, 2**32))
def test_parameters_are_drawn_within_their_ranges_and_accepted_when_read_again(name: str, seed: int) -> None:
    operation = OPERATIONS[name]
    drawn = json.loads(json.dumps(operation.draw(np.random.default_rng(seed), HPA_2018.channels)))
    assert operation.accepts(drawn, HPA_2018.channels)
    assert not operation.accepts(drawn | {"more": 1}, HPA_2018.channels)
    for key, parameter in operation.parameters.items():
        assert not operation.accepts(
            {other: value for other, value in drawn.items() if other != key}, HPA_2018.channels
        )
        if isinstance(parameter, Choice):
            assert drawn[key] in parameter.values
        elif isinstance(parameter, Range):
            values = drawn[key] if parameter.n > 1 else [drawn[key]]
            assert len(values) == parameter.n
            assert all(parameter.low <= value <= parameter.high for value in values)


def test_a_parameter_outside_of_its_range_is_accepted_so_that_ranges_may_change() -> None:
    assert OPERATIONS["blur"].accepts({"sigma": 3.5}, HPA_2018.channels)
    assert not OPERATIONS["blur"].accepts({"sigma": 1000.0}, HPA_2018.channels)


@pytest.fixture
def image() -> np.ndarray:
    return draw_image(2)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_keeps_shape_and_type_and_does_not_modify_its_argument(name: str, image: np.ndarray) -> None:
    operation = OPERATIONS[name]
    before = image.copy()
    for seed in range(3):
        changed = operation.transform(
            image, operation.draw(np.random.default_rng(seed), HPA_2018.channels), HPA_2018.channels
        )
        assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
        assert (image == before).all()


def test_flips_and_rotations_are_exact(image: np.ndarray) -> None:
    assert (_apply(image, "mirror", axis="x") == image[:, ::-1]).all()
    assert (_apply(image, "mirror", axis="y") == image[::-1]).all()
    for quarters in range(4):
        assert (_apply(image, "turn", quarters=quarters) == np.rot90(image, -quarters)).all()


def test_brightness_multiplies_each_channel(image: np.ndarray) -> None:
    factors = [1.2, 1, 1, 0.8]
    changed = _apply(image, "brightness", factors=factors)
    is_dark = image.max(axis=2) < 200  # brighter pixels saturate
    assert np.abs(changed - image * np.array(factors))[is_dark].max() <= 1


def test_contrast_scales_levels_around_127(image: np.ndarray) -> None:
    assert np.abs(_apply(image, "contrast", factor=0.5) - (127 + 0.5 * (image.astype(float) - 127))).max() <= 1


def test_a_dropped_channel_is_black_and_the_others_are_unchanged(image: np.ndarray) -> None:
    changed = _apply(image, "drop", channel="blue")
    assert not changed[..., 2].any()
    assert (changed[..., [0, 1, 3]] == image[..., [0, 1, 3]]).all()


def test_noise_has_its_spread_and_is_the_same_or_independent_in_the_channels(image: np.ndarray) -> None:
    levels = image.astype(float)
    inside = (levels > 50) & (levels < 200)  # neither black nor white cuts the noise off there
    all_inside = inside.all(axis=2)
    noise = _apply(image, "noise", sigma=10.0, per_channel=False, seed=3) - levels
    assert abs(noise[inside].std() - 10) < 0.5
    assert (noise[all_inside].max(axis=1) - noise[all_inside].min(axis=1)).max() <= 1
    independent = _apply(image, "noise", sigma=10.0, per_channel=True, seed=3) - levels
    assert abs(np.corrcoef(independent[all_inside][:, 0], independent[all_inside][:, 1])[0, 1]) < 0.05


def test_an_affine_transform_moves_pixels_and_fills_with_black(image: np.ndarray) -> None:
    same = {"scale": [1, 1], "translate": [0, 0], "rotate": 0, "shear": 0}
    assert (_apply(image, "affine", **same) == image).all()
    moved = _apply(image, "affine", **same | {"translate": [0.125, 0]})
    assert (moved[:, 64:] == image[:, :-64]).all()
    assert not moved[:, :64].any()


def test_a_crop_is_resized_to_the_whole_image(image: np.ndarray) -> None:
    cropped = _apply(image, "crop", sides=[0, 0.5, 0, 0])
    assert np.abs(cropped[:, ::2].astype(int) - image[:, :256]).mean() < 3


def test_a_blur_lowers_the_variance_and_keeps_the_mean(image: np.ndarray) -> None:
    blurred = _apply(image, "blur", sigma=2.0)
    assert blurred.std() < image.std()
    assert abs(blurred.mean() - image.mean()) < 1


def test_an_elastic_deformation_moves_pixels_and_keeps_the_levels(image: np.ndarray) -> None:
    deformed = _apply(image, "elastic", alpha=50.0, sigma=8.0, seed=1)
    assert (deformed != image).any()
    assert abs(deformed.mean() - image.mean()) < 3
