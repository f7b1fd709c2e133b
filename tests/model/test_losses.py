"""Losses compared with their definitions in NumPy."""

from typing import get_args

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_model import losses
from hpa_model.config import Loss
from hpa_model.metrics import f1_per_class


def cross_entropy(labels: np.ndarray, probs: np.ndarray, gamma: float) -> float:
    """Compute the focal loss of Lin et al. (2017) in float64; with gamma 0, binary cross-entropy."""
    p = probs.astype(np.float64)
    wrong = np.where(labels == 1, 1 - p, p)
    clipped = p.clip(1e-7, 1 - 1e-7)  # for the logarithm alone, as Keras does
    return float((wrong**gamma * -np.log(np.where(labels == 1, clipped, 1 - clipped))).mean())


def soft_f1(labels: np.ndarray, probs: np.ndarray) -> float:
    y, p = labels.astype(np.float64), probs.astype(np.float64)
    true_positives, false_positives, false_negatives = (y * p).sum(0), ((1 - y) * p).sum(0), (y * (1 - p)).sum(0)
    total = 2 * true_positives + false_positives + false_negatives
    return float(1 - (2 * true_positives / np.maximum(total, 1e-7)).mean())


def asymmetric(labels: np.ndarray, probs: np.ndarray) -> float:
    p = probs.astype(np.float64)
    q = np.maximum(p - 0.05, 0)
    terms = [np.log(p.clip(1e-7)), q**4 * np.log((1 - q).clip(1e-7))]
    return float(-np.where(labels == 1, *terms).mean())


DEFINITIONS = {
    "bce": lambda labels, probs: cross_entropy(labels, probs, 0),
    "f1": soft_f1,
    "focal": lambda labels, probs: cross_entropy(labels, probs, losses.FOCAL_GAMMA),
    "asymmetric": asymmetric,
}
PER_LABEL = [name for name, loss in losses.LOSSES.items() if loss.is_per_label]


@st.composite
def labels_and_probs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and probabilities, (N, K), exactly 0 and 1 among them."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 6)))
    labels = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1)))
    probs = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    return labels, probs


def test_every_loss_that_can_be_chosen_is_in_the_table_and_has_a_definition() -> None:
    assert tuple(losses.LOSSES) == get_args(Loss) == tuple(DEFINITIONS)


