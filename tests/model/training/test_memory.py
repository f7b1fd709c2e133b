"""A step that needs more memory than there is ends in one line, with a batch size that fits."""

from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf

from hpa_data.commands.endings import explain
from hpa_data.errors import InputError, is_out_of_memory
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.training.callback import Models
from hpa_model.training.fit import compile_models, fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.memory import check_memory, try_step
from hpa_model.training.pretrain import NAME, RECONSTRUCTION
from hpa_model.training.pretrain_data import open_unlabeled
from tests.model.training.conftest import build_tiny


class Greedy(keras.layers.Layer):
    """Asks for 40 TB where the batch has more than `limit` images: TensorFlow or, which fails at once, NumPy in it."""

    def __init__(self, limit: int, *, asks_numpy: bool) -> None:
        super().__init__()
        self.limit, self.asks_numpy = limit, asks_numpy

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.asks_numpy:
            n = tf.where(tf.shape(x)[0] > self.limit, tf.constant(10**15, tf.int64), tf.constant(1, tf.int64))
            return x + 0 * tf.ensure_shape(tf.numpy_function(lambda n: np.zeros(n, np.float32)[0], [n], tf.float32), ())
        n = tf.where(tf.shape(x)[0] > self.limit, tf.constant(10**13, tf.int64), tf.constant(1, tf.int64))
        return x + 0 * tf.reduce_max(tf.random.uniform([n]))


class GreedyBackwards(keras.layers.Layer):
    """Asks for 40 TB for the gradients of the layers before it, where the batch has more than `limit` images."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def call(self, x: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def pass_on(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return tf.identity(x), Greedy(self.limit, asks_numpy=True).call

        return pass_on(x)


def make_job(folder: Path, reader: Reader, **changes: Any) -> FoldJob:
    """Make the job of training on 12 images at a time."""
    everything = np.arange(12)
    config = TrainConfig(**{"batch_size": 12, **changes.pop("settings", {})})
    fold = Fold(number=1, folder=folder, training=everything, validation=everything, label=changes.pop("label", ""))
    return FoldJob(config=config, reader=reader, fold=fold, **{"classes": tuple(map(str, range(28))), **changes})


def fit_greedily(store: Store, folder: Path, *, limit: int, epochs: int = 1, asks_numpy: bool = False) -> None:
    """Train a network that takes at most `limit` images at a time."""
    image = keras.Input((512, 512, 4), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(28, activation="sigmoid")(Greedy(limit, asks_numpy=asks_numpy)(x)))
    with store.reader() as reader:
        often = Checkpointing(checkpoint_s=1e9)
        fit_fold(network, make_job(folder, reader, settings={"epochs": epochs}, checkpointing=often))


# TensorFlow waits ten seconds for memory, each time.
ASKED = [True, pytest.param(False, marks=pytest.mark.slow)]


@pytest.mark.parametrize("asks_numpy", ASKED)
@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        (4, r"Pass --batch-size 3 --overwrite, which fits\."),
        (0, r"The smallest batches do not fit either\. Lower image_"),
    ],
)
def test_the_largest_half_of_the_batch_size_that_fits_is_named(
    limit: int, remedy: str, asks_numpy: bool, store: Store, tmp_path: Path
) -> None:
    message = rf"Cannot train fold 1: a step of batch_size=12 needs more memory than there is on CPU, .*\. {remedy}"
    with pytest.raises(InputError, match=message):
        fit_greedily(store, tmp_path, limit=limit, asks_numpy=asks_numpy)


@pytest.mark.parametrize("asks_numpy", ASKED)
def test_work_that_was_done_is_not_thrown_away_lightly(asks_numpy: bool, store: Store, tmp_path: Path) -> None:
    fit_greedily(store, tmp_path, limit=12, epochs=1, asks_numpy=asks_numpy)
    message = r"Run the same command again when other programs use less, or start again: Pass --batch-size 6 "
    with pytest.raises(InputError, match=message):
        fit_greedily(store, tmp_path, limit=6, epochs=2, asks_numpy=asks_numpy)


def test_all_layers_must_fit_into_memory_before_the_head_alone_is_trained(store: Store, tmp_path: Path) -> None:
    image = keras.Input((512, 512, 4), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    x = GreedyBackwards(4)(keras.layers.Dense(3)(x))
    network = keras.Model(image, keras.layers.Dense(28, activation="sigmoid", name="head_outputs")(x))
    steps: list[int] = []
    with store.reader() as reader:
        job = make_job(
            *(tmp_path, reader),
            settings={"epochs": 2, "head_epochs": 1},
            progress=Progress(advance=steps.append),
        )
        with pytest.raises(
            InputError, match="of batch_size=12 needs more memory .* Pass --batch-size 3 --overwrite, w"
        ):
            fit_fold(network, job)
    assert (steps, list(tmp_path.iterdir())) == ([], [])


def test_the_check_of_memory_changes_no_weight_and_no_random_state(store: Store, tmp_path: Path) -> None:
    network = build_tiny((512, 512, 4), 28, image_size=(16, 16))
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in network.variables]
    with store.reader() as reader:
        job = make_job(tmp_path, reader, settings={"symmetries": True})
        models = compile_models(network, job.config)
        check_memory(models, job)
    assert int(models.compiled.optimizer.iterations) == 1
    assert len(before) == 11
    for value, variable in zip(before, network.variables, strict=True):
        assert (value == keras.ops.convert_to_numpy(variable)).all(), variable.path


def test_a_batch_size_is_found_for_an_autoencoder_too(store: Store, tmp_path: Path) -> None:
    image = keras.Input((512, 512, 4), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(2)(Greedy(4, asks_numpy=True)(x)))
    message = "Cannot train the autoencoder: .* Pass --batch-size 3 --overwrite, which fits"
    with open_unlabeled(store, TrainConfig()) as reader, pytest.raises(InputError, match=message):
        fit_fold(network, make_job(tmp_path, reader, objective=RECONSTRUCTION, label=NAME, classes=()))


@pytest.mark.parametrize(
    ("batch_size", "devices", "expected"), [(5, 1, [7]), (4, 1, [4]), (6, 2, [3]), (10, 2, [6]), (20, 1, [12])]
)
def test_the_largest_batch_of_an_epoch_is_tried_of_which_each_device_takes_its_share(
    batch_size: int, devices: int, expected: list[int], store: Store, tmp_path: Path
) -> None:
    tried: list[int] = []

    class Watched(keras.Model):
        def train_on_batch(self, x: Any, y: Any = None, *_: Any, **__: Any) -> None:
            assert len(x) == len(y)
            tried.append(len(x))

    image = keras.Input((512, 512, 4), dtype="uint8")
    with store.reader() as reader:
        job = make_job(tmp_path, reader, settings={"batch_size": batch_size, "devices": devices})
        model = Watched(image, image)
        try_step(Models(network=model, replica=model, compiled=model), job, batch_size)
    assert tried == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[4]"), True),
        (tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), True),
        (tf.errors.InvalidArgumentError(None, None, "shapes differ"), False),
        (jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_each_backend_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    explained = explain(error)
    assert (explained is not None and "there is not enough memory" in explained[1]) is expected
