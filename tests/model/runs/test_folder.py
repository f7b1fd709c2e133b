"""Files of a run that are damaged, made up or of another run: each is refused by name, none is believed."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model.config import TrainConfig
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.checkpoint import State, load_checkpoint, read_state, save_checkpoint
from hpa_model.runs.folder import EpochRecord, read_history, read_run
from hpa_model.runs.models import load_model, save_model
from hpa_model.runs.out_of_fold import read_out_of_fold, read_thresholds
from hpa_model.training.fit import make_optimizer
from tests.builders import RUN_CLASSES, make_rows, make_run

RECORD = EpochRecord(
    epoch=1,
    loss=0.5,
    val_loss=0.6,
    val_macro_f1=0.1,
    val_macro_f1_best=0.2,
    val_accuracy=0.9,
    learning_rate=1e-3,
    images_per_s=10.0,
    seconds=3.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold what a training leaves behind, without the models; not to be changed."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", make_rows())
    score_run(folder)
    return folder


def test_a_description_is_read_as_it_was_written(run: Path, tmp_path: Path) -> None:
    description = read_run(run)
    (tmp_path / "run").mkdir()
    description.write(tmp_path / "run")
    assert read_run(tmp_path / "run") == description
    assert (tmp_path / "run" / "config.json").read_bytes() == (run / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", {"epochs": 10**30}),
        ("config", {"folds": 10**9}),
        ("config", {"clip_norm": float("inf")}),
        ("config", {"image_size": 10**9}),
        ("config", []),
        ("store", 5),
        ("channels", []),
        ("channels", "red"),
        ("classes", ["a", "a"]),
        ("classes", [["a"], ["b"]]),
        ("classes", None),
        ("image_shape", [512, 512]),
        ("image_shape", [512, 512, -4]),
        ("image_shape", [512, 512, 4.5]),
        ("image_shape", [10**400, 512, 4]),
        ("n_left_out", float("inf")),
        ("n_left_out", "2"),
        ("fingerprints", ["train"]),
        ("fingerprints", {"other": "abc"}),
        ("versions", {"keras": [3]}),
        ("finetuned_from", None),
        ("finetuned_folds", [7]),
        ("finetuned_folds", [1, 1]),
        ("base_models", [1]),
    ],
)
def test_a_description_that_cannot_be_is_refused(run: Path, tmp_path: Path, name: str, value: object) -> None:
    raw = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {name: value}))
    with pytest.raises(InputError, match=r"config\.json must"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"config": 1}'])
def test_a_description_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json must"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:20],
        lambda text: text.replace("val_loss", "vol_loss"),
        lambda text: text.replace("1.1", "nan"),
        lambda text: text.replace("1.1", "a"),
        lambda text: text.replace("1.1", "1" + 400 * "0"),
        lambda text: text + "4,1\n",
        lambda text: text + '"' + "a" * 200_000,
    ],
)
def test_a_history_that_is_damaged_is_refused(tmp_path: Path, change: Callable[[str], str]) -> None:
    damaged = make_run(tmp_path / "run", make_rows())
    path = damaged / "fold1" / "history.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=r"history must be as it was written.*fold1"):
        compare_runs([damaged])


def test_a_fold_without_a_history_has_an_empty_one(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", make_rows())
    (folder / "fold1" / "history.csv").unlink()
    assert list(map(len, read_history(folder, 3))) == [3, 0, 3]


@pytest.mark.parametrize("value", ["1" + 400 * "0", "[" * 100_000, "NaN", "1e999", "null", "[0.5]", "-0.1"])
def test_a_threshold_that_cannot_be_is_refused(run: Path, tmp_path: Path, value: str) -> None:
    told = dict.fromkeys(RUN_CLASSES, "0.5") | {RUN_CLASSES[2]: value}
    text = ", ".join(f"{json.dumps(name)}: {threshold}" for name, threshold in told.items())
    (tmp_path / "thresholds.json").write_text(f"{{{text}}}")
    with pytest.raises(InputError, match="a threshold for each class"):
        read_thresholds(tmp_path, RUN_CLASSES)


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": np.arange(90) % 3 + 0.5},
        {"folds": np.zeros(90, np.int64)},
        {"labels": np.full((90, 4), 2, np.uint8)},
        {"labels": np.zeros((90, 4))},
        {"probs": np.full((90, 4), np.nan)},
        {"probs": np.full((90, 4), "0.5")},
        {"ids": np.full(90, "a")},
        {"ids": np.array("a")},
    ],
)
def test_out_of_fold_rows_that_cannot_be_are_refused(run: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with np.load(run / "out_of_fold.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "out_of_fold.npz", **(arrays | changes))
    with pytest.raises(InputError, match="must have its out-of-fold probabilities"):
        read_out_of_fold(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 3, 40, 300, -30])
def test_out_of_fold_rows_that_were_cut_are_refused(run: Path, tmp_path: Path, n_bytes: int) -> None:
    (tmp_path / "out_of_fold.npz").write_bytes((run / "out_of_fold.npz").read_bytes()[:n_bytes])
    with pytest.raises(InputError, match="must have its out-of-fold probabilities"):
        read_out_of_fold(tmp_path)


def test_a_run_named_twice_is_not_compared_with_itself(run: Path) -> None:
    with pytest.raises(InputError, match="each another"):
        compare_runs([run, run.parent / "." / "run"])


@pytest.fixture(scope="module")
def small() -> tuple[keras.Model, keras.Optimizer]:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    optimizer = make_optimizer(TrainConfig())
    optimizer.build(network.trainable_variables)
    return network, optimizer


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
def test_a_state_that_cannot_be_is_refused(
    small: tuple[keras.Model, keras.Optimizer], tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    state = State(epoch=1, best_epoch=0, best_loss=0.6, history=(RECORD,), class_f1=((0.1, 0.2),))
    path = tmp_path / "a.npz"
    save_checkpoint(path, state, *small)
    assert read_state(path) == state
    with np.load(path) as file:
        arrays = dict(file)
    raw = json.loads(str(arrays["state"]))
    change(raw)
    np.savez(path, **(arrays | {"state": np.array(json.dumps(raw))}))
    with pytest.raises(InputError, match="checkpoint must be whole"):
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
def test_a_checkpoint_that_cannot_be_changes_nothing(
    small: tuple[keras.Model, keras.Optimizer], tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, State(), *small)
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    before = copy.deepcopy(small[0].get_weights())
    with pytest.raises(InputError, match="checkpoint must be whole and of this run"):
        load_checkpoint(path, *small)
    assert all((a == b).all() for a, b in zip(before, small[0].get_weights(), strict=True))


def test_weights_that_are_no_numbers_are_not_saved(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", State(), *small)
    before = (tmp_path / "a.npz").read_bytes()
    kernel = small[0].layers[-1].kernel
    value = keras.ops.convert_to_numpy(kernel)
    kernel.assign(np.full(value.shape, np.nan))
    with pytest.raises(InputError, match=r"stay finite\. Received: .*kernel .*epoch 1, step 3\."):
        save_checkpoint(tmp_path / "a.npz", State(step=2), *small)
    kernel.assign(value)
    assert (tmp_path / "a.npz").read_bytes() == before


def test_a_model_of_another_run_is_refused(
    small: tuple[keras.Model, keras.Optimizer], run: Path, tmp_path: Path
) -> None:
    save_model(small[0], tmp_path / "best.keras")
    assert load_model(tmp_path / "best.keras").output_shape == (None, 2)
    with pytest.raises(InputError, match=r"\(None, 512, 512, 4\) and \(None, 4\)\. Received: .*\(None, 4\) and"):
        load_model(tmp_path / "best.keras", read_run(run))
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]
