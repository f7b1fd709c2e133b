"""A training that is stopped and goes on; what is kept, logged and refused on the way; fine-tuning."""

import csv
import dataclasses
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import convert

from hpa_data.errors import InputError
from hpa_data.store import Store, open_store
from hpa_model import nets
from hpa_model.checkpoint import State, load_checkpoint, load_model, save_checkpoint
from hpa_model.config import TrainConfig, make_config, merge_settings, parse_setting
from hpa_model.evaluate import read_out_of_fold
from hpa_model.finetune import finetune, name_finetuned, train_and_finetune
from hpa_model.fit import Care, EpochRecord, Progress, make_optimizer
from hpa_model.logs import open_log
from hpa_model.runs import read_history, read_run
from hpa_model.train import train

CONFIG = TrainConfig(
    folds=2, epochs=2, batch_size=2, image_size=76, bn_momentum=0.5, seed=7, symmetries=True, plateau_epochs=1
)


class Killed(BaseException):
    """What stops a training at once, as a kill does: nothing below catches it."""


def stop_at(batch: int) -> Progress:
    """Stop the process's training after so many batches."""
    done = []

    def count(_: int) -> None:
        done.append(1)
        if len(done) == batch:
            raise Killed

    return Progress(on_batch=count)


def read_weights(run: Path, fold: int, name: str = "last.keras") -> list[np.ndarray]:
    return [np.asarray(value) for value in load_model(run / f"fold{fold}" / name).get_weights()]


def assert_same_models(one: Path, other: Path) -> None:
    for fold in range(2):
        for name in ("last.keras", "best.keras"):
            for a, b in zip(read_weights(one, fold, name), read_weights(other, fold, name), strict=True):
                assert (a == b).all()


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a run that nothing stopped; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(store, CONFIG, out)
    return out


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(
    run: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    records: list[EpochRecord] = []
    for batch in (2, 2, 5):  # in mid-epoch; at an epoch's last step; in the next epoch
        with pytest.raises(Killed):
            train(store, CONFIG, out, progress=stop_at(batch), care=Care(checkpoint_s=0))
    train(store, CONFIG, out, progress=Progress(on_epoch=lambda fold, record: records.append(record)))
    assert_same_models(run, out)
    assert (read_out_of_fold(out).probs == read_out_of_fold(run).probs).all()
    for one, other in zip(read_history(run, 2), read_history(out, 2), strict=True):
        for a, b in zip(one, other, strict=True):
            assert {n: v for n, v in a.items() if n not in {"images_per_s", "seconds"}} == pytest.approx(
                {n: v for n, v in b.items() if n not in {"images_per_s", "seconds"}}, rel=1e-5
            )
    assert {path.name for path in (out / "fold0").iterdir()} == {
        *("best.keras", "last.keras", "history.csv", "class_f1.csv", "probs.npz"),
    }


def test_a_run_that_is_finished_is_only_scored_again(run: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}

    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be trained")

    scores = train(store, CONFIG, run, progress=Progress(on_batch=fail))
    assert scores.n_samples == 12
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}


