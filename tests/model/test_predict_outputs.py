"""What a prediction could not write is refused before the first image is read, and nothing is left behind."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT
from hpa_model.predict import predict_submission
from hpa_model.predict.submission import check_ids
from tests.builders import convert, draw_image, write_sample, write_table


def refuse(run: Path, source: Path, out: Path, message: str, **options: object) -> None:
    """Check that a prediction is refused before it starts."""
    started: list[int] = []
    with pytest.raises(InputError, match=message):
        predict_submission(run, source, out, progress=replace(SILENT, start=started.append), **options)  # type: ignore[arg-type]
    assert started == []


@pytest.mark.parametrize(
    ("out", "probs", "message"),
    [
        (".", None, "out must be a file. Received: .*, a folder. Pass .*submission.csv"),
        ("file/a.csv", None, "file is not a folder. Pass another path."),
        ("a.csv", "file/a.npz", "file is not a folder. Pass another path."),
        ("a.csv", "folder.npz", "probs must be a file. Received: .*folder.npz, a folder. Pass .*probs.csv."),
        ("a.csv", "a.csv", "probs must not be the file of out."),
        ("file", None, "out must not be the file of sample-submission."),
    ],
)
def test_an_output_that_cannot_be_written_is_known_before(
    run: Path, store: Store, tmp_path: Path, out: str, *, probs: str | None, message: str
) -> None:
    (tmp_path / "file").write_text("Id,Predicted\nnew-0,0\n")
    (tmp_path / "folder.npz").mkdir()
    before = sorted(os.listdir(tmp_path))
    options = {"probs": None if probs is None else tmp_path / probs, "sample_submission": tmp_path / "file"}
    refuse(run, store.path, tmp_path / out, message, **options)
    assert sorted(os.listdir(tmp_path)) == before


def test_an_archive_is_not_replaced_by_its_predictions(run: Path, tmp_path: Path) -> None:
    (tmp_path / "test.zip").write_bytes(b"PK\5\6" + bytes(18))
    refuse(run, tmp_path / "test.zip", tmp_path / "test.zip", "out must not be the file of SOURCE.")


def test_ids_that_a_table_does_not_give_back_are_known_before(run: Path, kaggle: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "test", " new-0", draw_image(100))
    convert(tmp_path / "test", tmp_path / "a.zarr", part="test")
    refuse(run, tmp_path / "a.zarr", tmp_path / "a.csv", "the id ' new-0' begins or ends with a blank")
    table = write_table(tmp_path / "sample.csv", {"new-0": "0"}, target="Predicted")
    refuse(run, tmp_path / "a.zarr", tmp_path / "a.csv", "lists 'new-0'", sample_submission=table)
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("a ", "begins or ends with a blank"),
        ("\xa0a", "begins or ends with a blank"),
        ("a\udcff", "is not text in UTF-8"),
        ("a\0b", "is not text in UTF-8"),
    ],
)
def test_an_id_that_no_csv_file_can_hold_is_named(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^Cannot predict a.zarr: the id '.*' {reason}"):
        check_ids(["a", "b c", 'd"e,', "µ", name], "a.zarr")
