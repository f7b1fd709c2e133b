"""Autoencoders over the networks: what the encoder is, what the decoder mirrors, and what carries over."""

from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model import nets
from hpa_model.nets.autoencoder import (
    AUTOENCODER_LAYERS,
    DAMAGED,
    ORIGINAL,
    RECONSTRUCTION,
    MaskPatches,
    build_autoencoder,
    copy_encoder,
    cut_encoder,
    find_encoder,
)
from hpa_model.nets.head import HEAD
from tests.builders import randomise

# Networks and options, small images of an odd shape.
CASES = [
    ("gapnet", {}),
    pytest.param("gapnet", {"padding": "same", "dropout_place": "tap"}, marks=pytest.mark.slow),
    pytest.param("gapnet", {"stride": 1}, marks=pytest.mark.slow),
    pytest.param("gapnet-pl", {}, marks=pytest.mark.slow),
    pytest.param("deepyeast", {"scaling": "zscore"}, marks=pytest.mark.slow),
]
SHAPE = (83, 78, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_an_autoencoder_puts_out_images_of_the_size_and_scale_that_the_network_sees(
    name: str, options: dict[str, float | int | str]
) -> None:
    network = nets.build(name, SHAPE, 2, image_size=(79, 76), options=options)
    model = build_autoencoder(network, find_encoder(name))
    seen, found = (model.get_layer(each).output for each in (ORIGINAL, RECONSTRUCTION))
    assert found.shape == seen.shape == (None, 79, 76, 3)
    outputs = keras.Model(model.input, [seen, found, model.output])(IMAGES, training=False)
    original, reconstruction, errors = map(np.asarray, outputs)
    assert errors[:, 0] == pytest.approx(((original - reconstruction) ** 2).mean(axis=(1, 2, 3)), rel=1e-4)
    spread = ((original - original.mean(axis=(1, 2), keepdims=True)) ** 2).mean(axis=(1, 2, 3))
    assert errors[:, 1] == pytest.approx(spread, rel=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(("name", "options"), CASES[:1])
def test_a_lower_precision_rounds_neither_the_images_to_reconstruct_nor_the_error(
    name: str, options: dict[str, float | int | str], precision: str
) -> None:
    originals = []
    for policy in ("float32", precision):
        network = nets.build(name, SHAPE, 2, image_size=(79, 76), options=options, precision=policy)
        model = build_autoencoder(network, find_encoder(name))
        layers = [model.get_layer(each).output for each in (ORIGINAL, RECONSTRUCTION)]
        original, found, errors = map(np.asarray, keras.Model(model.input, [*layers, model.output])(IMAGES))
        originals.append(original)
    assert network.get_layer("conv_2").compute_dtype == precision.removeprefix("mixed_")
    assert errors.dtype == found.dtype == np.float32
    assert (originals[0] == originals[1]).all()
    assert errors[:, 0] == pytest.approx(((original - found).astype(np.float64) ** 2).mean(axis=(1, 2, 3)), rel=1e-5)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_encoder_has_all_weights_of_a_network_but_those_of_its_head_and_they_carry_over_by_name(
    name: str, options: dict[str, float | int | str]
) -> None:
    end = find_encoder(name)
    one, other = (nets.build(name, SHAPE, 2, options=options) for _ in range(2))
    randomise(one)
    backbone = {layer.name for layer in one.layers if layer.weights and not layer.name.startswith(HEAD)}
    backbone -= {layer.name for layer in one.layers if isinstance(layer, keras.layers.Dropout)}  # random states
    assert {layer.name for layer in cut_encoder(one, end).layers if layer.weights} >= backbone
    head = [layer for layer in other.layers if layer.name.startswith(HEAD)]
    before = [value for layer in head for value in layer.get_weights()]
    assert copy_encoder(build_autoencoder(one, end), other, end) == ""
    for layer in cut_encoder(other, end).layers:
        if layer.weights:
            for here, there in zip(layer.get_weights(), one.get_layer(layer.name).get_weights(), strict=True):
                assert (here == there).all(), layer.name
    after = [value for layer in head for value in layer.get_weights()]
    assert all((here == there).all() for here, there in zip(before, after, strict=True))
    codes = [np.asarray(cut_encoder(model, end)(IMAGES, training=False)) for model in (one, other)]
    assert (codes[0] == codes[1]).all()


def test_an_encoder_with_other_strides_channels_or_scaling_does_not_fit() -> None:
    def build(shape: tuple[int, int, int] = SHAPE, **options: int | str) -> keras.Model:
        return nets.build("gapnet", shape, 2, options=options)

    there = cut_encoder(build(), "conv_7")
    assert copy_encoder(there, build(stride=1), "conv_7") == "layer conv_2 has strides=(2, 2) there, (1, 1) here"
    found = copy_encoder(there, build((*SHAPE[:2], 4)), "conv_7")
    assert found.startswith("layer norm_1 has the shapes [(3,), (3,), (3,), (3,)] there, [(4,)")
    other = cut_encoder(nets.build("gapnet-pl", SHAPE, 2), "conv_8")
    found = copy_encoder(other, build(), "conv_7")
    assert found == "it scales images by their own mean, this one by 0.00392 and +0"


def test_mask_and_noise_change_what_the_encoder_sees_in_training_alone(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    network = nets.build("gapnet", SHAPE, 2)
    model = build_autoencoder(network, find_encoder("gapnet"), mask=0.5, patch=8, noise=0.1)
    see = keras.Model(model.input, [model.get_layer(name).output for name in (ORIGINAL, DAMAGED)])
    original, same = map(np.asarray, see(IMAGES, training=False))
    assert (original == same).all()
    original, damaged = map(np.asarray, see(IMAGES, training=True))
    assert (original != damaged).mean() > 0.99
    model.save(tmp_path / "a.keras")
    custom = {**nets.LAYERS, **AUTOENCODER_LAYERS}
    loaded = keras.models.load_model(tmp_path / "a.keras", compile=False, safe_mode=True, custom_objects=custom)
    assert (loaded.get_layer("mask").share, loaded.get_layer("mask").patch) == (0.5, 8)
    assert (np.asarray(loaded(IMAGES, training=False)) == np.asarray(model(IMAGES, training=False))).all()
    mask = MaskPatches(0.5, 8)
    masked = np.asarray(mask(original, training=True))
    is_mean = (masked == original.mean(axis=(1, 2), keepdims=True).astype(np.float32)) | (masked != original)
    assert 0.3 < is_mean.mean() < 0.7
    blocks = is_mean[:, :80, :72].reshape(2, 10, 8, 9, 8, 3).mean(axis=(2, 4, 5))
    assert set(np.unique(blocks)) == {0.0, 1.0}  # whole patches, in all channels


def test_a_network_without_a_chain_of_convolutions_is_refused() -> None:
    with pytest.raises(
        InputError, match="model must be one of gapnet, gapnet-pl, deepyeast to pre-train.*Received: model='mcnn'"
    ):
        find_encoder("mcnn")
