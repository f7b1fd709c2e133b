"""Warm-up, averages of weights, accumulated gradients, early stops; and that a training resumes in them."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig, make_config
from hpa_model.losses import LOSSES
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import EpochRecord, read_history
from hpa_model.runs.hold import list_longer
from hpa_model.training.fit import compile_models
from hpa_model.training.job import Checkpointing
from hpa_model.training.optimizer import copy_averages, lower_rate, make_optimizer
from hpa_model.training.train import train
from tests.model.stopping import TINY, Killed, assert_same_models, read_weights, stop_at

OFTEN = Checkpointing(checkpoint_s=0)
ALL_ON = {
    **{"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "warmup_epochs": 1.5, "ema": 0.8},
    **{"plateau_epochs": 0, "accumulate_batches": 2, "class_weights": "sqrt", "label_smoothing": 0.1, "clip_norm": 1.0},
    **{"loss": "asymmetric", "keep": "highest_macro_f1", "learning_rate": 0.01},
}


def make_network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Dense(3, "sigmoid")(inputs))


def make_batches(n: int, size: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [(rng.normal(size=(size, 6)).astype("f4"), rng.integers(0, 2, (size, 3)).astype("f4")) for _ in range(n)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_training_with_everything_on_is_killed_three_times_and_ends_with_the_same_weights(
    optimizer: str, store: Store, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, deterministic=True, **(ALL_ON | {"optimizer": optimizer}))
    whole, out = tmp_path / "whole", tmp_path / "run"
    train(store, config, whole)
    for batch in (2, 2, 5):
        with pytest.raises(Killed):
            train(store, config, out, progress=stop_at(batch), checkpointing=OFTEN)
    train(store, config, out)
    assert_same_models(whole, out)


@pytest.mark.slow  # tests/slow/test_kill_training.py has all of it; test_augmentation.py resumes within an epoch
def test_a_training_with_averages_and_accumulation_resumes_within_an_epoch(store: Store, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, deterministic=True, **ALL_ON)
    train(store, config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(store, config, tmp_path / "run", progress=stop_at(2), checkpointing=OFTEN)
    train(store, config, tmp_path / "run")
    assert_same_models(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(("optimizer", "accumulated"), [("adam", 1), ("sgd", 1), ("adam", 2)])
def test_averages_of_weights_are_kept_and_training_goes_on_from_the_weights(optimizer: str, accumulated: int) -> None:
    network = make_network()
    batches = make_batches(6)
    settings = {"optimizer": optimizer, "learning_rate": 0.1, "accumulate_batches": accumulated}
    models = compile_models(network, make_config(settings | {"ema": 0.75}))
    plain = compile_models(make_network(), make_config(settings))
    average = None
    for images, labels in batches:  # of which each is a change of the weights
        # Keras ends each fit by setting weights.
        models.compiled.fit(images, labels, batch_size=4 // accumulated, shuffle=False, verbose=0)
        plain.compiled.fit(images, labels, batch_size=4 // accumulated, shuffle=False, verbose=0)
        weights = [np.asarray(each) for each in plain.replica.get_weights()]
        for one, other in zip(models.replica.get_weights(), weights, strict=True):
            assert one == pytest.approx(other, abs=1e-7)
        average = weights if average is None else [0.75 * a + 0.25 * w for a, w in zip(average, weights, strict=True)]
    models.update_network()
    assert average is not None
    for found, wanted in zip(network.get_weights(), average, strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)


def test_accumulated_batches_change_the_weights_as_one_batch_does() -> None:
    batches = make_batches(6)
    one = compile_models(make_network(), make_config({"accumulate_batches": 3, "learning_rate": 0.1, "clip_norm": 0.1}))
    other = compile_models(make_network(), make_config({"learning_rate": 0.1, "clip_norm": 0.1}))
    for images, labels in batches:
        one.compiled.train_on_batch(images, labels)
    for first in (0, 3):
        other.compiled.train_on_batch(*(np.concatenate(each) for each in zip(*batches[first : first + 3], strict=True)))
    for a, b in zip(one.replica.get_weights(), other.replica.get_weights(), strict=True):
        assert a == pytest.approx(b, abs=1e-6)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_learning_rate_rises_from_change_to_change_up_to_what_it_is_set_to(accumulated: int) -> None:
    config = TrainConfig(optimizer="sgd", momentum=0.0, learning_rate=0.1, warmup_epochs=0.5)
    config = dataclasses.replace(config, accumulate_batches=accumulated)
    weight = keras.Variable(np.zeros(1, np.float32))
    optimizer = make_optimizer(config, [weight], n_steps=8 * accumulated)
    optimizer.build([weight])
    places = [0.0]
    for _ in range(6 * accumulated):
        optimizer.apply([keras.ops.ones(1)])
        places.append(float(weight[0]))
    moved = -np.diff(places[::accumulated])
    assert moved == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-5)


def test_a_plateau_lowers_what_a_rate_rises_to() -> None:
    weight = keras.Variable(np.zeros(1, np.float32))
    for precision in ("float32", "mixed_float16"):
        config = TrainConfig(learning_rate=0.1, warmup_epochs=1.0, precision=precision)
        optimizer = make_optimizer(config, [weight], n_steps=10)
        optimizer.build([weight])
        lower_rate(optimizer, 0.5)
        assert float(optimizer.learning_rate) == pytest.approx(0.005)


def test_a_training_ends_when_it_has_not_become_better_and_is_not_resumed(store: Store, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, epochs=9, learning_rate=0.3, plateau_epochs=0, stop_epochs=1, symmetries=False)
    train(store, config, tmp_path / "run")
    for history in read_history(tmp_path / "run", 2):
        losses = [record.val_loss for record in history]
        best = [loss < min(losses[:index], default=np.inf) for index, loss in enumerate(losses)]
        assert best[:-1] == [True] * (len(losses) - 1)
        assert not best[-1] or len(losses) == 9
    trained: list[int] = []
    train(store, config, tmp_path / "run", on_epoch=lambda fold, record, is_best: trained.append(fold))
    assert trained == []
    assert any(len(history) < 9 for history in read_history(tmp_path / "run", 2))


@pytest.mark.parametrize(
    ("before", "after", "longer"),
    [
        ({}, {"epochs": 60}, {"epochs": 50}),
        ({}, {"epochs": 40}, {}),
        ({"schedule": "cosine"}, {"epochs": 60}, {}),
        ({"stop_epochs": 2}, {"stop_epochs": 3}, {"stop_epochs": 2}),
        ({"stop_epochs": 2, "schedule": "cosine"}, {"stop_epochs": 0}, {"stop_epochs": 2}),
        ({"stop_epochs": 2}, {"stop_epochs": 1}, {}),
        ({}, {"stop_epochs": 3}, {}),
        ({"stop_epochs": 2}, {"stop_epochs": 4, "epochs": 51, "seed": 1}, {"stop_epochs": 2, "epochs": 50}),
    ],
)
def test_a_training_may_last_longer_with_more_epochs_or_patience(
    before: dict[str, object], after: dict[str, object], longer: dict[str, object]
) -> None:
    assert list_longer(make_config(before), make_config(before | after)) == longer


@pytest.mark.slow
@pytest.mark.parametrize("more", ["patience", "none"])
def test_a_training_that_ended_early_goes_on_with_more_patience_to_the_weights_of_an_uninterrupted_one(
    more: str, store: Store, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, deterministic=True, **(ALL_ON | {"epochs": 8, "learning_rate": 0.3}))
    patient = dataclasses.replace(config, stop_epochs=3 if more == "patience" else 0)
    out, notes = tmp_path / "run", []
    train(store, dataclasses.replace(config, stop_epochs=1), out)
    n_epochs = [len(history) for history in read_history(out, 2)]
    assert min(n_epochs) < 8
    train(store, dataclasses.replace(config, stop_epochs=1), out, progress=Progress(note=notes.append))
    early = [f"fold {fold} after epoch {n}" for fold, n in enumerate(n_epochs) if n < 8]
    wanted = f"all folds of {out} are finished (early: {', '.join(early)}; a higher stop_epochs trains them further)."
    assert notes[-1] == f"Nothing to train: {wanted}"
    train(store, patient, out)
    assert read_run(out).config == patient
    train(store, patient, tmp_path / "whole")
    assert_same_models(tmp_path / "whole", out)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_finished_training_with_everything_on_goes_on_with_more_epochs_to_the_same_weights(
    schedule: str, store: Store, tmp_path: Path
) -> None:
    settings = ALL_ON | {"schedule": schedule, "warmup_epochs": 2.5, "plateau_epochs": 0}
    config = dataclasses.replace(TINY, deterministic=True, **settings)
    train(store, config, tmp_path / "run")
    longer = dataclasses.replace(config, epochs=config.epochs + 2)
    train(store, longer, tmp_path / "run")
    train(store, longer, tmp_path / "whole")
    assert_same_models(tmp_path / "whole", tmp_path / "run")


def test_the_model_of_the_highest_macro_f1_is_kept(store: Store, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, epochs=4, learning_rate=0.05, plateau_epochs=0, keep="highest_macro_f1")
    kept: dict[int, list[bool]] = {0: [], 1: []}

    def look(fold: int, record: EpochRecord, is_best: bool) -> None:
        kept[fold].append(is_best)

    train(store, config, tmp_path / "run", on_epoch=look)
    for fold, history in enumerate(read_history(tmp_path / "run", 2)):
        scores = [record.val_macro_f1_best for record in history]
        assert kept[fold] == [score > max(scores[:index], default=-1) for index, score in enumerate(scores)]
        is_last = kept[fold][-1]
        same = [
            (a == b).all()
            for a, b in zip(
                read_weights(tmp_path / "run", fold), read_weights(tmp_path / "run", fold, "best.keras"), strict=True
            )
        ]
        assert all(same) == is_last


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stop_epochs": 2, "keep": "last"}, "stop_epochs must be 0 with keep=last"),
        ({"optimizer": "adamw"}, "weight_decay must be above 0 with optimizer=adamw"),
        ({"loss": "f1", "label_smoothing": 0.1}, "label_smoothing must be left out with loss=f1"),
        ({"loss": "f1", "class_weights": "sqrt"}, "class_weights must be left out with loss=f1"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1"),
        ({"accumulate_batches": 0}, "accumulate_batches must be from 1"),
        ({"warmup_epochs": -1.0}, "warmup_epochs must be from 0"),
        ({"class_weights": "cubic"}, "class_weights must be one of none, sqrt, balanced"),
        ({"optimizer": "lion"}, "optimizer must be one of adam, adamw, sgd, muon"),
        ({"ema_decay": 0.9}, "Did you mean 'ema'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(settings)


def test_an_optimizer_without_averages_leaves_variables_alone() -> None:
    weight = keras.Variable(np.zeros(1, np.float32))
    optimizer = make_optimizer(TrainConfig(), [weight])
    optimizer.build([weight])
    copy_averages(optimizer, [weight])
    assert float(weight[0]) == 0.0


def test_the_schedule_of_a_plateau_has_a_length_without_being_told() -> None:
    assert (make_config({"schedule": "plateau"}).patience, make_config({}).patience) == (5, 0)
    assert make_config({"schedule": "plateau", "plateau_epochs": 2}).patience == 2
    assert "asymmetric" in LOSSES
