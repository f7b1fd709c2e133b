"""A training that is stopped and resumed; what it refuses."""

import dataclasses
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.format.codecs import decode_shard_index
from hpa_data.store.store import Store, open_store
from hpa_data.system.interrupts import SIGNALS, interrupted_by
from hpa_data.system.progress import Progress
from hpa_model.losses import LOSSES, Loss
from hpa_model.runs.checkpoint import read_state
from hpa_model.runs.history import EpochRecord, read_history
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.job import Checkpointing
from hpa_model.training.train import train
from tests.model.stopping import FOLD_FILES, TINY, Killed, assert_same_models, stop_at


@pytest.fixture(scope="module")
def whole(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that is not interrupted. Tests must not change it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(store, TINY, out)
    return out


@pytest.mark.slow  # the test of interrupts resumes, too
def test_a_training_that_is_killed_three_times_ends_with_the_same_weights(
    whole: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    records: list[EpochRecord] = []
    for batch in (2, 2, 5):  # within an epoch; at the last step of an epoch; in the next epoch
        with pytest.raises(Killed):
            train(store, TINY, out, progress=stop_at(batch), checkpointing=Checkpointing(checkpoint_s=0))
    train(store, TINY, out, on_epoch=lambda fold, record, is_best: records.append(record))
    assert_same_models(whole, out)
    assert (read_out_of_fold(out).probs == read_out_of_fold(whole).probs).all()
    for one, other in zip(read_history(whole, 2), read_history(out, 2), strict=True):
        for a, b in zip(one, other, strict=True):
            timeless = [{n: v for n, v in asdict(r).items() if n not in {"images_per_s", "seconds"}} for r in (a, b)]
            assert timeless[0] == pytest.approx(timeless[1], rel=1e-5)
    assert {path.name for path in (out / "fold0").iterdir()} == FOLD_FILES


def test_an_interrupt_ends_a_step_and_writes_a_checkpoint(whole: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert len(SIGNALS) == 2  # so many steps are interrupted here, one by each
    for step, number in enumerate(SIGNALS, start=1):

        def interrupt(_: int, number: int = number) -> None:
            os.kill(os.getpid(), number)

        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt) as raised:
            train(store, TINY, out, progress=Progress(advance=interrupt))
        assert interrupted_by(raised.value) == number
        assert signal.getsignal(number) is before
        with np.load(out / "fold0" / "checkpoint.npz", allow_pickle=False) as file:
            assert f'"step": {step}' in str(file["state"])
    train(store, TINY, out)
    assert_same_models(whole, out)


def test_a_damaged_checkpoint_is_refused(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(store, TINY, out, progress=stop_at(2), checkpointing=Checkpointing(checkpoint_s=0))
    saved = out / "fold0" / "checkpoint.npz"
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"Cannot read checkpoint .*fold0.*--overwrite"):
        train(store, TINY, out)


def test_a_damaged_image_ends_a_training_before_its_step_with_weights_of_the_steps_before(
    store: Store, tmp_path: Path
) -> None:
    often = Checkpointing(checkpoint_s=0)
    config = dataclasses.replace(TINY, duplicates="exact")  # a search for near ones would read all images before
    damaged = open_store(shutil.copytree(store.path, tmp_path / "a.zarr"))
    damage_sample(damaged, row=8)
    with pytest.raises(InputError, match=r"Cannot read sample .* are damaged.*`hpa verify .*a\.zarr --part train"):
        train(damaged, config, tmp_path / "run", checkpointing=often)
    step = read_state(tmp_path / "run" / "fold0" / "checkpoint.npz").step
    with pytest.raises(Killed):
        train(store, config, tmp_path / "killed", progress=stop_at(step + 1), checkpointing=often)
    with (
        np.load(tmp_path / "run" / "fold0" / "checkpoint.npz") as one,
        np.load(tmp_path / "killed" / "fold0" / "checkpoint.npz") as other,
    ):
        assert all((one[name] == other[name]).all() for name in other.files if name != "state")
        assert one.files == other.files


def damage_sample(store: Store, row: int) -> None:
    """Change a byte in the middle of the chunk of a sample of the first shard."""
    part = store.part("train")
    path = part.shard_path(0)
    content = np.fromfile(path, np.uint8)
    start, stop = decode_shard_index(content, shard_samples=part.layout.shard_samples)[row].tolist()
    content[(start + stop) // 2] ^= 1
    path.write_bytes(content.tobytes())


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
    monkeypatch.setitem(LOSSES, "bce", Loss(function=lambda _labels, probs: loss(probs)))
    config = dataclasses.replace(TINY, optimizer="sgd", learning_rate=0.9, symmetries=False)
    with pytest.raises(InputError, match=message):
        train(store, config, tmp_path / "run", checkpointing=Checkpointing(checkpoint_s=0))
    saved = tmp_path / "run" / "fold0" / "checkpoint.npz"
    assert saved.exists() == (n_kept > 0)
    if n_kept:
        assert read_state(saved).step == n_kept
        with np.load(saved) as file:
            assert all(np.isfinite(file[name]).all() for name in file.files if name != "state")
