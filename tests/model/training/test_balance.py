"""Sampling and mixes of parts: what a training draws is what its table says, and what cannot be drawn is refused."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.augment.execute import augment_store, plan_augmentation
from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.folds.plan import FoldPlan, plan_folds
from hpa_data.reader.reader import PendingBatch, Reader
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig, make_config
from hpa_model.nets import NETS
from hpa_model.nets.catalog import Net
from hpa_model.runs.checkpoint import read_state
from hpa_model.training.balance import check_mix, check_strata, describe_balance, make_strata
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.network import build_network
from hpa_model.training.run import describe_run, open_run, prepare_backend
from hpa_model.training.train import train
from tests.builders import build_store
from tests.model.stopping import TINY, Killed, assert_same_models, read_weights, stop_at
from tests.model.training.conftest import build_tiny

PARTS = ("train", "external", "augmented")
CLASSES = ("often", "seldom", "once", "never")
CELLS = Dataset(
    name="cells",
    channels=(Channel(name="DNA"), Channel(name="GFP", role="signal")),
    classes=CLASSES,
    height=16,
    width=16,
)
# With everything that draws or counts.
CONFIG = dataclasses.replace(
    TINY,
    **{"parts": PARTS, "sampling": "balanced", "mix": {"train": 2, "external": 1}, "class_weights": "balanced"},
    **{"epochs": 3, "batch_size": 9, "image_size": 16, "deterministic": True},
)

# Makes two devices of the CPU, before anything else uses it.
SPLIT_CPU = (
    "import tensorflow as tf; "
    "cpu = tf.config.list_physical_devices('CPU')[0]; "
    "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)"
)


def make_labels(n: int) -> np.ndarray:
    """Make labels of classes that get rarer, the first beside some of the others, and one sample without any."""
    labels = np.zeros((n, 4), np.uint8)
    labels[: n * 2 // 3, 0] = 1
    labels[n // 2 : -2, 1] = 1
    labels[-2:, 2] = 1
    labels[0] = 0
    return labels


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 24 samples in `train`, 18 in `external`, and copies of both in `augmented`."""
    path = tmp_path_factory.mktemp("cells") / "cells.zarr"
    build_store(path, CELLS, make_labels(24))
    store = build_store(path, CELLS, make_labels(18), part="external", prefix="e-")
    augment_store(plan_augmentation(store, min_count=12, parts=("train", "external")))
    return store


def plan_for(config: TrainConfig, reader: Reader) -> FoldPlan:
    return plan_folds(reader, config.folds, seed=config.seed, legacy_leak=config.legacy_leak)


class Spy(Reader):
    """A reader that keeps which samples it was asked for."""

    def read_async(self, indices: object) -> PendingBatch:
        self.__dict__.setdefault("asked", []).append(np.asarray(indices))
        return super().read_async(indices)  # type: ignore[arg-type]


def make_job(store: Store, config: TrainConfig, reader: Reader, folder: Path, **reports: Any) -> FoldJob:
    """Make the job of training fold 0."""
    plan = plan_for(config, reader)
    training, validation = plan.split(0)
    fold = Fold(number=0, folder=folder / "fold0", training=training, validation=validation)
    fold.folder.mkdir(parents=True, exist_ok=True)
    strata = make_strata(config, reader, plan, training)
    return FoldJob(config=config, reader=reader, fold=fold, classes=CLASSES, strata=strata, **reports)


def fit(store: Store, job: FoldJob) -> None:
    prepare_backend(job.config)
    fit_fold(build_network(describe_run(store, job.config, job.reader), fold=0), job)


