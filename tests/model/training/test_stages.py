"""Training in two stages: the classification head over a frozen backbone, then all layers."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.config import Precision, TrainConfig, make_config
from hpa_model.nets.head import HEAD, backbone_frozen
from hpa_model.runs.history import EpochRecord, read_history
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.network import choose_stages
from hpa_model.training.run import describe_run
from hpa_model.training.train import train
from tests.builders import build_store
from tests.model.backbone import NAME, apply_small, known, save_random
from tests.model.stopping import Killed, assert_same_models, stop_at

TINY = Dataset(name="tiny", channels=HPA_2018.channels, classes=("a", "b", "c"), height=24, width=24)
CONFIG = TrainConfig(
    **{"model": NAME, "folds": 2, "epochs": 4, "batch_size": 2, "bn_momentum": 0.5, "deterministic": True},
    **{"symmetries": True, "head_epochs": 2, "backbone_rate_factor": 0.25, "learning_rate": 0.01, "l2": 0.01},
)


# A checkpoint after each step.
OFTEN = Checkpointing(checkpoint_s=0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with known(monkeypatch):
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    labels = [[1, row % 2, row % 3 == 0] for row in range(12)]
    return build_store(tmp_path_factory.mktemp("store") / "tiny.zarr", TINY, labels)


def test_the_head_is_trained_first_and_then_all_at_a_lower_rate(store: Store, tmp_path: Path) -> None:
    network = keras.Model(
        inputs := keras.Input((24, 24, 4), dtype="uint8"),
        keras.layers.Dense(3, activation="sigmoid", name="head_outputs")(
            apply_small(include_top=False, input_tensor=keras.layers.Rescaling(1 / 255)(inputs), pooling="avg").output
        ),
    )
    seen = [[layer.get_weights() for layer in network.layers]]
    records: list[EpochRecord] = []

    def look(_: int, record: EpochRecord, is_best: bool) -> None:
        records.append(record)
        seen.append([layer.get_weights() for layer in network.layers])

    config = dataclasses.replace(CONFIG, epochs=2, head_epochs=1)
    fold = Fold(number=0, folder=tmp_path, training=np.arange(8), validation=np.arange(8, 12))
    with store.reader(["train"]) as reader:
        fit_fold(network, FoldJob(config=config, reader=reader, fold=fold, classes=TINY.classes, on_epoch=look))
    changes = [
        {
            layer.name
            for layer, one, other in zip(network.layers, before, after, strict=True)
            if any((a != b).any() for a, b in zip(one, other, strict=True))
        }
        for before, after in itertools.pairwise(seen)
    ]
    assert changes == [{"head_outputs"}, {layer.name for layer in network.layers if layer.weights}]
    assert [record.learning_rate for record in records] == pytest.approx([0.01, 0.0025])
    assert all(layer.trainable for layer in network.layers)


@pytest.mark.slow
def test_the_epochs_of_a_plateau_are_counted_in_each_stage_anew(store: Store, tmp_path: Path) -> None:
    inputs = keras.Input((24, 24, 4), dtype="uint8")
    pooled = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs)))
    network = keras.Model(inputs, keras.layers.Dense(3, activation="sigmoid", name="head_outputs")(pooled))
    rates: list[float] = []
    # So low that no loss falls.
    config = dataclasses.replace(CONFIG, learning_rate=1e-12, l2=0, plateau_epochs=2, plateau_factor=0.5, epochs=5)
    fold = Fold(number=0, folder=tmp_path, training=np.arange(8), validation=np.arange(8, 12))
    with store.reader(["train"]) as reader:
        job = FoldJob(config=config, reader=reader, fold=fold, classes=TINY.classes)
        fit_fold(network, dataclasses.replace(job, on_epoch=lambda _, record, __: rates.append(record.learning_rate)))
    assert np.array(rates) / 1e-12 == pytest.approx([1, 1, 0.25, 0.25, 0.125])


def test_after_freezing_each_layer_is_as_it_was_also_in_a_model_inside() -> None:
    inside = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    inside.layers[1].trainable = False
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1, name=f"{HEAD}outputs")(inside(inputs)))
    with backbone_frozen(model):
        assert [len(layer.trainable_weights) for layer in (*inside.layers, model.layers[-1])] == [0, 0, 2]
    assert [len(layer.trainable_weights) for layer in (*inside.layers, model.layers[-1])] == [2, 0, 2]


def test_without_weights_to_start_from_there_is_one_stage(store: Store) -> None:
    with store.reader(["train"]) as reader:
        description = describe_run(store, CONFIG, reader)
    alone = choose_stages(description)
    assert (alone.head_epochs, alone.rate_in(0), alone.rate_in(3)) == (0, 0.01, 0.01)
    assert choose_stages(dataclasses.replace(description, weights="imagenet")) == CONFIG


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_a_factor_of_the_rate_lies_between_0_and_1(value: float) -> None:
    with pytest.raises(InputError, match="backbone_rate_factor must lie between 0 and 1. Received: "):
        make_config({"backbone_rate_factor": value})


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_that_is_stopped_in_either_stage_or_between_them_ends_as_one_that_was_not(
    store: Store, tmp_path: Path, schedule: str
) -> None:
    config = dataclasses.replace(CONFIG, schedule=schedule)  # type: ignore[arg-type]
    save_random(f"{tmp_path}/w")
    weights = tmp_path / "w.weights.h5"
    train(store, config, tmp_path / "whole", weights=weights)
    for batch in (2, 6, 7, 8, 11):  # an epoch has three
        out = tmp_path / f"run{batch}"
        with pytest.raises(Killed):
            train(store, config, out, weights=weights, progress=stop_at(batch), checkpointing=OFTEN)
        train(store, config, out, weights=weights)
        assert_same_models(tmp_path / "whole", out)
    longer = dataclasses.replace(config, epochs=5)
    if schedule == "constant":
        train(store, longer, tmp_path / "longer", weights=weights)
        train(store, longer, tmp_path / "whole", weights=weights)
        assert_same_models(tmp_path / "whole", tmp_path / "longer")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_lower_precision_trains_both_stages_to_a_similar_loss_and_resumes(
    store: Store, tmp_path: Path, precision: Precision
) -> None:
    save_random(f"{tmp_path}/w")
    weights, losses = tmp_path / "w.weights.h5", []
    for each in ("float32", precision):
        config = dataclasses.replace(CONFIG, precision=each, epochs=3)  # type: ignore[arg-type]
        train(store, config, tmp_path / each, weights=weights)
        losses.append([record.val_loss for fold in read_history(tmp_path / each, 2) for record in fold])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
    with pytest.raises(Killed):
        train(store, config, tmp_path / "run", weights=weights, progress=stop_at(8), checkpointing=OFTEN)
    train(store, config, tmp_path / "run", weights=weights)
    assert_same_models(tmp_path / precision, tmp_path / "run")
