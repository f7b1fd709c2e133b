"""Trainings that start from the models of another run: which weights they take, and what then leaks."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.folds.plan import plan_training
from hpa_data.store.store import Store, open_store
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.models import load_model
from hpa_model.training.finetune import finetune
from hpa_model.training.run import describe_run
from hpa_model.training.train import train
from hpa_model.training.weights import open_weights
from tests.builders import Hpa, build_store, convert, write_table
from tests.model.stopping import CONFIG

SMALL = Dataset(name="small", channels=HPA_2018.channels, classes=("a", "b", "c"), height=80, width=80)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 12 samples of 80 x 80 pixels, of three classes."""
    labels = [[1, row % 2, row % 3 == 0] for row in range(12)]
    return build_store(tmp_path_factory.mktemp("other") / "other.zarr", SMALL, labels)


def describe(store: Store, config: TrainConfig) -> RunDescription:
    with store.reader(config.parts, channels=config.channels or None) as reader:
        return describe_run(store, config, reader)


def list_seen(run: Path, store: Store, config: TrainConfig) -> list[str]:
    with store.reader(config.parts) as reader:
        plan = plan_training(
            store, config.parts, reader, config.folds, method="stratified", seed=config.seed, legacy_leak=False
        )
        return open_weights(run).find_seen(store, plan, reader)


def test_each_fold_starts_from_the_best_model_of_that_fold(run: Path, store: Store) -> None:
    description = describe(store, CONFIG)
    for fold in range(2):
        network = open_weights(run).build(description, fold=fold)
        best = load_model(run / f"fold{fold}" / "best.keras")
        for one, two in zip(network.get_weights(), best.get_weights(), strict=True):
            assert (one == two).all()


def test_the_head_is_new_where_the_classes_differ_and_only_there(run: Path, other: Store) -> None:
    network = open_weights(run).build(describe(other, CONFIG), fold=1)
    best = load_model(run / "fold1" / "best.keras")
    assert network.output_shape == (None, 3)
    weighted = [[layer for layer in model.layers if layer.weights] for model in (network, best)]
    heads = 0
    for layer, source in zip(*weighted, strict=True):
        if layer.name.startswith("head_"):
            heads += 1
            assert layer.name != "head_dense_1" or (layer.get_weights()[0] != source.get_weights()[0]).any()
        else:
            assert all((a == b).all() for a, b in zip(layer.get_weights(), source.get_weights(), strict=True))
    assert heads >= 3


def test_a_run_on_another_store_records_what_it_started_from(run: Path, other: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("train", other.path, "--folds", 2, "--epochs", 1, "--batch-size", 6, "--image-size", 76)
    words += ("--out", tmp_path / "run")
    ended = hpa(*words, "--weights", run)
    assert ended.status == 0, ended.err
    assert f"Started from the models of {run}" in ended.out
    assert "trained on samples that are validated here" not in ended.err
    description = read_run(tmp_path / "run")
    assert (description.weights, description.n_seen) == (str(run), 0)
    assert len(description.weights_models) == 2
    ended = hpa(*words)
    assert ended.status == 2
    assert f"differs in the weights to start from (of {run} there, none here)" in ended.err


def test_samples_that_the_models_were_trained_on_are_told_by_id_or_pixels(
    run: Path, store: Store, kaggle: Path, tmp_path: Path
) -> None:
    assert list_seen(run, store, CONFIG) == []  # the same folds
    seen = list_seen(run, store, dataclasses.replace(CONFIG, seed=8))
    assert seen
    assert list_seen(run, store, dataclasses.replace(CONFIG, folds=3)) != []
    # The same images under other ids.
    for path in (kaggle / "train").iterdir():
        (tmp_path / "renamed").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "renamed" / f"x{path.name}")
    rows = {f"xsample-{index:02}": str(index % 4) for index in range(12)}
    convert(tmp_path / "renamed", tmp_path / "a.zarr", labels=write_table(tmp_path / "labels.csv", rows))
    assert any(name.startswith("xsample-") for name in list_seen(run, open_store(tmp_path / "a.zarr"), CONFIG))


def test_fine_tuning_a_run_whose_scores_are_inflated_says_so_too(run: Path, store: Store, tmp_path: Path) -> None:
    inflated = tmp_path / "inflated"
    shutil.copytree(run, inflated)
    dataclasses.replace(read_run(run), weights="elsewhere", weights_models=("a", "b"), n_seen=5).write(inflated)
    assert read_run(finetune(inflated, epochs=1, store=store).run).n_seen == 5


def test_models_of_another_network_or_of_fewer_folds_are_refused(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for source, config, message in (
        (store, dataclasses.replace(CONFIG, model="gapnet-pl"), "it is gapnet, .* gapnet-pl. Pass --model gapnet, or"),
        (store, dataclasses.replace(CONFIG, folds=3), r"folds must be at most 2 .*Pass --folds 2"),
        (store, dataclasses.replace(CONFIG, options={"stride": 1}), "options.stride=2, .* 1. Pass --set options.stri"),
    ):
        with pytest.raises(InputError, match=message):
            train(source, config, out, weights=run)
    shutil.copytree(run, tmp_path / "base")
    (tmp_path / "base" / "fold1" / "probs.npz").unlink()
    with pytest.raises(InputError, match=r"Cannot start from .*: fold 1 is not finished"):
        train(store, CONFIG, out, weights=tmp_path / "base")
    assert not out.exists()
