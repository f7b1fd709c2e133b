"""A training that is stopped and resumed; what it refuses; its optimizer, losses and precisions."""

import dataclasses
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.interrupts import SIGNALS, interrupted_by
from hpa_data.system.progress import Progress
from hpa_model.losses import LOSSES
from hpa_model.runs.checkpoint import read_state
from hpa_model.runs.folder import EpochRecord, read_history
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.network import build_network
from hpa_model.training.run import describe_run
from hpa_model.training.train import train
from tests.model.stopping import CONFIG, FOLD_FILES, Killed, assert_same_models, stop_at


def test_a_training_that_is_killed_three_times_ends_with_the_same_weights(
    run: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    records: list[EpochRecord] = []
    for batch in (2, 2, 5):  # within an epoch; at the last step of an epoch; in the next epoch
        with pytest.raises(Killed):
            train(store, CONFIG, out, progress=stop_at(batch), checkpointing=Checkpointing(checkpoint_s=0))
    train(store, CONFIG, out, on_epoch=lambda fold, record, is_best: records.append(record))
    assert_same_models(run, out)
    assert (read_out_of_fold(out).probs == read_out_of_fold(run).probs).all()
    for one, other in zip(read_history(run, 2), read_history(out, 2), strict=True):
        for a, b in zip(one, other, strict=True):
            timeless = [{n: v for n, v in asdict(r).items() if n not in {"images_per_s", "seconds"}} for r in (a, b)]
            assert timeless[0] == pytest.approx(timeless[1], rel=1e-5)
    assert {path.name for path in (out / "fold0").iterdir()} == FOLD_FILES


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_ends_a_step_and_writes_a_checkpoint(number: int, run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def interrupt(_: int) -> None:
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as raised:
        train(store, CONFIG, out, progress=Progress(advance=interrupt))
    assert interrupted_by(raised.value) == number
    assert signal.getsignal(number) is before
    with np.load(out / "fold0" / "checkpoint.npz", allow_pickle=False) as file:
        assert '"step": 1' in str(file["state"])
    train(store, CONFIG, out)
    assert_same_models(run, out)


def test_a_damaged_checkpoint_is_refused(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(store, CONFIG, out, progress=stop_at(2), checkpointing=Checkpointing(checkpoint_s=0))
    saved = out / "fold0" / "checkpoint.npz"
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"Cannot read checkpoint .*fold0.*--overwrite"):
        train(store, CONFIG, out)


def fail_in_step_2() -> Callable[[object], object]:
    """Make a loss that is finite in its first step and infinite in its second, on every processor."""
    left = keras.Variable(2.0, trainable=False)

    def loss(probs: object) -> object:
        left.assign_sub(1.0)
        return keras.ops.mean(probs) / left

    return loss


def have_nan_gradients() -> Callable[[object], object]:
    """Make a loss of 0 whose gradient is NaN: the slope of a root at 0, times 0."""
    return lambda probs: keras.ops.mean(keras.ops.sqrt(keras.ops.relu(probs - 2.0)))


@pytest.mark.parametrize(
    ("make_loss", "message", "n_kept"),
    [
        (fail_in_step_2, r"Cannot train fold 0 further: the training loss is (inf|nan) in epoch 1, step 2\. Lower", 1),
        (have_nan_gradients, r"Cannot train fold0 further: .* before epoch 1, step 2\. Lower", 0),
    ],
)
def test_a_loss_or_weight_that_is_not_finite_is_reported_and_leaves_the_checkpoint_from_before(  # noqa: PLR0917 - three are fixtures
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


def test_a_cosine_lowers_the_learning_rate_in_each_epoch_also_when_resumed_and_the_last_model_is_kept(
    store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    config = dataclasses.replace(CONFIG, schedule="cosine", plateau_epochs=0, learning_rate=0.01, keep="last")
    with pytest.raises(Killed):
        train(store, config, out, progress=stop_at(5), checkpointing=Checkpointing(checkpoint_s=0))
    assert read_state(out / "fold0" / "checkpoint.npz").step > 0
    train(store, config, out)
    for fold, history in enumerate(read_history(out, 2)):
        models = [load_model(out / f"fold{fold}" / name).get_weights() for name in ("best.keras", "last.keras")]
        assert all((one == other).all() for one, other in zip(*models, strict=True))
        assert [record.learning_rate for record in history] == pytest.approx([0.01, 0.005])
    with pytest.raises(InputError, match="with schedule=cosine, its learning rate has fallen to 0"):
        train(store, dataclasses.replace(config, epochs=3), out)


@pytest.mark.parametrize(("min_last_batch", "steps"), [(1, [4, 4, 1]), (2, [4, 5])])
def test_an_epoch_ends_with_a_batch_that_is_not_too_small(
    min_last_batch: int, steps: list[int], store: Store, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, epochs=2, batch_size=4, min_last_batch=min_last_batch, symmetries=False)
    seen: list[int] = []
    with store.reader() as reader:
        description = describe_run(store, config, reader)
        fold = Fold(number=0, folder=tmp_path / "fold0", training=np.arange(9), validation=np.arange(9, 12))
        fold.folder.mkdir()
        progress = Progress(advance=seen.append)
        job = FoldJob(config=config, reader=reader, fold=fold, classes=description.classes, progress=progress)
        fit_fold(build_network(description, fold=0), job)
    assert seen == steps * 2


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
