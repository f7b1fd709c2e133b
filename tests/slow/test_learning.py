"""Long tests of training, for `make test-slow`: networks that learn, overfitting real samples."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.store.store import open_store
from hpa_data.synth import write_samples
from hpa_model.config import TrainConfig
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.scores import score_run
from hpa_model.losses import loss_of_set
from hpa_model.nets import NETS
from hpa_model.nets.backbones import BACKBONES
from hpa_model.runs.history import read_history
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.network import build_network
from hpa_model.training.run import describe_run
from hpa_model.training.train import train
from tests.builders import convert

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of 336 synthetic samples, at least 12 of each class."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_samples(folder / "samples", n_samples=336, seed=0, uniform=True)
    convert(folder / "samples" / "train", folder / "a.zarr", labels=folder / "samples" / "train.csv")
    return folder / "a.zarr"


SETTINGS = {
    "gapnet": {"epochs": 16, "image_size": 128, "learning_rate": 5e-3},
    "gapnet-pl": {
        **{"epochs": 30, "image_size": 128, "options": {"dropout": 0.1}, "clip_norm": 1.0},
        **{"schedule": "cosine", "keep": "last", "symmetries": True},
    },
    "deepyeast": {"epochs": 8, "image_size": 48, "options": {"dropout": 0.2}},
    "mcnn": {"epochs": 13, "image_size": 128, "batch_size": 8},
    "densenet121": {"epochs": 6, "image_size": 64, "batch_size": 8},
}
# How far above the band of scores without skill `gapnet-pl` must be. Its area under the ROC curve is 0.81, where the
# band ends at 0.54, and its macro-F1 0.26, where that ends at 0.10.
AUC_MARGIN, F1_MARGIN = 0.10, 0.10


def test_each_network_learns_and_gapnet_pl_scores_far_above_no_skill(synthetic: Path, tmp_path: Path) -> None:
    runs = []
    store = open_store(synthetic)
    labels = store.part("train").labels
    assert labels is not None
    chance = loss_of_set("bce", labels, np.tile(labels.mean(axis=0), (len(labels), 1)))
    # Of those of keras.applications, one is enough: the others are not meant to be trained from random weights.
    assert set(NETS) - set(SETTINGS) == set(BACKBONES) - {"densenet121"}
    for name, settings in SETTINGS.items():
        common = {"model": name, "folds": 2, "batch_size": 16, "bn_momentum": 0.8}
        train(store, TrainConfig(**(common | settings)), tmp_path / name)  # type: ignore[arg-type]
        runs.append(tmp_path / name)
        for history in read_history(tmp_path / name, 2):
            # Less than predicting the frequency of each class for every image.
            assert history[-1].loss < chance, name
    scores = score_run(tmp_path / "gapnet-pl")
    assert scores.macro_roc_auc is not None
    assert scores.macro_roc_auc > scores.no_skill["macro_roc_auc"].high + AUC_MARGIN
    for name in ("macro_f1_within_fold", "macro_f1_cross_fitted"):
        assert getattr(scores, name) > scores.no_skill[name].high + F1_MARGIN, name
    for row in compare_runs(runs).rows:
        print(f"{row.model}: macro-F1 {row.headline:.3f}, without skill at most {row.no_skill_high:.3f}")


@pytest.mark.realdata
def test_gapnet_overfits_the_sixty_real_samples(real_data: Path, tmp_path: Path) -> None:
    convert(real_data / "kaggle" / "train", tmp_path / "a.zarr", labels=real_data / "kaggle" / "train.csv")
    config = TrainConfig(epochs=100, batch_size=20, image_size=128, bn_momentum=0.9, learning_rate=2e-3)
    store = open_store(tmp_path / "a.zarr")
    with store.reader() as reader:
        description = describe_run(store, config, reader)
        everything = np.arange(len(reader))
        fold = Fold(number=0, folder=tmp_path, training=everything, validation=everything)
        job = FoldJob(
            config=config,
            reader=reader,
            fold=fold,
            classes=description.classes,
            checkpointing=Checkpointing(checkpoint_s=1e9),
        )
        fit_fold(build_network(description, fold=0), job)
        n_present = int(reader.labels.any(axis=0).sum())  # type: ignore[union-attr]
    (tmp_path / "fold0").mkdir()
    shutil.copy(tmp_path / "history.csv", tmp_path / "fold0")
    (history,) = read_history(tmp_path, 1)
    # The score is the mean over all 28 classes, and absent classes count as 0.
    assert max(record.val_macro_f1 for record in history) * 28 / n_present > 0.9
