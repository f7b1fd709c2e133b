"""`hpa preview --augment`: samples beside versions of them."""

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.preview import TILE
from hpa_data.store.store import Store
from hpa_model.augment import make_versions, plan_augmentation
from hpa_model.commands.preview import read_augment
from tests.builders import Hpa, assert_refused, build_store

CELLS = Dataset(
    name="cells",
    channels=(Channel(name="DNA", color="#0000ff"), Channel(name="GFP", role="signal", color="#00ff00")),
    classes=("round", "flat"),
    height=32,
    width=32,
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 7 samples of 32 x 32 pixels; not to be changed."""
    labels = np.eye(2, dtype=np.uint8)[np.arange(7) % 2]
    return build_store(tmp_path_factory.mktemp("cells") / "a.zarr", CELLS, labels)


def test_samples_are_drawn_beside_their_versions(cells: Store, tmp_path: Path, hpa: Hpa) -> None:
    out = tmp_path / "a.png"
    (tmp_path / "a.toml").write_text("[augment]\nturn = {quarters = 2}\n")
    ended = hpa("preview", cells.path, "--augment", tmp_path / "a.toml", "--samples", 2, "--columns", 3, "--out", out)
    assert (ended.status, ended.out) == (0, f"{out}: 2 samples, each with 2 versions\n"), ended.err
    grid = iio.imread(out)
    assert grid.shape[1] == 3 * (TILE + 4)
    first, second = grid[:TILE, :TILE].astype(int), grid[:TILE, TILE + 4 : 2 * TILE + 4].astype(int)
    assert np.abs(first[::-1, ::-1] - second).max() <= 2


@pytest.mark.parametrize("words", ["--augment --out {}", "--out {} --augment", "--augment=strong --out {} --seed 0"])
def test_the_option_needs_no_name(words: str, cells: Store, tmp_path: Path, hpa: Hpa) -> None:
    out = tmp_path / "a.png"
    ended = hpa("preview", cells.path, *words.format(out).split(), "--id", "s-001", "--json", "--part", "train")
    assert json.loads(ended.out)["ids"] == ["s-001"]
    words = "--augment strong --id s-001 --part train --seed 1"
    hpa("preview", cells.path, *words.split(), "--out", tmp_path / "other.png")
    assert out.read_bytes() != (tmp_path / "other.png").read_bytes()


def test_versions_are_those_of_a_training_with_pairs_that_stay_together(cells: Store) -> None:
    setting = {"policy": "strong", "mixup": {}}
    with cells.reader() as reader:
        images, words = make_versions(setting, seed=3)(reader, range(7), 2)
        augmentation = plan_augmentation(setting, reader.dataset.channels, (32, 32, 2), (32, 32), seed=3)
        rows, _ = augmentation.draw(np.arange(7), 2)
        expected = np.asarray(augmentation.make_layer()(reader.read(np.arange(7)), rows))
    assert images.dtype == np.uint8
    assert np.abs(images - expected).max() <= 0.5 + 1e-3
    assert [("neighbor" in each) for each in words] == [True] * 6 + [False]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--augment papr", "Received: augment='papr'. Did you mean 'paper'?"),
        ("--augment none", "augment must change images. Received: augment=none. Pass symmetries, paper or strong."),
        ("--augment --parents", "Cannot use --parents: it has no effect with --augment"),
        ("--augment --split-channels", "Cannot use --split-channels: it has no effect with --augment"),
        ("--augment --columns 1", "columns must be at least 2 to show a sample and a version. Received: columns=1."),
        ("--seed 1", "Cannot use --seed: it has no effect without --augment"),
    ],
)
def test_what_cannot_be_shown_is_refused(words: str, message: str, cells: Store, tmp_path: Path, hpa: Hpa) -> None:
    assert_refused(hpa("preview", cells.path, *words.split(), "--out", tmp_path / "a.png"), message)


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(InputError, match="recipe must be a file, or one of .*Received: none.toml. See `hpa recipes`"):
        read_augment("none.toml")


def test_a_recipe_of_the_package_is_named_as_in_training_and_a_policy_goes_first() -> None:
    assert [read_augment(name) for name in ("trial", "paper", "strong")] == ["symmetries", "paper", "strong"]
