"""A training that is stopped and goes on; what is kept, logged and refused on the way; fine-tuning."""

import csv
import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from hpa_data.verify import verify_store
from hpa_model import nets
from hpa_model.config import TrainConfig, make_config, merge_settings, parse_setting
from hpa_model.losses import LOSSES
from hpa_model.runs.checkpoint import START, load_checkpoint, read_state, save_checkpoint
from hpa_model.runs.folder import EpochRecord, read_history, read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.finetune import finetune, name_finetuned, train_and_finetune
from hpa_model.training.fit import fit_fold, make_optimizer
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.train import build_network, describe_run, train
from tests.builders import convert

CONFIG = TrainConfig(
    folds=2, epochs=2, batch_size=2, image_size=76, bn_momentum=0.5, seed=7, symmetries=True, plateau_epochs=1
)

# What a fold leaves behind when it is done.
FOLD_FILES = {"best.keras", "last.keras", "history.csv", "class_f1.csv", "probs.npz"}


class Killed(BaseException):
    """What stops a training at once, as a kill does: nothing below catches it."""


def stop_at(batch: int) -> Progress:
    """Stop the process's training after so many batches."""
    done = []

    def count(_: int) -> None:
        done.append(1)
        if len(done) == batch:
            raise Killed

    return Progress(advance=count)


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
            train(store, CONFIG, out, progress=stop_at(batch), checkpointing=Checkpointing(checkpoint_s=0))
    train(store, CONFIG, out, on_epoch=lambda fold, record: records.append(record))
    assert_same_models(run, out)
    assert (read_out_of_fold(out).probs == read_out_of_fold(run).probs).all()
    for one, other in zip(read_history(run, 2), read_history(out, 2), strict=True):
        for a, b in zip(one, other, strict=True):
            timeless = [{n: v for n, v in asdict(r).items() if n not in {"images_per_s", "seconds"}} for r in (a, b)]
            assert timeless[0] == pytest.approx(timeless[1], rel=1e-5)
    assert {path.name for path in (out / "fold0").iterdir()} == FOLD_FILES


def test_a_run_that_is_finished_is_only_scored_again(run: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}

    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be trained")

    scores = train(store, CONFIG, run, progress=Progress(advance=fail))
    assert scores.n_samples == 12
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}


