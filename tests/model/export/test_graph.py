"""One network of several: what it computes, and in which operations."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from hpa_model.nets import build
from hpa_model.predict.export.graph import GroupedConv2D, join_networks, to_float32
from hpa_model.predict.export.samples import predict_images
from hpa_model.thresholds import apply_temperatures
from tests.builders import randomise

SHAPE = (2, 2, 1)


def give_pixels(scale: float) -> keras.Model:
    """Make a network whose probabilities are the gray levels of an image."""
    images = keras.Input(SHAPE, dtype="uint8")
    return keras.Model(images, layers.Rescaling(scale)(layers.Flatten()(images)))


def test_it_is_the_mean_of_all_networks_each_with_its_temperature() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, *SHAPE), dtype=np.uint8)
    images[0], images[1] = 0, 255  # probabilities of exactly 0 and 1
    temperatures = np.array([1.7, 1.0, 1 / 1.7])
    scales = (1 / 255, 1 / 300, 1 / 255)
    joined = join_networks([give_pixels(scale) for scale in scales], temperatures)
    flat = images.reshape(64, 4)
    expected = np.mean(
        [apply_temperatures(np.float32(flat * scale), each) for scale, each in zip(scales, temperatures, strict=True)],
        axis=0,
    )
    np.testing.assert_allclose(joined.predict_on_batch(images), expected, atol=1e-6)
    assert [each.name for each in joined.inputs] == ["images"]


def test_a_network_of_mixed_precision_computes_in_float32_with_the_same_weights() -> None:
    mixed = build("gapnet-pl", (32, 32, 2), 3, precision="mixed_bfloat16")
    randomise(mixed)
    plain = to_float32(mixed)
    assert {layer.compute_dtype for layer in plain.layers[1:]} == {"float32"}
    for one, other in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 2), dtype=np.uint8)
    one, other = (predict_images([network], np.ones(1), images) for network in (plain, mixed))
    assert 0 < np.abs(one - other).max() < 0.05


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_convolution_in_groups_computes_the_same(groups: int) -> None:
    if keras.backend.backend() == "tensorflow" and groups == 2:
        pytest.skip("TensorFlow has no such convolution for a CPU")
    inputs = keras.Input((7, 7, 6))
    network = keras.Model(inputs, layers.Conv2D(6, 3, padding="same", groups=groups)(inputs))
    copy = to_float32(network)
    assert isinstance(copy.layers[1], GroupedConv2D) == (groups > 1)
    images = np.random.default_rng(0).normal(size=(2, 7, 7, 6)).astype(np.float32)
    one, other = (ops.convert_to_numpy(each(images)) for each in (network, copy))
    np.testing.assert_allclose(one, other, atol=1e-5)
