"""Losses in Keras against what they come to over a whole set in NumPy."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_model import losses, metrics


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9), k=st.integers(1, 6))
def test_a_loss_of_a_batch_is_that_of_the_set(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.3).astype(np.float32)
    probs = rng.random((n, k)).astype(np.float32).clip(0.001, 0.999)
    for name, loss in losses.LOSSES.items():
        batch = float(np.mean(keras.ops.convert_to_numpy(loss(labels, probs))))
        assert batch == pytest.approx(metrics.LOSSES[name](labels, probs), abs=1e-5), name


def test_soft_f1_is_that_of_predictions_where_probabilities_are_certain() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    guess = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]], np.float32)
    # Class 0: one hit, one missed, one false: 0.5. Class 1: 1. Class 2: absent, and predicted once: 0.
    assert metrics.f1_per_class(labels, guess).tolist() == [0.5, 1.0, 0.0]
    assert metrics.soft_macro_f1_loss(labels, guess) == pytest.approx(0.5)
    assert float(losses.soft_macro_f1_loss(labels, keras.ops.convert_to_tensor(guess))) == pytest.approx(0.5)


def test_the_paper_s_example_of_soft_f1() -> None:
    # A true label given 0.4 counts as 0.4 of a hit and 0.6 of a miss; a false one as 0.4 of a false alarm.
    labels, probs = np.array([[1.0], [0.0]]), np.array([[0.4], [0.4]])
    assert metrics.soft_macro_f1_loss(labels, probs) == pytest.approx(1 - 2 * 0.4 / (2 * 0.4 + 0.4 + 0.6))


def test_an_absent_class_leaves_the_gradient_finite() -> None:
    import tensorflow as tf

    probs = tf.Variable(np.zeros((2, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = losses.soft_macro_f1_loss(np.zeros((2, 3), np.float32), probs)
    assert np.isfinite(tape.gradient(loss, probs)).all()


def test_focal_loss_is_cross_entropy_where_it_does_not_focus() -> None:
    rng = np.random.default_rng(0)
    labels, probs = (rng.random((50, 4)) < 0.3), rng.random((50, 4))
    assert metrics.focal_cross_entropy(labels, probs, gamma=0) == pytest.approx(
        metrics.binary_cross_entropy(labels, probs)
    )


def test_accuracy_counts_every_label() -> None:
    assert metrics.binary_accuracy(np.array([[1, 0], [0, 0]]), np.array([[0.6, 0.5], [0.4, 0.9]])) == 0.75
