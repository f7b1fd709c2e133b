"""Models and files that give anything but probabilities: refused in one line that names them and a sample."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.scores import score_run
from hpa_model.losses import LOSSES, Loss
from hpa_model.metrics import find_wrong_row
from hpa_model.predict import predict_submission
from hpa_model.runs.models import load_model, save_model
from hpa_model.runs.out_of_fold import read_out_of_fold, write_out_of_fold
from hpa_model.training.finetune import finetune
from hpa_model.training.train import train
from tests.builders import unseal_run
from tests.model.stopping import CONFIG


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    return unseal_run(Path(shutil.copytree(run, tmp_path / "run")))


def change_model(path: Path, change: Callable[[keras.Model], None]) -> None:
    model = load_model(path)
    change(model)
    save_model(model, path)


def set_to_nan(model: keras.Model) -> None:
    kernel = model.layers[-1].kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))


def overflow(model: keras.Model) -> None:
    """Let the network give NaN, infinity less infinity, although all its weights are finite."""
    hidden, last = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-2:]
    hidden.kernel.assign(np.full(hidden.kernel.shape, 1e38, np.float32))
    signs = np.where(np.arange(last.kernel.shape[0]) % 2, 1, -1)[:, None]
    last.kernel.assign(np.broadcast_to(3e38 * signs, last.kernel.shape).astype(np.float32))


@pytest.mark.parametrize("values", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity"), (1.5, "1.5")])
def test_what_is_no_probability_is_found_and_described(values: tuple[float, str]) -> None:
    probs = np.full((4, 2), 0.5, np.float32)
    assert find_wrong_row(probs) is None
    probs[1:, 1] = values[0]
    found = find_wrong_row(probs)
    assert found is not None
    assert found.row == 1
    assert str(found) == f"{values[1]} where a probability from 0 to 1 must be, and 2 other samples"


def test_a_model_that_predicts_nan_is_named_with_the_sample(copied: Path, store: Store, tmp_path: Path) -> None:
    change_model(copied / "fold1" / "best.keras", overflow)
    message = r"Cannot predict sample 'new-0': model .*fold1/best.keras gives NaN .* Train the run again, or .*--fold"
    for tta in (False, True):
        with pytest.raises(InputError, match=message):
            predict_submission(copied, store.path, tmp_path / "a.csv", tta=tta)
    assert not (tmp_path / "a.csv").exists()
    assert predict_submission(copied, store.path, tmp_path / "a.csv", folds=[0]).n_rows == 3


def test_a_model_with_a_weight_that_is_nan_is_refused(copied: Path, store: Store, tmp_path: Path) -> None:
    change_model(copied / "fold1" / "best.keras", set_to_nan)
    message = r"Cannot use model .*fold1/best.keras: its weight .*kernel has NaN or infinity. Train the run again."
    with pytest.raises(InputError, match=message):
        predict_submission(copied, store.path, tmp_path / "a.csv")
    with pytest.raises(InputError, match=message):
        finetune(copied, epochs=1, store=store, out=tmp_path / "tuned")
    with pytest.raises(InputError, match=message):
        train(store, CONFIG, tmp_path / "further", weights=copied)
    assert not (tmp_path / "tuned").exists()
    assert not (tmp_path / "further").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.25])
def test_rows_of_a_run_that_are_no_probabilities_are_refused(copied: Path, value: float) -> None:
    rows = read_out_of_fold(copied)
    rows.probs[3, 1] = value
    write_out_of_fold(copied, rows)
    for use in (score_run, lambda run: compare_runs([run])):
        with pytest.raises(
            InputError,
            match=rf"Cannot read .*out_of_fold.npz: for sample '{rows.ids[3]}', fold ., it has .* where a probability",
        ):
            use(copied)


def test_probabilities_of_a_fold_that_are_nan_are_refused_when_they_are_gathered(copied: Path, store: Store) -> None:
    path = copied / "fold1" / "probs.npz"
    with np.load(path) as file:
        probs = file["probs"]
    probs[0, 0] = np.nan
    np.savez(path, probs=probs)
    with pytest.raises(InputError, match=r"Cannot read .*fold1/probs.npz: for sample 'sample-\d+' it has NaN"):
        train(store, CONFIG, copied)


def test_a_network_that_validates_with_nan_is_refused_after_that_epoch(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The gradient is NaN, and the loss of the only step of the epoch is not.
    nan = Loss(function=lambda _, probs: keras.ops.mean(keras.ops.sqrt(keras.ops.relu(probs - 2.0))))
    monkeypatch.setitem(LOSSES, "bce", nan)
    message = r"Cannot predict sample 'sample-\d+': the network of fold 0 after epoch 1 gives NaN .* Lower the learning"
    with pytest.raises(InputError, match=message):
        train(
            store, replace(CONFIG, model="gapnet-pl", image_size=32, batch_size=12, symmetries=False), tmp_path / "run"
        )
    assert not (tmp_path / "run" / "fold0" / "best.keras").exists()
