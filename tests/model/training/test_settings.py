"""What the settings of a training do: learning rates, batches, losses and precisions."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.runs.checkpoint import read_state
from hpa_model.runs.history import read_history
from hpa_model.runs.models import load_model
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.network import build_network
from hpa_model.training.overview import describe_mixing, describe_warmup
from hpa_model.training.run import describe_run
from hpa_model.training.train import train
from tests.model.stopping import CONFIG, TINY, Killed, stop_at


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


@pytest.mark.slow
def test_a_cosine_lowers_the_learning_rate_in_each_epoch_also_when_resumed_and_the_last_model_is_kept(
    store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    config = dataclasses.replace(TINY, schedule="cosine", plateau_epochs=0, learning_rate=0.01, keep="last")
    with pytest.raises(Killed):
        train(store, config, out, progress=stop_at(5), checkpointing=Checkpointing(checkpoint_s=0))
    assert read_state(out / "fold0" / "checkpoint.npz").step > 0
    train(store, config, out)
    for fold, history in enumerate(read_history(out, 2)):
        models = [load_model(out / f"fold{fold}" / name).get_weights() for name in ("best.keras", "last.keras")]
        assert all((one == other).all() for one, other in zip(*models, strict=True))
        assert [record.learning_rate for record in history] == pytest.approx([0.01, 0.005])
    message = r"with schedule=cosine, the learning rate of each epoch depends on .* --epochs 1; or pass --overwrite"
    with pytest.raises(InputError, match=message):
        train(store, dataclasses.replace(config, epochs=3), out)


@pytest.mark.parametrize(("min_last_batch", "steps"), [(1, [4, 4, 1]), (2, [4, 5])])
def test_an_epoch_ends_with_a_batch_that_is_not_too_small(
    min_last_batch: int, steps: list[int], store: Store, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, epochs=2, batch_size=4, min_last_batch=min_last_batch, symmetries=False)
    seen: list[int] = []
    with store.reader() as reader:
        description = describe_run(store, config, reader)
        fold = Fold(number=0, folder=tmp_path / "fold0", training=np.arange(9), validation=np.arange(9, 12))
        fold.folder.mkdir()
        progress = Progress(advance=seen.append)
        job = FoldJob(config=config, reader=reader, fold=fold, classes=description.classes, progress=progress)
        fit_fold(build_network(description, fold=0), job)
    assert seen == steps * 2


@pytest.mark.parametrize("loss", ["f1", pytest.param("focal", marks=pytest.mark.slow)])
def test_every_loss_and_precision_trains(loss: str, store: Store, tmp_path: Path) -> None:
    precision = {"f1": "mixed_bfloat16", "focal": "mixed_float16"}[loss]
    config = dataclasses.replace(
        TINY, epochs=1, batch_size=6, symmetries=False, **{"loss": loss, "precision": precision}
    )
    scores = train(store, config, tmp_path / "run")
    assert np.isfinite(scores.macro_f1_at_half)
    model = load_model(tmp_path / "run" / "fold0" / "best.keras")
    assert {str(layer.compute_dtype) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {
        precision.removeprefix("mixed_")
    }
    assert str(model.output.dtype) == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"warmup_epochs": 1}, " after 1 epoch of warm-up"),
        ({"warmup_epochs": 2.5, "epochs": 3}, " after 2.5 epochs of warm-up"),
        ({"warmup_epochs": 3, "epochs": 2}, " after 3 epochs of warm-up, which is not reached in 2"),
        ({"augment": {"mixup": {}}}, ""),
        ({"augment": {"mixup": {}}, "batch_size": 1}, "; nothing is mixed, as there is one image in a batch"),
        ({"augment": "strong", "batch_size": 1}, ""),
    ],
)
def test_a_warm_up_and_a_mixing_that_come_to_nothing_are_told(settings: dict[str, Any], words: str) -> None:
    config = TrainConfig(**settings)
    assert describe_warmup(config) + describe_mixing(config) == words
