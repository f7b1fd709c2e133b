"""`hpa datasets`, and the options of `hpa convert` about classes and label tables."""

import json
from pathlib import Path

import pytest

from hpa_data.dataset import HPA_2021, decode_labels
from hpa_data.store.store import open_store
from tests.builders import Hpa, assert_refused


def test_the_data_sets_are_listed_and_printed(hpa: Hpa, tmp_path: Path) -> None:
    ended = hpa("datasets")
    assert ended.status == 0, ended.err
    assert "hpa2018" in ended.out
    assert "ID,Label, separated by '|'" in ended.out
    assert [each["name"] for each in json.loads(hpa("datasets", "--json").out)] == ["hpa2018", "hpa2021"]
    (tmp_path / "mine.toml").write_text(hpa("datasets", "hpa2021").out)
    assert hpa("datasets", tmp_path / "mine.toml").out == hpa("datasets", "hpa2021").out
    assert_refused(hpa("datasets", "hpa2020"), "dataset must be hpa2018, hpa2021 or a TOML file")


def test_a_table_of_2021_is_refused_translated_or_kept(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    (tmp_path / "a.csv").write_text("ID,Label\nsample-01,8|5|0\nsample-02,14|16|16\n")
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", tmp_path / "a.csv", "--overwrite")
    assert_refused(hpa(*words), "Pass --dataset hpa2021, or --numbering hpa2021 to translate them")
    assert_refused(hpa(*words, "--dataset", "hpa2018"), "Pass --numbering hpa2018 if they are its own")
    for options, labels in (
        (("--numbering", "hpa2021"), ["0 5 11", "23 25"]),
        (("--dataset", "hpa2021"), ["0 5 8", "14 16"]),
    ):
        ended = hpa(*words, *options)
        assert ended.status == 0, ended.err
        part = open_store(tmp_path / "a.zarr").part("train")
        assert decode_labels(part.labels) == labels
    assert part.manifest.dataset == HPA_2021


def test_ones_own_classes_come_from_a_file_or_from_the_table(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    (tmp_path / "a.csv").write_text("image;site\nsample-01;round\nsample-02;Flat|round\n")
    (tmp_path / "mine.txt").write_text("Round\nLong\nFlat\n")
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", tmp_path / "a.csv", "--label-column", "site")
    for classes, names, labels in (
        (tmp_path / "mine.txt", ("Round", "Long", "Flat"), ["0", "0 2"]),
        ("infer", ("Flat", "round"), ["1", "0 1"]),
    ):
        ended = hpa(*words, "--classes", classes, "--overwrite")
        assert ended.status == 0, ended.err
        part = open_store(tmp_path / "a.zarr").part("train")
        assert part.manifest.classes == names
        assert decode_labels(part.labels) == labels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--numbering hpa2021", "Cannot use --numbering: it has no effect without --labels. Leave --numbering out"),
        ("--id-column x", "Cannot use --id-column: it has no effect without --labels"),
        ("--classes infer", "--classes infer must come with --labels"),
        ("--classes nowhere.txt", "there is no such file"),
        ("--dataset nowhere.toml", "dataset must be hpa2018, hpa2021 or a TOML file"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    words: str, message: str, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    assert_refused(hpa("convert", kaggle / "train", tmp_path / "a.zarr", *words.split()), message)
