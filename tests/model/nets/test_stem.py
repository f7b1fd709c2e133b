"""The stem of a backbone: its input scaling and first convolution, from those for red, green and blue."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from hpa_model.nets.catalog import dtype_policy
from hpa_model.nets.resize import image_input
from hpa_model.nets.stem import IMAGENET, SIGNED, UNIT, ColorScaling, mix_channels, mix_kernel, scale_colors

PRECISIONS = ("mixed_bfloat16", "mixed_float16")
RULES = ("mean", "copy-red", "channel-map")
HPA_COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def run_stem(scaling: ColorScaling, kernel: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Scale images and convolve them with a kernel, with zeros around them, as `densenet121` does."""
    inputs = keras.Input(images.shape[1:], dtype="uint8")
    x = layers.ZeroPadding2D(3)(scale_colors(inputs, scaling))
    conv = layers.Conv2D(kernel.shape[-1], kernel.shape[0], strides=2, use_bias=False)
    model = keras.Model(inputs, conv(x))
    conv.set_weights([kernel])
    return np.asarray(model(images))


def random_kernel() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (7, 7, 3, 8)).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scaling", [UNIT, SIGNED, IMAGENET], ids=["unit", "signed", "imagenet"])
@pytest.mark.parametrize("n_channels", [1, 2, 4, 7])
def test_a_gray_image_gives_what_it_gives_with_three_channels_also_at_its_border(
    rule: str, scaling: ColorScaling, n_channels: int
) -> None:
    colors = [*HPA_COLORS, (0, 255, 255), (255, 255, 255), (0, 0, 0)][:n_channels]
    gray = np.random.default_rng(1).integers(0, 256, (2, 20, 22, 1), np.uint8)
    expected = run_stem(scaling, random_kernel(), gray.repeat(3, axis=-1))
    kernel = mix_kernel(random_kernel(), mix_channels(rule, colors), scaling)
    found = run_stem(scaling, kernel, gray.repeat(n_channels, axis=-1))
    assert np.ptp(expected) > 0.5
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_rules_say_how_much_of_each_color_is_in_each_channel() -> None:
    assert mix_channels("mean", HPA_COLORS) == pytest.approx(np.full((3, 4), 0.25))
    copied = [[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert mix_channels("copy-red", HPA_COLORS) == pytest.approx(np.array(copied))
    # Yellow is the mean of red and green: half as much of each as their own channels have.
    mapped = [[2 / 3, 0, 0, 1 / 3], [0, 2 / 3, 0, 1 / 3], [0, 0, 1, 0]]
    assert mix_channels("channel-map", HPA_COLORS) == pytest.approx(np.array(mapped))
    # In another order.
    assert mix_channels("channel-map", HPA_COLORS[::-1]) == pytest.approx(np.array(mapped)[:, ::-1])


def test_a_color_that_no_channel_has_is_taken_from_all_equally() -> None:
    assert mix_channels("channel-map", [(0, 255, 0), (255, 0, 0)])[2] == pytest.approx([0.5, 0.5])
    assert mix_channels("copy-red", [(9, 9, 9)]) == pytest.approx(np.ones((3, 1)))


@given(
    rule=st.sampled_from(RULES),
    colors=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=9),
)
def test_each_color_is_taken_once_in_all(rule: str, colors: list[tuple[int, int, int]]) -> None:
    shares = mix_channels(rule, colors)
    assert (shares >= 0).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("scaling", [SIGNED, IMAGENET], ids=["signed", "imagenet"])
@pytest.mark.parametrize("n_channels", [3, 4])
def test_resized_and_scaled_images_are_rounded_by_the_first_convolution_alone(
    precision: str, scaling: ColorScaling, n_channels: int
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 22, n_channels), np.uint8)
    found = []
    for policy in ("float32", precision):
        with dtype_policy(policy):
            inputs, x = image_input(images.shape[1:], (15, 11), dtype=scaling.dtype)
            x = scale_colors(x, scaling)
            conv = layers.Conv2D(2, 3, use_bias=False)
            conv(x)
        assert conv.compute_dtype == policy.removeprefix("mixed_")
        found.append(np.asarray(keras.Model(inputs, x)(images)))
    assert found[1].dtype == np.float32
    assert (found[1] == found[0]).all()