@pytest.fixture(scope="module")
def whole(cells: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Train fold 0 for three epochs; return its folder, and the indices of the images of each epoch, (3, M)."""
    folder = tmp_path_factory.mktemp("whole")
    with Spy([cells.part(name).reader_spec() for name in PARTS]) as reader:
        job = make_job(cells, CONFIG, reader, folder)
        fit(cells, job)
        training = job.fold.training
        asked = [batch for batch in reader.__dict__["asked"] if set(batch.tolist()) <= set(training.tolist())]
        return folder, np.concatenate(asked)[: 3 * len(training)].reshape(3, -1)


def test_a_training_draws_what_its_table_says(whole: tuple[Path, np.ndarray], cells: Store) -> None:
    folder, epochs = whole
    n_images = epochs.shape[1]
    with cells.reader(PARTS) as reader:
        plan = plan_for(CONFIG, reader)
        table = describe_balance(CONFIG, reader, plan, make_job(cells, CONFIG, reader, folder).fold, CLASSES)
        assert reader.labels is not None
        drawn = reader.labels[epochs]  # (3, M, K)
        originals = np.where(plan.parents[epochs] >= 0, plan.parents[epochs], epochs)
        is_external = np.array(reader.parts)[originals] == "external"
    counts = {name: drawn[..., k].sum(axis=1) for k, name in enumerate(CLASSES[:3])}
    counts |= {"(no class)": (~drawn.any(axis=2)).sum(axis=1), "(part external)": is_external.sum(axis=1)}
    rows = {line.split("  ")[1].strip(): line.split("  ")[-1].strip() for line in table[2:]}
    for name, numbers in counts.items():
        assert rows[name] == " to ".join(map(str, sorted({int(numbers.min()), int(numbers.max())})))
    assert counts["(part external)"].tolist() == [round(n_images / 3)] * 3
    assert table[0].startswith("Sampling: balanced, mix train=2,external=1. Fold 0 (other folds differ): ")
    assert f"{n_images} images per epoch" in table[0]
    assert "Without samples in this training: never" in table[-1]


def test_a_training_with_sampling_resumes_within_an_epoch(
    whole: tuple[Path, np.ndarray], cells: Store, tmp_path: Path
) -> None:
    with cells.reader(PARTS) as reader:
        reports = {"progress": stop_at(8), "checkpointing": Checkpointing(checkpoint_s=0)}
        with pytest.raises(Killed):
            fit(cells, make_job(cells, CONFIG, reader, tmp_path, **reports))
        assert read_state(tmp_path / "fold0" / "checkpoint.npz").step > 0
        reordered = dataclasses.replace(CONFIG, mix={"external": 1, "train": 2})
        fit(cells, make_job(cells, reordered, reader, tmp_path))
    for one, other in zip(read_weights(whole[0], 0), read_weights(tmp_path, 0), strict=True):
        assert (one == other).all()


def kill_and_resume(path: str, folder: str, devices: str) -> None:
    """Compare a training that is killed four times with one that is not. Called in a process of its own."""
    NETS["tiny"] = Net(build=build_tiny, summary="of these tests", min_size=lambda **_: 3)
    store, whole, out = open_store(path), Path(folder, "whole"), Path(folder, "run")
    config = dataclasses.replace(CONFIG, batch_size=8, devices=int(devices), ema=0.9, accumulate_batches=2)
    notes: list[str] = []
    train(store, config, whole, progress=Progress(note=notes.append))
    assert sum(note.startswith("Sampling: balanced") for note in notes) == 1
    for batch in (1, 4, 3, 9):
        with pytest.raises(Killed):
            train(store, config, out, progress=stop_at(batch), checkpointing=Checkpointing(checkpoint_s=0))
    train(store, config, out)
    assert_same_models(whole, out)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "devices"), [("tensorflow", 1), ("tensorflow", 2), ("jax", 1)])
def test_a_run_with_sampling_is_killed_four_times_and_ends_with_the_same_weights(
    backend: str, devices: int, cells: Store, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    script = "import sys; from tests.model.training import test_balance; test_balance.kill_and_resume(*sys.argv[1:])"
    if devices > 1:
        script = f"{SPLIT_CPU}; {script}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(cells.path), str(tmp_path), str(devices)],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_run_resumes_only_with_the_sampling_that_it_began_with(cells: Store, tmp_path: Path) -> None:
    def begin(**settings: object) -> None:
        config = dataclasses.replace(CONFIG, **settings)  # type: ignore[arg-type]
        with open_run(cells, config, tmp_path / "run", overwrite=False, cache_bytes=0):
            pass

    begin()
    begin(mix={"external": 1.0, "train": 2.0})
    with pytest.raises(InputError, match=r"mix \(.*there.*here\)"):
        begin(mix={"train": 1, "external": 1})
    with pytest.raises(InputError, match=r"sampling \(balanced there, sqrt here\)"):
        begin(sampling="sqrt")


def test_copies_count_with_the_part_of_their_parents_unless_they_are_samples_of_their_own(cells: Store) -> None:
    with cells.reader(PARTS) as reader:
        config = make_config({"mix": {"train": 1, "external": 1}, "parts": list(PARTS), "folds": 2})
        plan = plan_for(config, reader)
        training, _ = plan.split(1)
        assert (plan.parents[training] >= 0).any()
        strata = make_strata(config, reader, plan, training)
        assert strata is not None
        originals = [plan.parents[i] if plan.parents[i] >= 0 else i for i in training]
        of_train = [reader.parts[i] == "train" for i in originals]
        assert strata.of.tolist() == [int(each) for each in of_train]  # external, train
        leaky = make_config({"mix": dict.fromkeys(PARTS, 1), "parts": list(PARTS), "folds": 20, "legacy_leak": True})
        check_mix(leaky, reader)
        check_strata(leaky, reader, plan_for(leaky, reader))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": {"train": 1, "extrenal": 1}}, "mix must name parts that are trained on.*Did you mean 'external'"),
        (
            {"mix": {"train": 1, "external": 1, "other": 1}},
            r"Train on other, too \(--part other\), or leave it out of mix \(--mix train=1,external=1\)",
        ),
        ({"mix": {"train": 1}}, "mix must name all parts that are trained on, train, external.*Give external"),
        ({"mix": dict.fromkeys(PARTS, 1)}, "mix must not name parts of copies.*Leave augmented out of it"),
        ({"mix": {"train": 1, "augmented": 1}, "legacy_leak": True}, "mix must name all parts.*Give external"),
        (
            {"mix": {"train": 100, "external": 1}, "sampling": "sqrt"},
            "Cannot draw from each class of external: an epoch of fold 0 has 1 image of external, for 3 classes. Raise",
        ),
    ],
)
def test_a_mix_that_does_not_fit_the_parts_is_refused_before_anything_is_written(
    settings: dict[str, object], message: str, cells: Store, tmp_path: Path
) -> None:
    config = make_config({"parts": list(PARTS), "folds": 2, "model": "tiny", "image_size": 16} | settings)
    with (
        pytest.raises(InputError, match=message),
        open_run(cells, config, tmp_path / "r", overwrite=False, cache_bytes=0),
    ):
        pass
    assert not (tmp_path / "r").exists()


def test_a_part_that_a_fold_is_not_trained_on_is_refused(tmp_path: Path) -> None:
    build_store(tmp_path / "a.zarr", CELLS, make_labels(9))
    store = build_store(tmp_path / "a.zarr", CELLS, [[1, 0, 0, 0]], part="external", prefix="e-")
    with store.reader(["train", "external"]) as reader:
        config = make_config({"parts": ["train", "external"], "mix": {"train": 1, "external": 1}, "folds": 3})
        with pytest.raises(InputError, match=r"Cannot mix the parts: fold \d is trained on no sample of external"):
            check_strata(config, reader, plan_for(config, reader))


def test_of_many_classes_the_most_and_the_least_frequent_are_listed(tmp_path: Path) -> None:
    n_classes = 1108
    many = dataclasses.replace(
        CELLS, name="many", classes=tuple(f"sirna {k}" for k in range(n_classes)), height=2, width=2
    )
    counts = np.maximum(40 // np.arange(1, n_classes + 1), 1)
    labels = np.eye(n_classes, dtype=np.uint8)[np.repeat(np.arange(n_classes - 8), counts[:-8])]
    store = build_store(tmp_path / "many.zarr", many, labels, codec="raw")
    config = make_config({"sampling": "balanced", "folds": 2, "epochs": 2})
    with store.reader() as reader:
        plan = plan_for(config, reader)
        check_strata(config, reader, plan)
        training, _ = plan.split(0)
        fold = Fold(number=0, folder=tmp_path, training=training, validation=training)
        table = describe_balance(config, reader, plan, fold, many.classes)
    assert len(table) == 2 + 60 + 1 + 1
    assert "sirna 0" in table[2]
    assert any("classes, each" in line for line in table)
    assert "more" in table[-1]
