"""A step that needs more memory than there is ends in one line, with a batch size that fits."""

from pathlib import Path

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf

from hpa_data.commands.endings import explain
from hpa_data.errors import InputError, is_out_of_memory
from hpa_data.store.store import Store
from hpa_model.config import TrainConfig
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob


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


def fit_greedily(store: Store, folder: Path, *, limit: int, epochs: int = 1, asks_numpy: bool = False) -> None:
    """Train a network that takes at most `limit` images at a time."""
    image = keras.Input((512, 512, 4), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(28, activation="sigmoid")(Greedy(limit, asks_numpy=asks_numpy)(x)))
    everything = np.arange(12)
    with store.reader() as reader:
        job = FoldJob(
            config=TrainConfig(epochs=epochs, batch_size=12),
            reader=reader,
            fold=Fold(number=1, folder=folder, training=everything, validation=everything),
            classes=tuple(map(str, range(28))),
            checkpointing=Checkpointing(checkpoint_s=1e9),
        )
        fit_fold(network, job)


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
