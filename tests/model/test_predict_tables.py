"""What a prediction writes and tells: probabilities, names, failures with their reasons, files that no sample has."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from hpa_data.dataset import HPA_2018, HPA_2021
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.predict.submission import check_submission, write_submission
from hpa_model.predict.tables import check_probs_path, write_probs
from tests.builders import Hpa, assert_refused, convert


@pytest.fixture
def incomplete(kaggle: Path, tmp_path: Path) -> Path:
    """Hold three samples, one without a red plane and one whose green plane is damaged, and two other files."""
    shutil.copytree(kaggle / "test", tmp_path / "test")
    (tmp_path / "test" / "new-0_red.png").unlink()
    (tmp_path / "test" / "new-1_green.png").write_bytes(b"")
    (tmp_path / "test" / "notes.txt").touch()
    (tmp_path / "test" / "new-2_purple.png").touch()
    return tmp_path / "test"


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_probabilities_are_the_same_in_every_format(run: Path, incomplete: Path, tmp_path: Path, hpa: Hpa) -> None:
    words = ("predict", run, incomplete, "--out", tmp_path / "a.csv", "--probs")
    assert {hpa(*words, tmp_path / name).status for name in ("p.csv", "p.parquet", "p.npz")} == {1}
    with np.load(tmp_path / "p.npz") as file:
        arrays = dict(file)
    assert arrays["id"].tolist() == ["new-0", "new-1", "new-2"]
    assert arrays["classes"].tolist() == list(HPA_2018.classes)
    assert np.isnan(arrays["probs"]).all(axis=1).tolist() == [True, True, False]
    rows = read_table(tmp_path / "p.csv")
    assert list(rows[0]) == ["id", *HPA_2018.classes]
    assert set(rows[0].values()) == {"new-0", ""}
    assert (np.array(list(rows[2].values())[1:], np.float32) == arrays["probs"][2]).all()
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["id", *HPA_2018.classes]
    assert table["Nucleoplasm"].to_pylist() == [None, None, arrays["probs"][2, 0]]


@pytest.mark.parametrize("name", ["probs", "probs.xlsx", ""])
def test_probabilities_need_a_known_format_before_anything_is_predicted(
    run: Path, store: Store, tmp_path: Path, hpa: Hpa, name: str
) -> None:
    words = ("predict", run, store.path, "--out", tmp_path / "a.csv", "--probs", tmp_path / name)
    assert_refused(hpa(*words), "probs must be a file that ends in .csv, .parquet, .npz. Received: ")
    assert not (tmp_path / "a.csv").exists()


def test_a_class_with_the_name_of_the_column_of_ids_needs_a_format_without_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a class is called 'id'"):
        check_probs_path(tmp_path / "a.csv", ["id", "other"])
    write_probs(tmp_path / "a.npz", ["a"], {}, ["id", "other"])


def test_names_of_classes_stand_beside_their_numbers(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    assert hpa("predict", run, store.path, "--out", tmp_path / "a.csv", "--names").status == 0
    for row in read_table(tmp_path / "a.csv"):
        assert row["Names"].split(";") == [HPA_2018.classes[int(k)] for k in row["Predicted"].split()]


def test_numbers_are_written_as_the_data_set_does_and_names_where_it_has_none(tmp_path: Path) -> None:
    row = np.zeros(19, np.uint8)
    row[[0, 16]] = 1
    unnumbered = dataclasses.replace(HPA_2021, numbering=None)
    for dataset, expected in ((HPA_2021, "0|16"), (unnumbered, "Nucleoplasm;Cytosol")):
        write_submission(tmp_path / "a.csv", ["a", "b"], {"a": row}, dataset)
        assert (tmp_path / "a.csv").read_text() == f"Id,Predicted\na,{expected}\nb,\n"
        check_submission(tmp_path / "a.csv", ["a", "b"], dataset)


def test_failures_are_listed_with_file_and_reason(run: Path, incomplete: Path, tmp_path: Path, hpa: Hpa) -> None:
    words = ("predict", run, incomplete, "--out", tmp_path / "a.csv")
    ended = hpa(*words)
    assert ended.status == 1
    assert "Failed, row left empty: new-0: Cannot read sample 'new-0': there is no file for red beside" in ended.out
    assert "Failed, row left empty: new-1: Cannot decode new-1_green.png: " in ended.out
    assert "Rows left empty: 2 of 3" in ended.out
    assert [row["Predicted"] != "" for row in read_table(tmp_path / "a.csv")] == [False, False, True]
    from_files = json.loads(hpa(*words, "--json").out)["failures"]
    convert(incomplete, tmp_path / "a.zarr", part="test")
    from_store = json.loads(hpa("predict", run, tmp_path / "a.zarr", "--out", tmp_path / "a.csv", "--json").out)
    assert [(each["id"], each["file"], each["reason"]) for each in from_files] == [
        (each["id"], each["file"], each["reason"]) for each in from_store["failures"]
    ]


def test_files_that_no_sample_has_are_counted_and_strict_refuses_them(
    run: Path, incomplete: Path, tmp_path: Path, hpa: Hpa
) -> None:
    words = ("predict", run, incomplete, "--out", tmp_path / "a.csv")
    out = hpa(*words).out
    assert "Warning: files are passed over, " in out
    assert "for example notes.txt" in out
    assert "for example new-2_purple.png" in out
    (tmp_path / "a.csv").unlink()
    assert_refused(hpa(*words, "--strict"), f"Cannot use {incomplete} with --strict: files are passed over, ")
    assert not (tmp_path / "a.csv").exists()


def test_filled_channels_are_told_of_files_and_of_stores(run: Path, incomplete: Path, tmp_path: Path, hpa: Hpa) -> None:
    from hpa_data.sources.options import ImportOptions

    convert(incomplete, tmp_path / "a.zarr", part="test", settings=ImportOptions(missing="fill"))
    line = "Warning: channels are missing and filled with zeros (red in 1), 1 sample, for example new-0."
    for words in ((incomplete, "--missing", "fill"), (tmp_path / "a.zarr",)):
        ended = hpa("predict", run, *words, "--out", tmp_path / "a.csv")
        assert ended.status == 1  # for the other sample
        assert line in ended.out


def test_samples_that_are_left_out_on_demand_are_counted(run: Path, incomplete: Path, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("predict", run, incomplete, "--missing", "skip", "--out", tmp_path / "a.csv")
    assert "Left out, a channel is missing: 1 samples" in ended.out
    assert [row["Id"] for row in read_table(tmp_path / "a.csv")] == ["new-1", "new-2"]
