"""`hpa convert`: what it prints, its exit status, and what it refuses."""

import json
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused, write_table


def test_a_conversion_is_described_and_printed_as_json(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", kaggle / "train.csv")
    ended = hpa(*words)
    assert ended.status == 0, ended.err
    assert "part train: 12 of 12 samples ok" in ended.out
    report = json.loads(hpa(*words, "--overwrite", "--json").out)
    assert (report["n_samples"], report["n_ok"], report["failures"]) == (12, 12, [])


def test_the_former_name_of_an_option_still_works(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("convert", kaggle / "test", tmp_path / "a.zarr", "--source=kaggle")
    assert ended.status == 0, ended.err


def test_a_dry_run_estimates_and_writes_nothing(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("convert", kaggle / "train", tmp_path / "a.zarr", "--dry-run")
    assert ended.status == 0, ended.err
    assert "part train: 12 samples, 12 still to convert" in ended.out
    assert "12 PNG" in ended.out
    assert not (tmp_path / "a.zarr").exists()


def test_a_failed_sample_makes_the_status_1(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    source = tmp_path / "test"
    source.mkdir()
    for path in (kaggle / "test").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "new-2_green.png").write_bytes(b"?")
    ended = hpa("convert", source, tmp_path / "a.zarr")
    assert ended.status == 1
    assert "2 of 3 samples ok" in ended.out
    assert "Failed: new-2: " in ended.out
    assert f"Failed: 1 samples, all listed in {tmp_path / 'a.zarr' / 'failures.csv'}" in ended.out


def test_samples_that_are_left_out_are_counted(kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    table = write_table(tmp_path / "some.csv", {f"sample-{i:02}": "1" for i in range(10)})
    ended = hpa("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", table)
    assert ended.status == 0, ended.err
    assert "Left out, samples without a row in the label table: 2, for example sample-10" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{kaggle}/nowhere new.zarr", "must be a folder of images"),
        ("{empty} new.zarr", "must hold files named"),
        ("{kaggle}/train new.zarr --labels {no_id}", "has no column Id"),
        ("{kaggle}/train new.zarr --labels {class_28}", "from 0 to 27. Received: '28' in row 1"),
        ("{kaggle}/train new.zarr --labels {ghost}", "it has no files for 'ghost'"),
        ("{kaggle}/train new.zarr --labels {kaggle}/nowhere.csv", "there is no such file"),
        (
            "{kaggle}/train {store} --labels {kaggle}/train.csv --codec raw",
            "it was created with codec='lz4hc', and this command has codec='raw'",
        ),
        ("{kaggle}/train new.zarr --workers 2 --scheduler tcp://x:1", "Pass --workers or --scheduler"),
        ("{kaggle}/train new.zarr --scheduler nonsense", "scheduler must be the address of a Dask cluster"),
        ("{kaggle}/train new.zarr --part a/b", "part must be up to 50 letters"),
        ("{kaggle}/test {no_id}/a.zarr", "Error: Cannot read or write "),
    ],
)
def test_what_cannot_be_converted_gets_one_line_and_status_2(  # noqa: PLR0917 - fixtures
    words: str, message: str, kaggle: Path, store: Store, tmp_path: Path, hpa: Hpa, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {
        "kaggle": kaggle,
        "store": store.path,
        "empty": tmp_path / "empty",
        "no_id": tmp_path / "no_id.csv",
        "class_28": write_table(tmp_path / "28.csv", {"sample-01": "28"}),
        "ghost": write_table(tmp_path / "ghost.csv", {"ghost": "1"}),
    }
    paths["empty"].mkdir()
    paths["no_id"].write_text("Name,Target\na,1\n")
    monkeypatch.chdir(tmp_path)
    assert_refused(hpa("convert", *words.format(**paths).split()), message)
    assert not Path("new.zarr").exists()
