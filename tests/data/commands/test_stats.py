"""`hpa stats`: classes and channels of a store, classes of a label table."""

import json
from pathlib import Path

from hpa_data.store.store import Store
from tests.builders import Hpa


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
