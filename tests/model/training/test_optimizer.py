"""The optimizer of a training: its settings, weight decay and penalties."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from hpa_model.config import TrainConfig, make_config
from hpa_model.training.fit import compile_models
from hpa_model.training.optimizer import make_optimizer


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({}, lambda o: type(o).__name__ == "Adam" and o.weight_decay is None and o.global_clipnorm is None),
        ({"optimizer": "sgd", "momentum": 0.8}, lambda o: type(o).__name__ == "SGD" and o.momentum == 0.8),
        ({"weight_decay": 0.005}, lambda o: o.weight_decay == 0.005),
        ({"optimizer": "adamw", "weight_decay": 0.01}, lambda o: isinstance(o, keras.optimizers.AdamW)),
        ({"optimizer": "muon", "momentum": 0.8}, lambda o: isinstance(o, keras.optimizers.Muon) and o.momentum == 0.8),
        ({"ema": 0.9}, lambda o: o.use_ema and o.ema_momentum == 0.9),
        ({"accumulate_batches": 3}, lambda o: o.gradient_accumulation_steps == 3),
        ({"clip_norm": 5.0}, lambda o: o.global_clipnorm == 5.0),
        ({"precision": "mixed_float16"}, lambda o: type(o).__name__ == "LossScaleOptimizer"),
    ],
)
def test_settings_reach_the_optimizer(settings: dict[str, object], check: Callable[[object], bool]) -> None:
    assert check(make_optimizer(make_config(settings)))


def train_without_gradient(config: TrainConfig, n_steps: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train a small network on images of 0, whose kernels then get no gradient; return weights before and after."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.BatchNormalization(center=False)(inputs)
    network = keras.Model(inputs, keras.layers.Dense(3, "sigmoid", bias_initializer="ones")(x))
    before = {
        variable.path.rpartition("/")[2]: keras.ops.convert_to_numpy(variable).copy()
        for variable in network.trainable_variables
    }
    models = compile_models(network, config)
    for _ in range(n_steps):
        models.compiled.train_on_batch(np.zeros((4, 6), np.float32), np.full((4, 3), 1 / (1 + np.exp(-1)), np.float32))
    after = {
        variable.path.rpartition("/")[2]: keras.ops.convert_to_numpy(variable).copy()
        for variable in network.trainable_variables
    }
    return {name: (before[name], after[name]) for name in before}


@pytest.mark.parametrize(("decayed", "spared"), [("kernels", ["bias", "gamma"]), ("all", [])])
def test_weight_decay_spares_biases_and_normalization_unless_all_is_asked_for(decayed: str, spared: list[str]) -> None:
    config = make_config({"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.1, "weight_decay_of": decayed})
    weights = train_without_gradient(config, n_steps=2)
    assert weights["kernel"][1] == pytest.approx(weights["kernel"][0] * 0.99**2, rel=1e-5)
    unchanged = [name for name, (before, after) in weights.items() if after == pytest.approx(before, abs=1e-6)]
    assert unchanged == (["gamma", "bias"] if spared else [])


def test_the_l2_penalty_goes_through_the_momentum_and_spares_biases_and_normalization() -> None:
    config = make_config({"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "l2": 0.1})
    weights = train_without_gradient(config, n_steps=3)
    kernel, velocity = weights["kernel"][0], np.zeros_like(weights["kernel"][0])
    for _ in range(3):
        velocity = 0.9 * velocity - 0.1 * 0.1 * kernel
        kernel = kernel + velocity
    assert weights["kernel"][1] == pytest.approx(kernel, rel=1e-5)
    for name in ("bias", "gamma"):
        assert weights[name][1] == pytest.approx(weights[name][0], abs=1e-6)


def test_the_l1_penalty_moves_each_kernel_towards_0() -> None:
    weights = train_without_gradient(make_config({"optimizer": "sgd", "learning_rate": 0.1, "l1": 0.01}), n_steps=1)
    before, after = weights["kernel"]
    assert after == pytest.approx(before - 0.1 * 0.01 * np.sign(before), abs=1e-6)


def test_a_penalty_of_the_network_itself_is_kept() -> None:
    inputs = keras.Input((6,))
    dense = keras.layers.Dense(3, "sigmoid", kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5))
    models = compile_models(keras.Model(inputs, dense(inputs)), make_config({"l2": 0.1}))
    assert float(sum(models.compiled.losses)) == pytest.approx(0.5 * 18 + 0.1 / 2 * 18)
