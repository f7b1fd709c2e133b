"""Label tables: class numbers of another set, Excel's and R's habits, near misses of ids, partial data."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Ended, Hpa, assert_refused
from tests.field.pictures import read_part, write_labels, write_planes

Convert = Callable[..., Ended]
HEAD = ("Id", "Target")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples, a and b; not to be changed."""
    folder = tmp_path_factory.mktemp("images")
    write_planes(folder)
    return folder


@pytest.fixture
def convert_table(images: Path, tmp_path: Path, hpa: Hpa) -> Convert:
    def convert(*options: str) -> Ended:
        return hpa("convert", images, tmp_path / "s", "--labels", tmp_path / "t.csv", "--codec", "raw", *options)

    return convert


@pytest.mark.parametrize(
    "options",
    [
        {"end": "\r\n", "encoding": "utf-8-sig"},
        {"separator": ";"},
        {"separator": "\t"},
        {"encoding": "utf-16"},
        {"separator": ";", "end": "\r\n", "encoding": "utf-8-sig"},
        {"end": "\r"},
    ],
)
def test_tables_of_excel_are_read(convert_table: Convert, tmp_path: Path, options: dict[str, str]) -> None:
    write_labels(tmp_path / "t.csv", **options)
    ended = convert_table()
    assert ended.status == 0, ended.err
    assert read_part(tmp_path / "s")[2] == ["0 16", "25"]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nId;Target\na;16 0\nb;25\n",
        "Id,Target\na,16.0 0.0\nb,25.0\n",
        "Id,Target\na,16 0\nb,25\n,\n,\n",
        '"","Id","Target"\n"1","a","16 0"\n"2","b","25"\n',
        "Id,Target\na,\"['Cytokinetic bridge', 'Nucleoplasm']\"\nb,['Cytosol']\n",
        "Id,Nucleoplasm,Cytokinetic bridge,Cytosol\na,1,1,0\nb,0,0,1\n",
        "Id,Nucleoplasm,Cytokinetic bridge,Cytosol\na,TRUE,TRUE,FALSE\nb,FALSE,FALSE,TRUE\n",
    ],
)
def test_other_ways_to_write_labels_are_read(convert_table: Convert, tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    ended = convert_table()
    assert ended.status == 0, ended.err
    assert read_part(tmp_path / "s")[2] == ["0 16", "25"]


def test_lists_of_numbers_are_read_where_their_data_set_is_named(convert_table: Convert, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('Id,Target\na,"[16, 0]"\nb,[25]\n')
    assert_refused(convert_table(), "--dataset hpa2018")
    assert convert_table("--dataset", "hpa2018").status == 0
    assert read_part(tmp_path / "s")[2] == ["0 16", "25"]


@pytest.mark.parametrize("extension", ["xlsx", "parquet", "tsv"])
def test_tables_of_other_formats_are_read(images: Path, tmp_path: Path, hpa: Hpa, extension: str) -> None:
    path = tmp_path / f"t.{extension}"
    rows = [("a", "16 0"), ("b", "25")]
    if extension == "xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in (HEAD, *rows):
            book.active.append(row)
        book.save(path)
    elif extension == "parquet":
        columns = pytest.importorskip("pyarrow").table({"Id": ["a", "b"], "Target": ["16 0", "25"]})
        pytest.importorskip("pyarrow.parquet").write_table(columns, path)
    else:
        write_labels(path, HEAD, *rows, separator="\t")
    ended = hpa("convert", images, tmp_path / "s", "--labels", path)
    assert ended.status == 0, ended.err
    assert read_part(tmp_path / "s")[2] == ["0 16", "25"]


def test_rows_repeated_by_oversampling_are_refused_with_what_repeats_samples_here(
    convert_table: Convert, tmp_path: Path
) -> None:
    write_labels(tmp_path / "t.csv", HEAD, ("a", "16 0"), ("b", "25"), ("b", "25"))
    assert_refused(convert_table(), "hpa augment")


@pytest.mark.parametrize(
    "rows",
    [
        (("ID", "Label"), ("a", "8|5|0"), ("b", "14|16|16")),
        (("ID", "Label"), ("a", "8"), ("b", "14")),
        (("Id", "Target"), ("a", "8|5|0"), ("b", "14|16")),
        (("image", "label"), ("a", "8 5 0"), ("b", "14")),
    ],
)
def test_numbers_of_an_uncertain_scheme_are_refused(
    convert_table: Convert, tmp_path: Path, rows: tuple[tuple[str, str], ...]
) -> None:
    write_labels(tmp_path / "t.csv", *rows)
    ended = convert_table()
    assert ended.status == 2
    assert "hpa2021" in ended.err or "column" in ended.err
    assert not (tmp_path / "s").exists()


def test_the_table_of_2021_is_read_by_its_own_numbers_or_translated(
    images: Path, convert_table: Convert, tmp_path: Path, hpa: Hpa
) -> None:
    table = write_labels(tmp_path / "t.csv", ("ID", "Label"), ("a", "8|5|0"), ("b", "14|16|16"))
    assert convert_table("--dataset", "hpa2021").status == 0
    assert read_part(tmp_path / "s")[2] == ["0 5 8", "14 16"]
    words = ("--labels", table, "--numbering", "hpa2021")
    ended = hpa("convert", images, tmp_path / "u", *words)
    assert ended.status == 0, ended.err
    assert read_part(tmp_path / "u")[2] == ["0 5 11", "23 25"]


def test_labels_that_stand_for_no_class_are_counted(images: Path, tmp_path: Path, hpa: Hpa) -> None:
    table = write_labels(tmp_path / "t.csv", HEAD, ("a", "Vesicles"), ("b", "Cytosol;Vesicles"))
    for options in (["--dry-run"], []):
        ended = hpa("convert", images, tmp_path / "s", "--labels", table, *options)
        assert ended.status == 0, ended.err
        assert "Vesicles" in ended.out
        assert "1 " in ended.out
    assert read_part(tmp_path / "s")[2] == ["", "25"]
    assert hpa("convert", images, tmp_path / "t", "--labels", table, "--strict").status == 2


def test_a_class_that_is_misspelled_is_refused_with_the_nearest(convert_table: Convert, tmp_path: Path) -> None:
    write_labels(tmp_path / "t.csv", HEAD, ("a", "Cytosoll"), ("b", "Nucleoplasm"))
    assert_refused(convert_table(), "Cytosol")


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [(("A", "B"), "'a'"), (("a.png", "b.png"), "'a'"), (("x/a", "x/b"), "'a'")],
)
def test_ids_that_miss_narrowly_are_shown_with_the_nearest_and_matched_where_asked(
    images: Path, tmp_path: Path, hpa: Hpa, wanted: tuple[str, str], nearest: str
) -> None:
    table = write_labels(tmp_path / "t.csv", HEAD, (wanted[0], "16 0"), (wanted[1], "25"))
    words = ("convert", images, tmp_path / "s", "--labels", table)
    ended = hpa(*words)
    assert_refused(ended, nearest)
    assert "--id-match" in ended.err
    ended = hpa(*words, "--id-match", "loose")
    assert ended.status == 0, ended.err
    assert (read_part(tmp_path / "s")[0], read_part(tmp_path / "s")[2]) == (["a", "b"], ["0 16", "25"])


def test_a_table_larger_than_the_download_can_be_used_when_asked(images: Path, tmp_path: Path, hpa: Hpa) -> None:
    rows = [("a", "16 0"), ("x", "1"), ("b", "25"), ("y", "1"), ("z", "3")]
    table = write_labels(tmp_path / "t.csv", HEAD, *rows)
    words = ("convert", images, tmp_path / "s", "--labels", table)
    ended = hpa(*words)
    assert_refused(ended, "--allow-missing-files")
    assert "no files for 'x' and 2 more ids" in ended.err
    ended = hpa(*words, "--allow-missing-files", "--json")
    assert ended.status == 0, ended.err
    assert all(f'"{name}"' in ended.out for name in "xyz")
    assert json.loads(ended.out)["n_samples"] == 2
    assert read_part(tmp_path / "s")[2] == ["0 16", "25"]