def test_ctrl_c_ends_a_step_and_writes_a_checkpoint(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def interrupt(_: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(store, CONFIG, out, progress=Progress(advance=interrupt))
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
        train(store, CONFIG, tmp_path / "run", progress=Progress(advance=train_too))
    assert len(faults) == 1
    assert "A run must have one writer at a time" in faults[0]
    assert not (run / ".lock").exists()


def test_a_damaged_checkpoint_is_refused(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(store, CONFIG, out, progress=stop_at(2), checkpointing=Checkpointing(checkpoint_s=0))
    saved = out / "fold0" / "checkpoint.npz"
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"Cannot read checkpoint .*fold0.*--overwrite"):
        train(store, CONFIG, out)


@pytest.fixture
def small() -> tuple[keras.Model, keras.Optimizer]:
    network = nets.build("gapnet", (76, 76, 4), 3)
    optimizer = make_optimizer(CONFIG)
    optimizer.build(network.trainable_variables)
    return network, optimizer


def test_a_checkpoint_has_every_number(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    network, optimizer = small
    record = EpochRecord(
        **dict.fromkeys(EpochRecord.__dataclass_fields__, 0.5) | {"epoch": 1}  # type: ignore[arg-type]
    )
    state = dataclasses.replace(
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


def test_a_checkpoint_of_another_network_is_refused(small: tuple[keras.Model, keras.Optimizer], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", START, *small)
    other = nets.build("gapnet", (76, 76, 4), 4)
    optimizer = make_optimizer(CONFIG)
    optimizer.build(other.trainable_variables)
    before = [np.asarray(value) for value in other.get_weights()]
    with pytest.raises(InputError, match="Cannot read checkpoint"):
        load_checkpoint(tmp_path / "a.npz", other, optimizer)
    assert all((a == b).all() for a, b in zip(before, other.get_weights(), strict=True))


def fail_in_step_2() -> Callable[[object], object]:
    """Make a loss that is finite in its first step and infinite in its second, on every processor."""
    left = keras.Variable(2.0, trainable=False)

    def loss(probs: object) -> object:
        left.assign_sub(1.0)
        return keras.ops.mean(probs) / left

    return loss


def stay_flat() -> Callable[[object], object]:
    """Make a loss of 0 whose gradient is no number: the slope of a root at 0, times 0."""
    return lambda probs: keras.ops.mean(keras.ops.sqrt(keras.ops.relu(probs - 2.0)))


@pytest.mark.parametrize(
    ("make_loss", "message", "n_kept"),
    [
        (fail_in_step_2, r"training loss must stay finite\. Received: (inf|nan) in fold 0, epoch 1, step 2\. Lower", 1),
        (stay_flat, r"Cannot train fold0 further: .* before epoch 1, step 2\. Lower", 0),
    ],
)
def test_numbers_that_are_none_are_named_and_leave_a_checkpoint_from_before(  # noqa: PLR0917 - three are fixtures
    make_loss: Callable[[], Callable[[object], object]],
    message: str,
    n_kept: int,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss = make_loss()
    monkeypatch.setitem(LOSSES, "bce", lambda _labels, probs: loss(probs))
    config = dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=0.9, symmetries=False)
    with pytest.raises(InputError, match=message):
        train(store, config, tmp_path / "run", checkpointing=Checkpointing(checkpoint_s=0))
    saved = tmp_path / "run" / "fold0" / "checkpoint.npz"
    assert saved.exists() == (n_kept > 0)
    if n_kept:
        assert read_state(saved).step == n_kept
        with np.load(saved) as file:
            assert all(np.isfinite(file[name]).all() for name in file.files if name != "state")


def test_a_plateau_lowers_the_learning_rate(store: Store, tmp_path: Path) -> None:
    # With steps as long as these, the validation loss rises at least once.
    config = dataclasses.replace(CONFIG, epochs=5, batch_size=6, learning_rate=0.3, symmetries=False)
    with store.reader() as reader:
        description = describe_run(store, config, reader)
        fold = Fold(number=0, folder=tmp_path / "fold0", training=np.arange(6), validation=np.arange(6, 12))
        fold.folder.mkdir()
        job = FoldJob(config=config, reader=reader, fold=fold, classes=description.classes)
        fit_fold(build_network(description, fold=0), job)
    (history,) = read_history(tmp_path, 1)
    rate, best, since = 0.3, np.inf, 0
    for record in history:
        assert record.learning_rate == pytest.approx(rate)
        since = 0 if record.val_loss < best else since + 1
        best = min(best, record.val_loss)
        if since >= 1:
            rate, since = rate / 2, 0
    assert history[-1].learning_rate < 0.3


def test_tables_that_a_kill_left_behind_the_checkpoint_are_written_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = dataclasses.replace(CONFIG, epochs=1, batch_size=6), tmp_path / "run"

    def stop(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("hpa_model.training.callback.write_history", stop)
    with pytest.raises(Killed):
        train(store, config, out)
    (out / "fold0" / ".probs.npz.1-2.part").touch()
    monkeypatch.undo()
    planned: list[int] = []
    train(store, config, out, progress=Progress(start=planned.append))
    assert planned == [6]  # the other fold's; the epoch of this one is done
    assert list(map(len, read_history(out, 2))) == [1, 1]
    assert {path.name for path in (out / "fold0").iterdir()} == FOLD_FILES


def test_samples_stay_in_their_folds(kaggle: Path, tmp_path: Path) -> None:
    shutil.copytree(kaggle / "train", tmp_path / "train")
    (tmp_path / "train" / "sample-05_red.png").write_bytes(b"")
    convert(tmp_path / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv")
    with pytest.raises(Killed):
        train(open_store(tmp_path / "a.zarr"), CONFIG, tmp_path / "run", progress=stop_at(1))
    shutil.copy(kaggle / "train" / "sample-05_red.png", tmp_path / "train")
    assert verify_store(tmp_path / "a.zarr", part="train", source=tmp_path / "train", repair=True).n_repaired == 1
    with pytest.raises(InputError, match=r"must stay in their folds\. Received: .*folds\.csv"):
        train(open_store(tmp_path / "a.zarr"), CONFIG, tmp_path / "run")


def test_a_run_whose_replacement_was_stopped_can_be_replaced(
    run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    (out / "recipe.toml").write_text("seed = 7")

    def stop(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("shutil.rmtree", stop)
    with pytest.raises(Killed):
        train(store, CONFIG, out, overwrite=True)
    monkeypatch.undo()
    (out / "recipe.toml").write_text("seed = 7")
    with pytest.raises(Killed):
        train(store, CONFIG, out, overwrite=True, recipe=out / "recipe.toml", progress=stop_at(1))
    assert (out / "recipe.toml").read_text() == "seed = 7"
    assert not (out / "out_of_fold.npz").exists()
    assert not (out / "fold1" / "probs.npz").exists()


def test_every_class_has_an_f1_after_every_epoch(run: Path, store: Store) -> None:
    with (run / "fold1" / "class_f1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", *store.part("train").manifest.classes}
    history = read_history(run, 2)[1]
    for row, record in zip(rows, history, strict=True):
        values = [float(value) for name, value in row.items() if name != "epoch"]
        assert np.mean(values) == pytest.approx(record.val_macro_f1_best, abs=1e-5)


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
    assert np.isfinite(scores.macro_f1_at_half)
    model = load_model(tmp_path / "run" / "fold0" / "best.keras")
    assert {str(layer.compute_dtype) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {
        precision.removeprefix("mixed_")
    }
    assert str(model.output.dtype) == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_figures_are_logged_for_tensorboard(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    began = time.perf_counter()
    train(
        store, dataclasses.replace(CONFIG, epochs=1, batch_size=6), out, checkpointing=Checkpointing(tensorboard=True)
    )
    # No second is counted twice.
    assert sum(record.seconds for history in read_history(out, 2) for record in history) < time.perf_counter() - began
    (path,) = (out / "tensorboard").iterdir()
    logged = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            logged[value.tag, event.step] = value.simple_value
    for fold, history in enumerate(read_history(out, 2)):
        assert logged[f"fold{fold}/val_loss", 1] == pytest.approx(history[0].val_loss, rel=1e-4)


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
    scores = {fold.fold: fold.macro_f1_in_sample for fold in done.scores.folds}
    assert scores[1 - best] == pytest.approx(max(fold for number, fold in scores.items() if number != best))


def test_fine_tuning_asks_for_the_store_of_the_run(run: Path, kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv", codec="raw")
    with pytest.raises(InputError, match=r"the one that the run was trained from\. Received: .*a\.zarr"):
        finetune(run, store=open_store(tmp_path / "a.zarr"), out=tmp_path / "out")
    with pytest.raises(InputError, match="another folder than the run"):
        finetune(run, out=run)
    assert not (tmp_path / "out").exists()


def test_models_that_were_trained_again_are_not_mixed_with_those_before(
    run: Path, store: Store, tmp_path: Path
) -> None:
    source, out = tmp_path / "run", tmp_path / "tuned"
    shutil.copytree(run, source)
    with pytest.raises(Killed):
        finetune(source, epochs=1, folds="all", out=out, progress=stop_at(1))
    shutil.move(source, tmp_path / "moved")  # the same models, wherever they lie
    with pytest.raises(Killed):
        finetune(tmp_path / "moved", epochs=1, folds="all", out=out, progress=stop_at(1))
    shutil.copy(run / "fold1" / "last.keras", tmp_path / "moved" / "fold1" / "best.keras")
    with pytest.raises(InputError, match=r"with another models to fine-tune \(they were trained again"):
        finetune(tmp_path / "moved", epochs=1, folds="all", out=out)
    (tmp_path / "moved" / "fold0" / "probs.npz").unlink()
    with pytest.raises(InputError, match=r"A run must be finished\. Received: .*fold0, without probs.npz"):
        finetune(tmp_path / "moved", out=tmp_path / "other")


def test_a_recipe_may_fine_tune_afterwards(run: Path, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "run"
    shutil.copytree(run, source)
    config = dataclasses.replace(CONFIG, finetune_epochs=1, finetune_loss="focal", finetune_folds="all")
    # What is done already is not done again, whatever comes after it.
    done = train_and_finetune(store, config, source, checkpointing=Checkpointing(tensorboard=True))
    assert not (source / "tensorboard").exists()
    assert (done[1].run / "tensorboard").is_dir()
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
