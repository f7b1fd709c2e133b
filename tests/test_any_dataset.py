"""Every command, from files to predictions, on data sets of other channels, classes and sizes than the paper's."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from hpa_data.store.store import open_store
from tests.builders import Hpa


@dataclass(frozen=True, kw_only=True)
class Case:
    """A data set, and how much of it there is."""

    channels: tuple[str, ...]
    n_classes: int
    height: int
    width: int
    n_samples: int = 12
    n_shown: int = 3
    """Classes that samples have."""

    n_per_sample: int = 1
    """Classes of each sample."""

    model: str = "gapnet-pl"


CASES = {
    "without-yellow": Case(channels=("red", "green", "blue"), n_classes=28, height=96, width=96, n_per_sample=2),
    "many-classes": Case(channels=tuple(f"w{n}" for n in range(1, 7)), n_classes=1108, height=48, width=48, n_shown=6),
    "crops": Case(channels=("red", "green", "blue", "yellow"), n_classes=19, height=64, width=64),
    "rectangles": Case(channels=("DNA", "GFP"), n_classes=2, height=256, width=384, n_shown=2),
    "one-class": Case(channels=("gray",), n_classes=1, height=33, width=70, n_shown=1),
}


def write_dataset(folder: Path, case: Case) -> npt.NDArray[np.uint8]:
    """Write the data set as TOML, planes and a table of class names; return the images, uint8 (N, Y, X, C)."""
    classes = [f"class {k} of {case.n_classes}" for k in range(case.n_classes)]
    channels = "".join(f'[[channels]]\nname = "{name}"\n' for name in case.channels)
    sizes = f"height = {case.height}\nwidth = {case.width}\n"
    (folder / "mine.toml").write_text(f'name = "mine"\nclasses = {json.dumps(classes)}\n{sizes}{channels}')

    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 250, (case.n_samples, 8, 8, len(case.channels)), np.uint8)
    (folder / "files").mkdir()
    images = np.zeros((case.n_samples, case.height, case.width, len(case.channels)), np.uint8)
    rows = [("Id", "Target")]
    for n, small in enumerate(coarse):
        for c, channel in enumerate(case.channels):
            images[n, ..., c] = cv2.resize(small[..., c], (case.width, case.height), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(folder / "files" / f"s{n:02}_{channel}.png"), images[n, ..., c])
        shown = {(n + 5 * extra) % case.n_shown for extra in range(case.n_per_sample)}
        rows.append((f"s{n:02}", ";".join(classes[k] for k in sorted(shown))))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return images


@dataclass(frozen=True)
class Commands:
    """Runs commands that must succeed, in one folder."""

    hpa: Hpa
    folder: Path

    def __call__(self, *words: object) -> Any:
        ended = self.hpa(*words, "--json")
        assert ended.status == 0, (words, ended.err)
        return json.loads(ended.out)


def run_all(run: Commands, options: Sequence[object], *, model: str, n_samples: int, min_count: int) -> Any:
    """Run every command from `convert` to `predict`; return the store's path and what `predict` wrote."""
    store, files, trained = (run.folder / name for name in ("a.zarr", "files", "run"))
    assert run("convert", files, store, "--labels", run.folder / "labels.csv", *options)["n_ok"] == n_samples
    assert run("verify", store, "--source", files)
    run("stats", store, "--figure-dir", run.folder / "figures")
    run("folds", store, "--folds", 2)
    run("augment", store, "--min-count", min_count, "--policy", "strong")
    run("preview", store, "--part", "augmented", "--out", run.folder / "copies.png", "--parents")
    run("preview", store, "--out", run.folder / "channels.png", "--split-channels")
    settings = ("--model", model, "--folds", 2, "--epochs", 1, "--batch-size", 6, "--symmetries")
    parts = ("--part", "train", "--part", "augmented")
    run("train", store, "--out", trained, *parts, *settings)
    run("evaluate", trained)
    run("compare", trained, "--out-csv", run.folder / "a.csv", "--out-figure", run.folder / "a.png")
    run("predict", trained, files, "--out", run.folder / "p.csv", "--probs", run.folder / "p.npz", "--tta", "--names")
    return store


# Each takes seconds, most of them to build networks.
QUICK = ("rectangles",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_every_command_takes_any_channels_classes_and_size(name: str, tmp_path: Path, hpa: Hpa) -> None:
    case = CASES[name]
    images = write_dataset(tmp_path, case)
    options = ("--dataset", tmp_path / "mine.toml")
    path = run_all(
        Commands(hpa, tmp_path),
        options,
        model=case.model,
        n_samples=case.n_samples,
        min_count=case.n_samples * case.n_per_sample // case.n_shown + 1,
    )

    part = open_store(path).part("train")
    with open_store(path).reader() as reader:
        assert (reader.read(range(case.n_samples)) == images).all()
    assert part.labels is not None
    assert part.labels.shape == (case.n_samples, case.n_classes)
    assert part.labels.any(axis=0).sum() == case.n_shown


# The classes of the two real samples at full size, in the numbers of the two competitions.
@pytest.mark.realdata
@pytest.mark.slow
def test_the_full_size_samples_are_one_data_set_in_the_classes_of_2018_and_of_2021(
    real_data: Path, tmp_path: Path, hpa: Hpa
) -> None:
    source = real_data / "fullsize"
    labels = {}
    for dataset, table in (("hpa2018", "train.csv"), ("hpa2021", "train_2021.csv")):
        folder = tmp_path / dataset
        folder.mkdir()
        (folder / "files").symlink_to(source / "train")
        (folder / "labels.csv").symlink_to(source / table)
        options = ("--dataset", dataset, "--image-size", 1024)
        store = run_all(Commands(hpa, folder), options, model="gapnet-pl", n_samples=2, min_count=2)
        part = open_store(store).part("train")
        assert part.layout.image_shape == (1024, 1024, 4)
        assert part.labels is not None
        rows = [np.flatnonzero(row).tolist() for row in part.labels]
        labels[dataset] = dict(zip(part.ids, rows, strict=True))
    (first,) = [name for name, classes in labels["hpa2021"].items() if classes == [0, 5, 8]]
    assert labels["hpa2018"][first] == [0, 5, 11]
    # The table of 2021 in the numbers of 2018, translated.
    translated = tmp_path / "translated.zarr"
    words = ("--labels", source / "train_2021.csv", "--numbering", "hpa2021", "--image-size", 1024)
    assert hpa("convert", source / "train", translated, *words).status == 0
    part = open_store(translated).part("train")
    assert part.labels is not None
    assert np.flatnonzero(part.labels[part.ids.index(first)]).tolist() == [0, 5, 11]