@pytest.mark.parametrize("name", losses.LOSSES)
@settings(deadline=None, max_examples=25)
@given(rows=labels_and_probs())
def test_the_loss_of_a_set_is_what_its_definition_gives(name: str, rows: tuple[np.ndarray, np.ndarray]) -> None:
    assert losses.loss_of_set(name, *rows) == pytest.approx(DEFINITIONS[name](*rows), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", losses.LOSSES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9), k=st.integers(1, 6))
def test_the_loss_that_training_sees_is_that_of_the_set(name: str, seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.3).astype(np.float32)
    probs = rng.random((n, k)).astype(np.float32).clip(0.001, 0.999)
    batch = np.mean(keras.ops.convert_to_numpy(losses.LOSSES[name].function(labels, probs)))
    assert float(batch) == pytest.approx(losses.loss_of_set(name, labels, probs), abs=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_sum_over_classes_is_k_times_the_mean(name: str) -> None:
    rng = np.random.default_rng(0)
    labels, probs = rng.integers(0, 2, (6, 5)).astype(np.float32), rng.random((6, 5)).astype(np.float32)
    sums = keras.ops.convert_to_numpy(losses.make_loss(name, "sum")(labels, probs))
    assert sums == pytest.approx(5 * keras.ops.convert_to_numpy(losses.make_loss(name)(labels, probs)))
    assert losses.loss_of_set(name, labels, probs, "sum") == pytest.approx(5 * losses.loss_of_set(name, labels, probs))


@pytest.mark.parametrize("name", PER_LABEL)
def test_positive_labels_weigh_more_where_they_are_rarer(name: str) -> None:
    rng = np.random.default_rng(0)
    labels, probs = rng.integers(0, 2, (6, 3)).astype(np.float32), rng.uniform(0.1, 0.9, (6, 3)).astype(np.float32)
    weights = np.array([1.0, 3.0, 0.5], np.float32)
    found = keras.ops.convert_to_numpy(losses.make_loss(name, positive_weights=weights)(labels, probs))
    for row in range(6):
        terms = [losses.loss_of_set(name, labels[row, k, None, None], probs[row, k, None, None]) for k in range(3)]
        assert found[row] == pytest.approx(np.mean(np.where(labels[row] == 1, weights, 1) * terms), rel=1e-5)


def test_weights_of_classes_are_ratios_and_1_where_there_is_none() -> None:
    labels = np.zeros((10, 4), np.uint8)
    labels[:2, 0] = labels[:9, 1] = labels[:, 2] = 1
    assert losses.weigh_positives(labels).tolist() == pytest.approx([4.0, 1 / 9, 1.0, 1.0])
    assert losses.weigh_positives(labels, power=0.5).tolist() == pytest.approx([2.0, 1 / 3, 1.0, 1.0])


def test_weights_of_classes_are_those_of_the_images_as_they_are_drawn() -> None:
    labels = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1]])
    times = np.array([1, 2, 3, 1])
    drawn = losses.weigh_positives(np.repeat(labels, times, axis=0))
    assert losses.weigh_positives(labels, rates=times / 2).tolist() == pytest.approx(drawn.tolist())


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0, 0.5], np.float32)], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", PER_LABEL)
def test_labels_of_mixed_images_cost_as_much_of_each(name: str, weights: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 2, (2, 8, 3)).astype(np.float32)
    probs = rng.uniform(0.05, 0.95, (8, 3)).astype(np.float32)
    loss = losses.make_loss(name, positive_weights=weights, mixes=True)
    mixed, *ends = (keras.ops.convert_to_numpy(loss(labels, probs)) for labels in (0.7 * one + 0.3 * other, one, other))
    assert mixed == pytest.approx(0.7 * ends[0] + 0.3 * ends[1], rel=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_mixed_label_has_its_least_loss_within_its_range(name: str) -> None:
    label, probs = np.full((1, 1), 0.4, np.float32), np.linspace(0.01, 0.99, 99, dtype=np.float32)[:, None]
    loss = losses.make_loss(name, mixes=True)
    found = [float(keras.ops.mean(loss(label, each[None]))) for each in probs]
    assert np.isfinite(found).all()
    # Focal loss pulls towards 0.5, asymmetric loss passes over what is clearly absent, and soft macro-F1 rewards
    # whatever is likely, for labels of 0 and 1, too.
    least, most = {"bce": (0.39, 0.41), "focal": (0.4, 0.5)}.get(name, (0.4, 1.0))
    assert least <= probs[int(np.argmin(found)), 0] <= most


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_smooth_labels_are_those_of_keras(name: str) -> None:
    rng = np.random.default_rng(0)
    labels, probs = rng.integers(0, 2, (6, 3)).astype(np.float32), rng.uniform(0.1, 0.9, (6, 3)).astype(np.float32)
    keras_loss = {"bce": keras.losses.binary_crossentropy, "focal": keras.losses.binary_focal_crossentropy}[name]
    found = keras.ops.convert_to_numpy(losses.make_loss(name, label_smoothing=0.2)(labels, probs))
    assert found == pytest.approx(keras.ops.convert_to_numpy(keras_loss(labels, probs, label_smoothing=0.2)), rel=1e-5)


def test_every_loss_has_a_value_for_each_sample() -> None:
    # Keras would add a scalar up over the devices that share a batch.
    rows = np.full((6, 5), 0.5, np.float32)
    assert {name: tuple(loss.function(rows, rows).shape) for name, loss in losses.LOSSES.items()} == dict.fromkeys(
        losses.LOSSES, (6,)
    )


def test_soft_f1_is_that_of_predictions_where_probabilities_are_certain() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    predictions = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]], np.float32)
    # Class 0: one true positive, one false negative, one false positive: 0.5. Class 1: 1. Class 2: absent, and
    # predicted once: 0.
    assert f1_per_class(labels, predictions).tolist() == [0.5, 1.0, 0.0]
    assert losses.loss_of_set("f1", labels, predictions) == pytest.approx(0.5)
    of_samples = losses.soft_macro_f1_loss(labels, keras.ops.convert_to_tensor(predictions))
    assert keras.ops.convert_to_numpy(of_samples).tolist() == pytest.approx([0.5] * 4)


def test_the_example_of_soft_f1_in_the_paper() -> None:
    # A true label with probability 0.4 is 0.4 of a true positive and 0.6 of a false negative; a false one 0.4 of a
    # false positive.
    labels, probs = np.array([[1.0], [0.0]]), np.array([[0.4], [0.4]])
    assert losses.loss_of_set("f1", labels, probs) == pytest.approx(1 - 2 * 0.4 / (2 * 0.4 + 0.4 + 0.6))


def test_an_absent_class_leaves_the_gradient_finite() -> None:
    import tensorflow as tf

    probs = tf.Variable(np.zeros((2, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = losses.soft_macro_f1_loss(np.zeros((2, 3), np.float32), probs)
    assert np.isfinite(tape.gradient(loss, probs)).all()