def test_ctrl_c_ends_a_step_and_writes_a_checkpoint(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def interrupt(_: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(store, CONFIG, out, progress=Progress(on_batch=interrupt))
    assert signal.getsignal(signal.SIGINT) is before
    with np.load(out / "fold0" / "checkpoint.npz", allow_pickle=False) as file:
        assert '"step": 1' in str(file["state"])
    train(store, CONFIG, out)
    assert_same_models(run, out)


def test_a_run_has_one_writer(run: Path, store: Store, tmp_path: Path) -> None:
    faults: list[str] = []

    def train_too(_: int) -> None:
        try:
            train(store, CONFIG, tmp_path / "run")
        except InputError as fault:
            faults.append(str(fault))
        raise Killed

    with pytest.raises(Killed):
        train(store, CONFIG, tmp_path / "run", progress=Progress(on_batch=train_too))
    assert len(faults) == 1
    assert "A run must have one writer at a time" in faults[0]
    assert not (run / ".lock").exists()


def test_a_damaged_checkpoint_is_refused(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(store, CONFIG, out, progress=stop_at(2), care=Care(checkpoint_s=0))
    saved = out / "fold0" / "checkpoint.npz"
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"checkpoint must be whole.*fold0.*--overwrite"):
        train(store, CONFIG, out)


@pytest.fixture
def small() -> tuple[keras.Model, keras.Optimizer]:
    network = nets.build("gapnet", (76, 76, 4), 3)
    optimizer = make_optimizer(CONFIG)
    optimizer.build(network.trainable_variables)
    return network, optimizer


def test_a_checkpoint_has_every_number(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    network, optimizer = small
    state = State(epoch=3, step=2, loss_sum=0.5, history=[{"epoch": 1.0}], class_f1=[[0.1]], best_loss=0.25)
    for number, variable in enumerate([*network.variables, *optimizer.variables]):
        variable.assign(keras.ops.cast(keras.ops.full(variable.shape, number), variable.dtype))
    save_checkpoint(tmp_path / "a.npz", state, network, optimizer)
    for variable in [*network.variables, *optimizer.variables]:
        variable.assign(keras.ops.zeros_like(variable))
    assert load_checkpoint(tmp_path / "a.npz", network, optimizer) == state
    for number, variable in enumerate([*network.variables, *optimizer.variables]):
        assert (keras.ops.convert_to_numpy(variable) == number).all(), variable.path
    assert any("seed" in variable.path for variable in network.variables)


def test_a_checkpoint_of_another_network_is_refused(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", State(), *small)
    other = nets.build("gapnet", (76, 76, 4), 4)
    optimizer = make_optimizer(CONFIG)
    optimizer.build(other.trainable_variables)
    before = [np.asarray(value) for value in other.get_weights()]
    with pytest.raises(InputError, match="of this run"):
        load_checkpoint(tmp_path / "a.npz", other, optimizer)
    assert all((a == b).all() for a, b in zip(before, other.get_weights(), strict=True))


def test_a_loss_that_is_no_number_names_its_step_and_leaves_a_checkpoint_from_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(labels: object, probs: object) -> object:
        # From the third step on: 1e30 squared, and on from there.
        return keras.ops.mean(keras.ops.square(probs)) * 1e38 * keras.ops.exp(keras.ops.mean(probs) * 0 + 10.0)

    monkeypatch.setitem(__import__("hpa_model.losses", fromlist=["LOSSES"]).LOSSES, "bce", explode)
    with pytest.raises(InputError, match=r"must stay finite. Received: (inf|nan) in fold 0, epoch 1, step 1\. Lower"):
        train(store, CONFIG, tmp_path / "run", care=Care(checkpoint_s=0))
    assert not (tmp_path / "run" / "fold0" / "checkpoint.npz").exists()


def test_a_plateau_lowers_the_learning_rate(run: Path) -> None:
    for history in read_history(run, 2):
        rate, best, since = 1e-3, np.inf, 0
        for record in history:
            assert record["learning_rate"] == pytest.approx(rate)
            since = 0 if record["val_loss"] < best else since + 1
            best = min(best, record["val_loss"])
            if since >= 1:
                rate, since = rate / 2, 0


def test_every_class_has_an_f1_after_every_epoch(run: Path, store: Store) -> None:
    with (run / "fold1" / "class_f1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", *store.part("train").manifest.classes}
    history = read_history(run, 2)[1]
    for row, record in zip(rows, history, strict=True):
        values = [float(value) for name, value in row.items() if name != "epoch"]
        assert np.mean(values) == pytest.approx(record["val_macro_f1_best"], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({}, lambda o: type(o).__name__ == "Adam" and o.weight_decay is None and o.global_clipnorm is None),
        ({"optimizer": "sgd", "momentum": 0.8}, lambda o: type(o).__name__ == "SGD" and o.momentum == 0.8),
        ({"weight_decay": 0.005}, lambda o: o.weight_decay == 0.005),
        ({"clip_norm": 5.0}, lambda o: o.global_clipnorm == 5.0),
        ({"precision": "mixed_float16"}, lambda o: type(o).__name__ == "LossScaleOptimizer"),
    ],
)
def test_settings_reach_the_optimizer(settings: dict[str, object], check: Callable[[object], bool]) -> None:
    assert check(make_optimizer(make_config(settings)))


@pytest.mark.parametrize("loss", ["f1", "focal"])
def test_every_loss_and_precision_trains(loss: str, store: Store, tmp_path: Path) -> None:
    precision = {"f1": "mixed_bfloat16", "focal": "mixed_float16"}[loss]
    config = dataclasses.replace(
        CONFIG, epochs=1, batch_size=6, symmetries=False, **{"loss": loss, "precision": precision}
    )
    scores = train(store, config, tmp_path / "run")
    assert np.isfinite(scores.macro_f1_half)
    model = load_model(tmp_path / "run" / "fold0" / "best.keras")
    assert {str(layer.compute_dtype) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {
        precision.removeprefix("mixed_")
    }
    assert str(model.output.dtype) == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_figures_are_logged_for_tensorboard(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with open_log(out) as log:
        train(store, dataclasses.replace(CONFIG, epochs=1, batch_size=6), out, care=Care(log=log))
    (path,) = (out / "tensorboard").iterdir()
    logged = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            logged[value.tag, event.step] = value.simple_value
    for fold, history in enumerate(read_history(out, 2)):
        assert logged[f"fold{fold}/val_loss", 1] == pytest.approx(history[0]["val_loss"], rel=1e-4)


@pytest.fixture(scope="module")
def tuned(run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a run whose models were all fine-tuned; not to be changed."""
    out = tmp_path_factory.mktemp("tuned") / "tuned"
    finetune(run, loss="f1", epochs=2, folds="all", learning_rate=0.01, out=out)
    return out


def test_fine_tuning_leaves_every_frozen_number_as_it_was(run: Path, tuned: Path) -> None:
    for fold in range(2):
        before = load_model(run / f"fold{fold}" / "best.keras")
        after = load_model(tuned / f"fold{fold}" / "last.keras")
        n_frozen = n_learned = 0
        for one, other in zip(before.layers, after.layers, strict=True):
            assert one.name.startswith("head_") == other.name.startswith("head_")
            for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
                if one.name.startswith("head_"):
                    n_learned += int((a != b).any())
                else:
                    n_frozen += 1
                    assert (a == b).all(), one.name
        assert n_frozen > 40  # moving averages included
        assert n_learned >= 10


def test_a_fine_tuned_run_says_where_it_comes_from_and_can_be_used_as_any_other(
    run: Path, tuned: Path, store: Store
) -> None:
    description = read_run(tuned)
    assert description.finetuned_from == str(run)
    assert description.finetuned_folds == (0, 1)
    assert (description.config.loss, description.config.epochs) == ("f1", 2)
    rows = read_out_of_fold(tuned)
    assert rows.ids == read_out_of_fold(run).ids
    assert (rows.folds == read_out_of_fold(run).folds).all()
    assert (rows.probs != read_out_of_fold(run).probs).any()


def test_the_best_fold_alone_is_fine_tuned_as_in_the_paper(run: Path, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "run"
    shutil.copytree(run, source)
    done = finetune(source, epochs=1)
    assert done.run == name_finetuned(source, "bce") == tmp_path / "run-finetuned-bce"
    (best,) = read_run(done.run).finetuned_folds
    rows, before = read_out_of_fold(done.run), read_out_of_fold(source)
    other = rows.folds != best
    assert (rows.probs[other] == before.probs[other]).all()
    assert (rows.probs[~other] != before.probs[~other]).any()
    scores = {fold.fold: fold.macro_f1_same_rows for fold in done.scores.folds}
    assert scores[1 - best] == pytest.approx(max(fold for number, fold in scores.items() if number != best))


def test_fine_tuning_asks_for_the_store_of_the_run(run: Path, kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv", codec="raw")
    with pytest.raises(InputError, match=r"the one that the run was trained from\. Received: .*a\.zarr"):
        finetune(run, store=open_store(tmp_path / "a.zarr"), out=tmp_path / "out")
    with pytest.raises(InputError, match="another folder than the run"):
        finetune(run, out=run)
    assert not (tmp_path / "out").exists()


def test_a_recipe_may_fine_tune_afterwards(run: Path, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "run"
    shutil.copytree(run, source)
    config = dataclasses.replace(CONFIG, finetune_epochs=1, finetune_loss="focal", finetune_folds="all")
    # What is done already is not done again, whatever comes after it.
    done = train_and_finetune(store, config, source)
    assert [trained.run.name for trained in done] == ["run", "run-finetuned-focal"]
    assert read_run(done[1].run).config.finetune_epochs == 0


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("loss=f1", {"loss": "f1"}),
        ("fold_method = grouped-stratified", {"fold_method": "grouped-stratified"}),
        ("precision=mixed_bfloat16", {"precision": "mixed_bfloat16"}),
        ("epochs=3", {"epochs": 3}),
        ("symmetries=true", {"symmetries": True}),
        ("options.dropout = 0.2", {"options": {"dropout": 0.2}}),
        ('parts=["train", "external"]', {"parts": ["train", "external"]}),
    ],
)
def test_a_setting_is_a_line_of_a_recipe(text: str, setting: dict[str, object]) -> None:
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["loss", "=f1", "loss=", "a=1\nb=2", "epochs=3 4"])
def test_a_setting_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_setting(text)


def test_options_are_merged_one_by_one() -> None:
    merged = merge_settings({"epochs": 1, "options": {"dropout": 0.1, "stride": 1}}, {"options": {"dropout": 0.2}})
    assert merged == {"epochs": 1, "options": {"dropout": 0.2, "stride": 1}}
