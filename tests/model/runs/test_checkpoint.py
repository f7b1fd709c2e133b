"""Checkpoints: what is saved comes back; what is damaged or of another network changes nothing."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model import nets
from hpa_model.config import TrainConfig
from hpa_model.runs.checkpoint import START, load_checkpoint, read_state, save_checkpoint
from hpa_model.runs.history import EpochRecord
from hpa_model.training.optimizer import make_optimizer

# Every metric has a value: NaN, the default of those that were added later, does not equal itself.
RECORD = EpochRecord(**dict.fromkeys(EpochRecord.__dataclass_fields__, 0.5) | {"epoch": 1, "val_loss": 0.6})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small() -> tuple[keras.Model, keras.Optimizer]:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    optimizer = make_optimizer(TrainConfig())
    optimizer.build(network.trainable_variables)
    return network, optimizer


def test_an_epoch_with_a_lower_validation_loss_is_the_best() -> None:
    state = replace(START, step=7, loss_sum=3.0, n_images=20, elapsed_s=2.0)
    first = state.after_epoch(RECORD, (0.1, 0.2))
    assert first == replace(START, epoch=1, best_epoch=0, best_loss=0.6, history=(RECORD,), class_f1=((0.1, 0.2),))
    higher = replace(RECORD, epoch=2, val_loss=0.7)
    second = first.after_epoch(higher, (0.3, 0.4))
    assert (second.best_epoch, second.best_loss, second.epochs_since_best) == (0, 0.6, 1)
    assert second.after_epoch(replace(RECORD, epoch=3), (0.3, 0.4)).epochs_since_best == 2  # the same is not lower
    lower = second.after_epoch(replace(RECORD, epoch=3, val_loss=0.5), (0.3, 0.4))
    assert (lower.best_epoch, lower.best_loss, lower.epochs_since_best) == (2, 0.5, 0)
    assert [record.epoch for record in lower.history] == [1, 2, 3]
    last = second.after_epoch(replace(RECORD, epoch=3), (0.3, 0.4), is_kept=True)
    assert (last.best_epoch, last.best_loss, last.epochs_since_best) == (2, 0.6, 2)


def test_a_checkpoint_has_the_keys_of_0_1_0(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", replace(START, elapsed_s=2.5), *small)
    with np.load(tmp_path / "a.npz") as file:
        raw = json.loads(str(file["state"]))
    names = "epoch step loss_sum n_images trained_s best_epoch best_loss since_lower history class_f1"
    assert list(raw) == names.split()
    assert raw["trained_s"] == 2.5


def test_a_checkpoint_of_a_newer_version_is_refused(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", START, *small)
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    raw = json.loads(str(arrays["state"])) | {"ema_step": 3}
    np.savez(tmp_path / "a.npz", **(arrays | {"state": np.array(json.dumps(raw))}))
    with pytest.raises(InputError, match="it has 'ema_step', which this version does not know"):
        read_state(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(epoch=-1),
        lambda state: state.update(epoch=2),
        lambda state: state.update(step="a"),
        lambda state: state.update(step=[0]),
        lambda state: state.update(best_epoch=1),
        lambda state: state.update(loss_sum=float("nan")),
        lambda state: state.update(trained_s=float("inf")),
        lambda state: state.update(best_loss=float("nan")),
        lambda state: state.update(history=3),
        lambda state: state.update(history=[{"epoch": 1}]),
        lambda state: state.update(class_f1=[["a"]]),
        lambda state: state.update(class_f1=[]),
        lambda state: state.pop("n_images"),
    ],
)
def test_an_invalid_state_is_refused(
    small: tuple[keras.Model, keras.Optimizer], tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    state = replace(START, epoch=1, best_epoch=0, best_loss=0.6, history=(RECORD,), class_f1=((0.1, 0.2),))
    path = tmp_path / "a.npz"
    save_checkpoint(path, state, *small)
    assert read_state(path) == state
    with np.load(path) as file:
        arrays = dict(file)
    raw = json.loads(str(arrays["state"]))
    change(raw)
    np.savez(path, **(arrays | {"state": np.array(json.dumps(raw))}))
    with pytest.raises(InputError, match="Cannot read checkpoint .*--overwrite"):
        read_state(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(v0=np.full(arrays["v0"].shape, "a")),
        lambda arrays: arrays.update(v0=np.full(arrays["v0"].shape, np.nan, np.float32)),
        lambda arrays: arrays.update(v0=arrays["v0"].astype(np.float64)),
        lambda arrays: arrays.update(v0=arrays["v0"][..., None]),
        lambda arrays: arrays.update(v99=arrays["v0"]),
        lambda arrays: arrays.pop("v1"),
        lambda arrays: arrays.update(state=np.array("{}")),
    ],
)
def test_an_invalid_checkpoint_changes_nothing(
    small: tuple[keras.Model, keras.Optimizer], tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, START, *small)
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    before = copy.deepcopy(small[0].get_weights())
    with pytest.raises(InputError, match="Cannot read checkpoint .*--overwrite"):
        load_checkpoint(path, *small)
    assert all((a == b).all() for a, b in zip(before, small[0].get_weights(), strict=True))


def test_weights_that_are_not_finite_are_not_saved(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", START, *small)
    before = (tmp_path / "a.npz").read_bytes()
    kernel = small[0].layers[-1].kernel
    value = keras.ops.convert_to_numpy(kernel)
    kernel.assign(np.full(value.shape, np.nan))
    with pytest.raises(InputError, match=r"Cannot train .* further: .*kernel has NaN .*epoch 1, step 3\."):
        save_checkpoint(tmp_path / "a.npz", replace(START, step=2), *small)
    kernel.assign(value)
    assert (tmp_path / "a.npz").read_bytes() == before


@pytest.fixture
def gapnet() -> tuple[keras.Model, keras.Optimizer]:
    network = nets.build("gapnet", (76, 76, 4), 3)
    optimizer = make_optimizer(TrainConfig())
    optimizer.build(network.trainable_variables)
    return network, optimizer


def test_a_checkpoint_has_every_variable(gapnet: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    network, optimizer = gapnet
    record = EpochRecord(
        **dict.fromkeys(EpochRecord.__dataclass_fields__, 0.5) | {"epoch": 1}  # type: ignore[arg-type]
    )
    state = replace(
        START, epoch=1, step=2, loss_sum=0.5, history=(record,), class_f1=((0.1,),), best_loss=0.25, best_epoch=0
    )
    for number, variable in enumerate([*network.variables, *optimizer.variables]):
        variable.assign(keras.ops.cast(keras.ops.full(variable.shape, number), variable.dtype))
    save_checkpoint(tmp_path / "a.npz", state, network, optimizer)
    for variable in [*network.variables, *optimizer.variables]:
        variable.assign(keras.ops.zeros_like(variable))
    assert load_checkpoint(tmp_path / "a.npz", network, optimizer) == state
    for number, variable in enumerate([*network.variables, *optimizer.variables]):
        assert (keras.ops.convert_to_numpy(variable) == number).all(), variable.path
    assert any("seed" in variable.path for variable in network.variables)


def test_a_checkpoint_of_another_network_is_refused(
    gapnet: tuple[keras.Model, keras.Optimizer], tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "a.npz", START, *gapnet)
    other = nets.build("gapnet", (76, 76, 4), 4)
    optimizer = make_optimizer(TrainConfig())
    optimizer.build(other.trainable_variables)
    before = [np.asarray(value) for value in other.get_weights()]
    with pytest.raises(InputError, match="Cannot read checkpoint"):
        load_checkpoint(tmp_path / "a.npz", other, optimizer)
    assert all((a == b).all() for a, b in zip(before, other.get_weights(), strict=True))
