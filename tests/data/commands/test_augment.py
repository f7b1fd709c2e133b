"""`hpa augment`: what it plans, makes and refuses."""

import json
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused, convert


@pytest.fixture(scope="module")
def labeled(kaggle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labeled") / "hpa.zarr"
    convert(kaggle / "train", path, labels=kaggle / "train.csv")
    return path


def test_a_dry_run_lists_the_copies_of_each_class(labeled: Path, hpa: Hpa) -> None:
    ended = hpa("augment", labeled, "--min-count", 9, "--dry-run")
    assert ended.status == 0, ended.err
    assert " 0 Nucleoplasm                           4       5         9\n" in ended.out
    assert "15 copies of 12 samples, at most 2 of one" in ended.out
    assert "Below 9 even so, no sample that can be copied: Nuclear speckles, " in ended.out
    assert not (labeled / "augmented").exists()


def test_copies_are_made_once_and_not_with_other_settings(labeled: Path, hpa: Hpa) -> None:
    words = ("augment", labeled, "--min-count", 9, "--to-part", "more")
    ended = hpa(*words, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["n_ok"] == 15
    ended = hpa(*words)
    assert "part more: 15 of 15 copies ok" in ended.out
    for seed in (1, 2**64):  # of any size, as in 0.1.0
        assert f"was created with seed=0, and this command has seed={seed}." in hpa(*words, "--seed", seed).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{kaggle}", "it is not a folder written by `hpa convert`"),
        ("s3:// --min-count 5", "A URL must name a bucket or host"),
        ("{store} --part test", "labels"),
        ("{store} --to-part train", "part must be new or hold copies"),
    ],
)
def test_what_cannot_be_copied_gets_one_line_and_status_2(
    words: str, message: str, kaggle: Path, store: Store, hpa: Hpa
) -> None:
    assert_refused(hpa("augment", *words.format(kaggle=kaggle, store=store.path).split()), message)
