"""Whether two networks compute the same with the same weights."""

import keras
import pytest
from keras import layers

from hpa_model.nets.catalog import list_layers
from hpa_model.nets.matching import compare_layers, describe_scaling
from hpa_model.nets.scale import ZScore
from hpa_model.nets.stem import IMAGENET, SIGNED, UNIT, ColorScaling, scale_colors

OF_IMAGENET = "0.0171 and -2.12; 0.0175 and -2.04; 0.0174 and -1.8"


@pytest.mark.parametrize(
    ("scaling", "n_channels", "description"),
    [
        (UNIT, 3, "0.00392 and +0"),
        (SIGNED, 4, "0.00784 and -1"),
        (IMAGENET, 3, OF_IMAGENET),
        (IMAGENET, 4, "0.0174 and -1.99"),
    ],
)
def test_the_scaling_of_a_network_is_described(scaling: ColorScaling, n_channels: int, description: str) -> None:
    inputs = keras.Input((8, 8, n_channels))
    inside = keras.Sequential([layers.Rescaling(3.0), layers.Conv2D(2, 3), layers.Rescaling(5.0)])
    model = keras.Model(inputs, layers.Conv2D(2, 3)(scale_colors(inputs, scaling)))
    assert describe_scaling(list_layers(model)) == description
    # What comes behind the first weights scales no images.
    assert describe_scaling(list_layers(keras.Model(inputs, inside(inputs)))) == "3 and +0"


def test_one_scaling_is_described_alike_however_it_is_built() -> None:
    means, variances = [255 * mean for mean in IMAGENET.means], [(255 * std) ** 2 for std in IMAGENET.stds]
    normalization = layers.Normalization(mean=means, variance=variances)
    normalization.build((None, 8, 8, 3))
    assert describe_scaling([normalization]) == OF_IMAGENET
    assert describe_scaling([layers.Rescaling(2.0, offset=1.0), layers.Rescaling(0.5, offset=-1.0)]) == "1 and -0.5"
    assert describe_scaling([ZScore()]) == "their own mean"
    assert not describe_scaling([layers.ReLU()])


def test_layers_differ_by_shapes_and_by_what_they_compute() -> None:
    def build(**settings: object) -> layers.Layer:
        layer = layers.Conv2D(2, 3, **settings)
        layer.build((None, 8, 8, 3))
        return layer

    assert not compare_layers(build(), build())
    assert compare_layers(build(strides=2), build()) == "strides=(2, 2) there, (1, 1) here"
    assert compare_layers(build(activation="relu"), build()) == "activation=relu there, linear here"
    assert (
        compare_layers(build(use_bias=False), build()) == "the shapes [(3, 3, 3, 2)] there, [(3, 3, 3, 2), (2,)] here"
    )
