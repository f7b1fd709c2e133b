"""Networks that are trained on one store and then on another, by commands as users type them, for `make test-slow`."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.synth import write_samples
from hpa_model.runs.folder import read_run
from hpa_model.runs.models import load_model
from tests.builders import Ended, hpa_process

pytestmark = pytest.mark.slow

# A rate at which no weight changes: what is trained next shows what it started from.
STILL = ("--epochs", 1, "--learning-rate", 1e-30, "--folds", 2, "--batch-size", 8)
SIZE = ("--model", "gapnet-pl", "--image-size", 32)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a store of images of Kaggle and, as a part of its own, external ones: color planes in JPEG."""
    folder = tmp_path_factory.mktemp("work")
    write_samples(folder / "kaggle", n_samples=16, seed=0)
    write_samples(folder / "more", n_samples=16, seed=1)
    (folder / "hpav18").mkdir()
    for plane in (folder / "more" / "train").glob("*.png"):
        gray = cv2.imread(str(plane), cv2.IMREAD_GRAYSCALE)
        sample, _, channel = plane.stem.rpartition("_")
        colors = {"blue": (1, 0, 0), "green": (0, 1, 0), "red": (0, 0, 1), "yellow": (0, 1, 1)}[channel]
        assert cv2.imwrite(str(folder / "hpav18" / f"x{sample}_{channel}.jpg"), gray[..., None] * np.uint8(colors))
    with (folder / "more" / "train.csv").open() as file, (folder / "external.csv").open("w") as out:
        out.writelines(("x" if row else "") + line for row, line in enumerate(file))
    small = ("--image-size", 64)
    do(folder, "convert", "kaggle/train", "hpa.zarr", "--labels", "kaggle/train.csv", *small)
    do(
        folder,
        "convert",
        "hpav18",
        "hpa.zarr",
        "--part",
        "external",
        "--labels",
        "external.csv",
        "--naming",
        "hpav18",
        *small,
    )
    do(folder, "train", "hpa.zarr", "--part", "external", *SIZE, "--epochs", 2, "--folds", 2, "--out", "first")
    return folder


def do(folder: Path, *words: object, status: int = 0) -> Ended:
    ended = hpa_process(*words, cwd=folder)
    assert ended.status == status, ended.err
    return ended


def read_layers(run: Path, fold: int) -> dict[str, list[np.ndarray]]:
    model = load_model(run / f"fold{fold}" / "best.keras")
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights and "dropout" not in layer.name}


def assert_started_from(work: Path, run: str, places: list[int], *, new: set[str]) -> None:
    """Check that each fold has the weights of `first`, those of its channels from these places."""
    for fold in range(2):
        there, here = read_layers(work / "first", fold), read_layers(work / run, fold)
        assert there.keys() == here.keys()
        there["conv_1"][0] = there["conv_1"][0][:, :, places]
        differ = {
            name
            for name, values in here.items()
            if any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(values, there[name], strict=True))
        }
        assert differ == new


def test_the_external_set_first_and_the_images_of_kaggle_after(work: Path) -> None:
    ended = do(work, "train", "hpa.zarr", "--part", "train", *SIZE, *STILL, "--weights", "first", "--out", "second")
    line = (
        "Start: the models of first, fold by fold, which were trained on external at 32 x 32 pixels; the classification"
    )
    assert f"{line} head is kept\n" in ended.err
    assert "Warning" not in ended.err
    assert f"Started from the models of {work / 'first'}" in ended.out
    assert_started_from(work, "second", [0, 1, 2, 3], new=set())
    description = read_run(work / "second")
    assert (description.weights, description.n_seen) == (str(work / "first"), 0)
    # The result is a run like any other.
    do(work, "verify", "second")
    do(work, "predict", "second", "hpa.zarr", "--part", "external")


def test_another_store_with_other_classes_other_channels_and_another_image_size(work: Path) -> None:
    rows = list(csv.reader((work / "kaggle" / "train.csv").open()))[1:]
    with (work / "train_2021.csv").open("w") as file:
        file.write("ID,Label\n")
        file.writelines(f"{name},{index % 19}|{7 * index % 19}\n" for index, (name, _) in enumerate(rows))
    words = ("--labels", "train_2021.csv", "--dataset", "hpa2021", "--image-size", 48)
    do(work, "convert", "kaggle/train", "hpa2021.zarr", *words)
    words = ("train", "hpa2021.zarr", "--model", "gapnet-pl", *STILL, "--weights", "first")
    ended = do(work, *words, "--channels", "yellow,green,red", "--out", "third")
    assert "the classification head is new, because the classes differ\n" in ended.err
    assert "not trained on here, 1 channel, for example blue. Their filters are left out." in ended.err
    assert len(read_run(work / "third").classes) == 19
    heads = {name for name in read_layers(work / "third", 0) if name.startswith("head_")}
    assert_started_from(work, "third", [3, 1, 0], new=heads)
    # Killed or not, what it started from is known, and other channels are another training.
    ended = do(work, *words, "--channels", "red,green,yellow", "--out", "third", status=2)
    assert "Cannot resume third: it differs in channels" in ended.err
    do(work, *words, "--channels", "yellow,green,red", "--out", "third")
    ended = do(work, *words, "--model", "gapnet", "--out", "fourth", status=2)
    assert ended.err.endswith("it is gapnet-pl, the new one gapnet. Pass --model gapnet-pl, or leave --weights out.\n")
    assert not (work / "fourth").exists()
