"""The same images on TensorFlow and JAX, alone and as a part of a network that is trained."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from hpa_model import nets
from hpa_model.augment import plan_augmentation
from hpa_model.nets.symmetry import find_size, with_row_input
from tests.model.augment.images import CHANNELS, make_images
from tests.model.augment.on_backend import SETTINGS, apply_all
from tests.model.training.conftest import build_tiny


@pytest.mark.parametrize(
    ("names", "side", "most"),
    [
        (["some"], 32, 2e-3),
        pytest.param([name for name in SETTINGS if name != "some"], 32, 2e-3, marks=pytest.mark.slow),
        pytest.param(["everything"], 512, 255e-4, marks=pytest.mark.slow),  # coordinates are float32
    ],
    ids=["some", "each", "large"],
)
def test_tensorflow_and_jax_make_the_same_images(names: list[str], side: int, most: float, tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "tests.model.augment.on_backend", str(tmp_path / "jax.npz"), str(side), *names]
    subprocess.run(command, check=True, env=environment, timeout=300)
    made = apply_all(names, side)
    with np.load(tmp_path / "jax.npz") as theirs:
        assert set(theirs.files) == set(made)
        for name, images in made.items():
            assert images.dtype == theirs[name].dtype == np.float32
            difference = np.abs(images - theirs[name]).max()
            print(name, difference)
            assert difference < most, name  # of 255 gray levels


@pytest.mark.parametrize(
    ("image_size", "applied_at"), [((64, 64), (64, 64)), ((32, 32), (32, 32)), ((24, 32), (64, 64))]
)
def test_a_network_sees_what_the_layer_makes_after_its_resize(
    image_size: tuple[int, int], applied_at: tuple[int, int]
) -> None:
    model = build_tiny((64, 64, 4), 3, image_size=image_size)
    assert find_size(model) == applied_at
    augmentation = plan_augmentation("strong", CHANNELS, (64, 64, 4), applied_at, seed=0)
    layer = augmentation.make_layer()
    wrapped = with_row_input(model, layer, augmentation.n_columns)
    assert {id(v) for v in wrapped.variables} == {id(v) for v in model.variables}
    images = make_images(4)
    rows, _ = augmentation.draw(np.arange(4), 0)
    found = np.asarray(wrapped((images, rows)))
    resize = next((each for each in model.layers if "resize" in each.name), None)
    if applied_at == image_size != (64, 64):
        after = keras.Model(resize.output, model.output)
        expected = np.asarray(after(layer(resize(images), rows)))
    else:  # to what is no input, whose gray levels would be rounded
        expected = np.asarray(model(np.asarray(layer(images, rows)).round().astype(np.uint8)))
    assert found == pytest.approx(expected, abs=1e-5 if applied_at == image_size != (64, 64) else 0.02)
    assert not (found == np.asarray(model(images))).all()


def test_a_network_with_augmentation_is_saved_as_it_is(tmp_path: Path) -> None:
    model = build_tiny((32, 32, 4), 3, image_size=(32, 32))
    model.save(tmp_path / "before.keras")
    augmentation = plan_augmentation("paper", CHANNELS, (32, 32, 4), (32, 32), seed=0)
    with_row_input(model, augmentation.make_layer(), augmentation.n_columns)
    model.save(tmp_path / "after.keras")
    before, after = (
        keras.models.load_model(tmp_path / f"{name}.keras", custom_objects=nets.LAYERS) for name in ("before", "after")
    )
    assert before.get_config() == after.get_config()
    assert after.inputs[0].dtype == "uint8"


def make_layer() -> tuple[keras.layers.Layer, np.ndarray]:
    """Make the layer of all operations, and rows for 5 images of 32 x 32 pixels."""
    augmentation = plan_augmentation(SETTINGS["everything"], CHANNELS, (64, 64, 4), (32, 32), seed=0)
    return augmentation.make_layer(), augmentation.draw(np.arange(5), 0)[0]


def test_the_layer_has_kernels_for_gpus_and_takes_batches_of_any_size() -> None:
    (layer, rows), images = make_layer(), make_images(5, 32)
    specs = [tf.TensorSpec((None, 32, 32, 4), tf.uint8), tf.TensorSpec((None, rows.shape[1]), tf.float32)]
    apply = tf.function(layer, input_signature=specs)
    whole = np.asarray(apply(images, rows))
    assert np.abs(np.asarray(apply(images[:4], rows[:4])) - whole[:4]).max() < 2e-3
    operations = {each.type for each in apply.get_concrete_function().graph.get_operations()}
    assert {"RightShift", "GatherV2", "MirrorPad"} <= operations
    for name in operations:
        devices = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(name).kernel}
        assert devices & {"GPU", "DEFAULT"}, name


@pytest.mark.slow
def test_the_layer_can_be_compiled_with_xla() -> None:
    (layer, rows), images = make_layer(), make_images(5, 32)
    compiled = tf.function(layer, jit_compile=True)(tf.constant(images), tf.constant(rows))
    assert np.abs(np.asarray(compiled) - np.asarray(layer(images, rows))).max() < 5e-3
