"""Weights for other channels: which filters each channel starts with, and what the network then computes."""

import keras
import numpy as np
import pytest

from hpa_model import nets
from hpa_model.nets.catalog import list_layers
from hpa_model.nets.channels import ChannelMatch, find_channel_layers
from tests.builders import randomise

RGBY = ("red", "green", "blue", "yellow")


def start_from(source: keras.Model, model: str, match: ChannelMatch) -> keras.Model:
    """Build a network for the channels here with the weights of one for those there."""
    network = nets.build(model, (*source.input_shape[1:3], len(match.here)), source.output_shape[-1])
    of_channels = find_channel_layers(network)
    assert of_channels
    for layer, other in zip(list_layers(network), list_layers(source), strict=True):
        values = other.get_weights()
        layer.set_weights(match.fit(layer, values) if layer in of_channels else values)
    return network


def build_random(model: str, n_channels: int = 4) -> keras.Model:
    size = {"gapnet": 76, "mcnn": 128}.get(model, 32)
    keras.utils.set_random_seed(0)
    network = nets.build(model, (size, size, n_channels), 3)
    if model.startswith("gapnet"):
        randomise(network)  # with such weights, deeper networks put out the same for all images
    return network


def draw(network: keras.Model) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, *network.input_shape[1:]), np.uint8)


@pytest.mark.parametrize("model", ["gapnet", "gapnet-pl"])
def test_a_network_computes_the_same_of_the_same_channels_in_another_order(model: str) -> None:
    _assert_same_in_another_order(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    ["deepyeast", "mcnn", "densenet121", "resnet50v2", "convnext-tiny", "efficientnetv2-b0"],
)
def test_each_network_computes_the_same_of_the_same_channels_in_another_order(model: str) -> None:
    _assert_same_in_another_order(model)


def _assert_same_in_another_order(model: str) -> None:
    match = ChannelMatch(there=RGBY, here=("yellow", "red", "blue", "green"))
    assert not match.is_by_position
    source = build_random(model)
    network = start_from(source, model, match)
    images = draw(source)
    expected = np.asarray(source(images))
    assert expected.std() > 0
    assert np.asarray(network(images[..., [3, 0, 2, 1]])) == pytest.approx(expected, abs=1e-5)
    assert np.asarray(network(images)) != pytest.approx(expected, abs=1e-5)


def test_a_channel_without_filters_changes_nothing_at_first_and_can_learn() -> None:
    for model in ("gapnet", "gapnet-pl"):
        source = build_random(model, 1)
        network = start_from(source, model, ChannelMatch(there=("green",), here=("red", "green", "blue")))
        images = draw(network)
        expected = np.asarray(source(images[..., [1]]))
        images[..., 2] = 9
        assert np.asarray(network(images)) == pytest.approx(expected, abs=1e-5)
        # Its kernel is 0, what it is multiplied by is not.
        kernel = next(layer for layer in find_channel_layers(network) if layer.name == "conv_1").get_weights()[0]
        assert [bool(kernel[:, :, channel].any()) for channel in range(3)] == [False, True, False]


def test_channels_that_are_gone_count_as_black_where_black_is_0() -> None:
    source = build_random("gapnet-pl")
    network = start_from(source, "gapnet-pl", ChannelMatch(there=RGBY, here=("blue", "green")))
    images = draw(source)
    images[..., [0, 3]] = 0
    assert np.asarray(network(images[..., [2, 1]])) == pytest.approx(np.asarray(source(images)), abs=1e-5)


def test_channels_keep_their_own_filters_and_the_others_take_what_is_left() -> None:
    for there, here, sources in (
        (("green",), ("red",), (0,)),
        (RGBY, ("red", "green", "DAPI"), (0, 1, 2)),
        (RGBY, ("DAPI", "red", "green", "yellow"), (2, 0, 1, 3)),
        (("red", "green"), ("green", "blue", "yellow"), (1, 0, None)),
    ):
        assert ChannelMatch(there=there, here=here).sources == sources
    assert ChannelMatch(there=RGBY, here=RGBY).is_by_position
    assert not ChannelMatch(there=RGBY, here=RGBY[:3]).is_by_position


def test_networks_whose_first_layers_know_a_channel_by_its_place_say_so() -> None:
    inputs = keras.Input((8, 8, 3))
    scaled = keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(inputs)
    for x in (
        keras.layers.Conv2D(4, 3)(scaled),
        keras.layers.DepthwiseConv2D(3)(inputs),
        keras.layers.Conv2D(6, 3, groups=3)(inputs),
        keras.layers.Concatenate()([keras.layers.Conv2D(3, 1)(inputs), inputs]),
        keras.layers.Dense(4)(keras.layers.Flatten()(inputs)),
    ):
        assert find_channel_layers(keras.Model(inputs, x)) == []
