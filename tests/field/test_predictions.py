"""Predictions by the settings of the run, and the same ids in two parts."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hpa_data.store.store import open_store
from tests.builders import Hpa
from tests.field.pictures import as_bits, write_labels, write_planes

SMALL = ("--image-size", "80", "--epochs", "1", "--batch-size", "4", "--folds", "2")
LABELS = ("16 0", "25", "0 2")


def _read_rows(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["Id"]: row["Predicted"] for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_folder_is_predicted_by_the_settings_that_the_run_was_trained_with(tmp_path: Path, hpa: Hpa) -> None:
    samples = "abcdefgh"
    write_planes(tmp_path / "train", samples, "{id}_{channel}.tif", as_bits(12))
    write_planes(tmp_path / "test", "mnop", "{id}_{channel}.tif", as_bits(12))
    rows = [(sample, LABELS[number % 3]) for number, sample in enumerate(samples)]
    table = write_labels(tmp_path / "t.csv", ("Id", "Target"), *rows)
    store, scaling = tmp_path / "s.zarr", ("--intensity", "percentile")
    assert hpa("convert", tmp_path / "train", store, "--labels", table, *scaling).status == 0
    assert hpa("convert", tmp_path / "test", store, "--part", "test", *scaling).status == 0
    ended = hpa("train", store, "--out", tmp_path / "run", *SMALL)
    assert ended.status == 0, ended.err
    files = {}
    for name, source in (("folder", tmp_path / "test"), ("store", store)):
        words = ("--out", tmp_path / f"{name}.csv", "--probs", tmp_path / f"{name}.npz")
        ended = hpa("predict", tmp_path / "run", source, *words)
        assert ended.status == 0, ended.err
        files[name] = np.load(tmp_path / f"{name}.npz")
    assert _read_rows(tmp_path / "folder.csv") == _read_rows(tmp_path / "store.csv")
    names = [key for key in files["store"].files if files["store"][key].dtype.kind == "f"]
    assert names
    for key in names:
        assert np.array_equal(files["folder"][key], files["store"][key])


@pytest.mark.slow  # tests/model/training/test_data.py has a quicker one
def test_the_same_ids_in_two_parts_are_trained_and_scored_or_refused_at_once(tmp_path: Path, hpa: Hpa) -> None:
    samples = "abcdefgh"
    write_planes(tmp_path / "train", samples)
    rows = [(sample, LABELS[number % 2]) for number, sample in enumerate(samples)]
    table = write_labels(tmp_path / "t.csv", ("Id", "Target"), *rows)
    store = tmp_path / "s.zarr"
    assert hpa("convert", tmp_path / "train", store, "--labels", table).status == 0
    assert hpa("convert", tmp_path / "train", store, "--labels", table, "--part", "full").status == 0
    ended = hpa("train", store, "--part", "train", "--part", "full", "--out", tmp_path / "run", *SMALL)
    if ended.status == 2:
        assert not (tmp_path / "run").exists()
        return
    assert ended.status == 0, ended.err
    assert hpa("evaluate", tmp_path / "run").status == 0
    with open_store(store).reader(["train", "full"]) as reader:
        assert len(reader) == 2 * len(samples)
