"""The networks of `keras.applications`: the same as there, at any number of channels."""

import importlib

import keras
import numpy as np
import pytest

from hpa_model import nets
from hpa_model.nets.backbones import BACKBONES
from hpa_model.nets.catalog import list_layers
from tests.builders import randomise

# Where Keras keeps the input scaling of each, and the names and checksums of its files.
MODULES = {
    "densenet121": "densenet",
    "resnet50v2": "resnet_v2",
    "inceptionv3": "inception_v3",
    "convnext-tiny": "convnext",
    "efficientnetv2-b0": "efficientnet_v2",
}
OPTIONS = {"densenet121": {"scaling": "imagenet"}}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_with_three_channels_a_backbone_gives_what_keras_applications_gives(name: str) -> None:
    backbone, size = BACKBONES[name], BACKBONES[name].min_size + 9
    model = nets.build(name, (size, size, 3), 5, options=OPTIONS.get(name))
    published = backbone.application(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    randomise(published)
    ours, theirs = ([layer for layer in list_layers(each) if layer.weights] for each in (model, published))
    assert len(ours) == len(theirs) + 1  # the classification head
    for layer, other in zip(ours, theirs, strict=False):
        layer.set_weights(other.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    module = getattr(keras.applications, MODULES[name])
    expected = np.asarray(published(module.preprocess_input(images.astype(np.float32)), training=False))
    features = keras.Model(model.input, model.layers[-1].input)
    scale = np.abs(expected).max()
    assert scale > 0.01
    assert np.asarray(features(images, training=False)) / scale == pytest.approx(expected / scale, abs=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_published_weights_are_those_that_keras_looks_for(name: str) -> None:
    module = "resnet" if name == "resnet50v2" else MODULES[name]
    source = importlib.util.find_spec(f"keras.src.applications.{module}")
    assert source is not None
    assert source.origin is not None
    with open(source.origin, encoding="utf-8") as file:
        text = file.read()
    backbone = BACKBONES[name]
    assert backbone.file_hash in text
    assert backbone.url.rpartition("/")[0] in text.replace('"\n    "', "")
