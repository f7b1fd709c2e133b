"""What `hpa convert` says about a label table whose ids or labels are not all those of the source."""

import json
from pathlib import Path

from hpa_data.dataset import decode_labels
from hpa_data.store.store import open_store
from tests.builders import Hpa, assert_refused, write_table


def test_rows_without_files_are_left_out_on_demand_and_listed(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    table = write_table(tmp_path / "a.csv", {"sample-01": "16 0", "x": "1", "sample-02": "25", "y": "1", "z": "3"})
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", table)
    assert_refused(hpa(*words), "no files for 'x' and 2 more ids of")
    assert_refused(hpa(*words), "or pass --allow-missing-files to go on without them")
    ended = hpa(*words, "--allow-missing-files")
    assert ended.status == 0, ended.err
    assert "Left out, rows of the label table without files: 3, for example x" in ended.out
    part = open_store(tmp_path / "a.zarr").part("train")
    assert (list(part.ids), decode_labels(part.labels)) == (["sample-01", "sample-02"], ["0 16", "25"])
    assert json.loads(hpa(*words, "--allow-missing-files", "--json").out)["missing_files"] == ["x", "y", "z"]
    ghosts = write_table(tmp_path / "ghosts.csv", {"x": "1"})
    assert_refused(hpa(*words[:-1], ghosts, "--allow-missing-files"), "none is in the table. Pass the table of")


def test_ids_in_capitals_are_shown_and_matched_on_demand(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    table = write_table(tmp_path / "a.csv", {"SAMPLE-02.png": "16 0", "sample-01": "25"})
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", table)
    assert_refused(hpa(*words), "It has 'sample-02' for 'SAMPLE-02.png', which differs in the extension and case.")
    ended = hpa(*words, "--id-match", "loose")
    assert ended.status == 0, ended.err
    assert "Ids matched loosely, differing in the extension and case: 1, for example SAMPLE-02.png" in ended.out
    part = open_store(tmp_path / "a.zarr").part("train")
    assert (list(part.ids), decode_labels(part.labels)) == (["sample-02", "sample-01"], ["0 16", "25"])


def test_labels_that_give_no_class_are_told_before_and_after(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    table = write_table(tmp_path / "a.csv", {"sample-01": "Vesicles", "sample-02": "Cytosol;Vesicles", "sample-03": ""})
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", table)
    for options in (("--dry-run",), ()):
        ended = hpa(*words, *options)
        assert ended.status == 0, ended.err
        assert "labels from column 'Target', names of classes" in ended.out
        assert "stand for no class of data set hpa2018 are left out, 2 labels, for example 2 Vesicles." in ended.out
        assert "Warning: without a class, because the row has no label, 1 sample" in ended.out
        assert "Warning: without a class, because all labels stand for none, 1 sample" in ended.out
        counts = json.loads(hpa(*words, *options, "--json").out)["label_counts"]
        assert (counts["n_empty"], counts["n_only_dropped"], counts["dropped"]) == (1, 1, {"Vesicles": 2})
    empty = write_table(tmp_path / "b.csv", {"sample-01": "", "sample-02": "NaN"})
    ended = hpa(*words[:-1], empty, "--part", "empty")
    assert "because the row has no label, 2 samples, for example sample-01. The part cannot be trained on." in ended.out
