"""Runs that are trained on some channels of a store: as if the store had no others."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset, Sample
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.store import Store, open_store
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import TrainConfig
from hpa_model.evaluation.images import read_images
from hpa_model.evaluation.results import read_results
from hpa_model.predict import predict_submission
from hpa_model.runs.folder import read_run
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.baseline import train_baseline
from hpa_model.training.finetune import finetune
from hpa_model.training.train import train
from tests.builders import Hpa, assert_refused, build_store
from tests.model.stopping import Killed, assert_same_models, stop_at

CELLS = Dataset(
    name="cells",
    channels=(
        Channel(name="DNA", color="#0000ff"),
        Channel(name="GFP", role="signal", color="#00ff00"),
        Channel(name="ER", color="#ff0000"),
    ),
    classes=("round", "flat"),
    height=32,
    width=32,
)
LABELS = np.eye(2, dtype=np.uint8)[np.arange(12) % 2]
CONFIG = TrainConfig(
    model="gapnet-pl", channels=("ER", "GFP"), folds=2, epochs=2, batch_size=4, bn_momentum=0.5, symmetries=True
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 12 samples of three channels; not to be changed."""
    return build_store(tmp_path_factory.mktemp("cells") / "a.zarr", CELLS, LABELS)


@pytest.fixture(scope="module")
def picked(cells: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold the same samples, of which ER and GFP alone."""
    with cells.reader(channels=("ER", "GFP")) as reader:
        images = reader.read(range(12)).copy()
    path, dataset = tmp_path_factory.mktemp("picked") / "a.zarr", CELLS.select(("ER", "GFP"))
    ids = tuple(reader.ids)
    plan = PartPlan(path=path, name="train", ids=ids, labels=LABELS, settings={}, dataset=dataset)
    build_part(plan, list(images), lambda image: Sample(image=image), expected_bytes=lambda n: n)
    return open_store(path)


@pytest.fixture(scope="module")
def run(cells: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a small baseline on two of the channels; not to be changed."""
    return fit(cells, tmp_path_factory.mktemp("runs") / "run", "ER", "GFP")


@pytest.fixture(scope="module")
def trained(cells: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a network on two of the channels; not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train(cells, CONFIG, out)
    return out


def fit(store: Store, out: Path, *channels: str) -> Path:
    train_baseline(store, TrainConfig(channels=channels, folds=2), out, settings=BaselineSettings(n_trees=3), threads=1)
    return out


def read_probs(run: Path, source: Path, out: Path) -> np.ndarray:
    predict_submission(run, source, out.with_suffix(".csv"), parts=["train"], probs=out)
    with np.load(out) as file:
        return file["probs"]


def test_the_run_describes_the_channels_that_it_was_trained_on(run: Path) -> None:
    description = read_run(run)
    assert description.channels == ("ER", "GFP")
    assert description.image_shape == (32, 32, 2)
    assert description.dataset is not None
    assert [channel.role for channel in description.dataset.channels] == ["reference", "signal"]
    assert description.full_store_dataset.channel_names == ("DNA", "GFP", "ER")


def test_files_of_the_channels_are_all_that_a_prediction_needs(run: Path, cells: Store, tmp_path: Path) -> None:
    with cells.reader() as reader:
        images = reader.read(range(12)).copy()
    folder = tmp_path / "files"
    folder.mkdir()
    for name, image in zip(cells.part("train").ids, images, strict=True):
        for c, channel in enumerate(CELLS.channel_names):
            if channel != "DNA" or name == "s-000":
                cv2.imwrite(str(folder / f"{name}_{channel}.png"), image[..., c])
    (folder / "s-003_DNA.png").write_bytes(b"no image")
    (folder / "x_DNA.png").write_bytes((folder / "s-000_DNA.png").read_bytes())
    probs = tmp_path / "files.npz"
    found = predict_submission(run, folder, tmp_path / "files.csv", probs=probs)
    with np.load(probs) as file:
        assert (file["probs"][:12] == read_probs(run, cells.path, tmp_path / "store.npz")).all()
    assert found.failed == ("x",)
    assert found.failures[0].reason == (
        "Cannot read sample 'x': there is no file for ER, GFP beside x_DNA.png. Add it."
    )


def test_the_report_shows_the_channels_of_the_run(run: Path, cells: Store) -> None:
    images = read_images(cells, read_results(run))
    assert images.missing_reason == ""
    assert [channel.name for channel in images.channels] == ["ER", "GFP"]


def test_predictions_are_those_of_a_store_without_the_other_channels(
    run: Path, cells: Store, picked: Store, tmp_path: Path
) -> None:
    alone = fit(picked, tmp_path / "alone")
    of_all = read_probs(run, cells.path, tmp_path / "a.npz")
    assert (of_all == read_probs(run, picked.path, tmp_path / "b.npz")).all()
    # A run of a store with fewer channels finds its own by name, too.
    assert (of_all == read_probs(alone, cells.path, tmp_path / "c.npz")).all()


def test_folds_do_not_depend_on_the_channels(run: Path, cells: Store, tmp_path: Path) -> None:
    assert (read_out_of_fold(fit(cells, tmp_path / "all")).folds == read_out_of_fold(run).folds).all()


def test_another_choice_of_channels_is_not_resumed(run: Path, cells: Store, tmp_path: Path, hpa: Hpa) -> None:
    shutil.copytree(run, tmp_path / "run")
    ended = hpa("baseline", cells.path, "--out", tmp_path / "run", "--folds", "2", "--channels", "GFP,ER")
    assert_refused(ended, "channels (('ER', 'GFP') there, ('GFP', 'ER') here)")


def test_a_channel_that_is_not_there_gets_one_line(cells: Store, picked: Store, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("train", cells.path, "--out", tmp_path / "run", "--channels", "GFP", "--channels", "green")
    assert_refused(ended, "channels must be different ones of data set 'cells': DNA, GFP, ER. Received: 'green'.")
    assert not (tmp_path / "run").exists()
    dna = fit(cells, tmp_path / "dna", "DNA")
    ended = hpa("predict", dna, picked.path, "--part", "train", "--out", tmp_path / "a.csv")
    assert_refused(ended, "channels must be those that the run was trained on, DNA, of cells. Received: ER, GFP in")


@pytest.mark.slow
def test_models_and_predictions_are_those_of_a_store_without_the_other_channels(
    trained: Path, cells: Store, picked: Store, tmp_path: Path
) -> None:
    alone = TrainConfig(**{**vars(CONFIG), "channels": ()})
    train(picked, alone, tmp_path / "alone")
    assert_same_models(trained, tmp_path / "alone")
    of_all = read_probs(trained, cells.path, tmp_path / "a.npz")
    assert (of_all == read_probs(trained, picked.path, tmp_path / "b.npz")).all()
    assert (of_all == read_probs(tmp_path / "alone", cells.path, tmp_path / "c.npz")).all()


@pytest.mark.slow
def test_a_training_that_was_killed_resumes_on_its_channels(trained: Path, cells: Store, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(cells, CONFIG, tmp_path / "run", progress=stop_at(3))
    train(cells, CONFIG, tmp_path / "run", cache_bytes=10**6)
    assert_same_models(trained, tmp_path / "run")


@pytest.mark.slow
def test_finetuning_goes_on_with_the_channels(trained: Path, tmp_path: Path) -> None:
    finished = finetune(trained, loss="bce", epochs=1, folds="best", out=tmp_path / "tuned")
    assert read_run(finished.run).channels == ("ER", "GFP")
