"""`hpa stats`: classes and channels of a store, classes of a label table."""

import json
from pathlib import Path

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused


def test_the_statistics_of_a_store_are_described_and_drawn(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("stats", store.path, "--part", "train", "--figure-dir", tmp_path / "figures")
    assert ended.status == 0, ended.err
    assert " 3 Nuclear speckles                        0     0.00 %\n" not in ended.out
    assert "labels per sample: " in ended.out
    assert "train  red " in ended.out
    assert f"{tmp_path / 'figures'}: " in ended.out
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".pdf"}


def test_the_images_are_not_read_where_only_labels_are_asked_for(store: Store, hpa: Hpa) -> None:
    report = json.loads(hpa("stats", store.path, "--no-intensities", "--json").out)
    assert report["intensities"] == []
    assert report["labels"]["n_samples"] == 12


def test_a_label_table_shows_what_copies_would_add(kaggle: Path, hpa: Hpa) -> None:
    ended = hpa("stats", "--labels", kaggle / "train.csv", "--min-count", 9)
    assert ended.status == 0, ended.err
    assert " 0 Nucleoplasm                           4  33.33 %       5         9\n" in ended.out


def test_a_label_table_of_another_data_set_is_measured_with_its_classes(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    (tmp_path / "a.csv").write_text("image;labels\na;8|5\nb;18\n")
    words = ("--labels", tmp_path / "a.csv")
    assert_refused(hpa("stats", *words), "which classes its numbers stand for is not certain")
    for command in ("stats", "folds"):
        ended = hpa(command, *words, "--dataset", "hpa2021", *(("--folds", 2) if command == "folds" else ()))
        assert ended.status == 0, ended.err
        assert "18 Negative " in ended.out
        assert_refused(
            hpa(command, store.path, "--dataset", "hpa2021"), "no effect with a store, which has its own data set"
        )
