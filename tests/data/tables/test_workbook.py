"""Workbooks of Excel, and Parquet files."""

import datetime
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet

from hpa_data.dataset import decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import read_label_table, workbook


def _write_sheets(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_is_read_whatever_its_name(tmp_path: Path) -> None:
    rows = [["Id", "Target", None], [], ["a", "16 0", None], ["b", 25, None], ["c", 3.0, None], ["d", None, None], [""]]
    table = read_label_table(_write_sheets(tmp_path / "train.xlsx", Sheet1=rows).rename(tmp_path / "train.csv"))
    assert table.ids == ("a", "b", "c", "d")
    assert decode_labels(table.labels) == ["0 16", "25", "3", ""]


def test_the_sheet_with_the_labels_is_found_among_others(tmp_path: Path) -> None:
    notes, labels = [["What", "When"], ["x", 1]], [["Id", "Target"], ["a", "1"]]
    path = _write_sheets(tmp_path / "a.xlsx", Notes=notes, Labels=labels, Empty=[])
    assert read_label_table(path).ids == ("a",)
    _write_sheets(path, One=labels, Two=labels)
    with pytest.raises(InputError, match="2 of its sheets may be the table: One, Two. Save the right one alone"):
        read_label_table(path)
    _write_sheets(path, One=[], Two=[])
    with pytest.raises(InputError, match="its sheets are empty"):
        read_label_table(path)


def test_what_excel_made_of_an_id_or_a_label_is_never_taken_for_a_class(tmp_path: Path) -> None:
    day = datetime.datetime(2018, 3, 5)
    with pytest.raises(InputError, match=r"Received: '2018-03-05T00:00:00' in row 1"):
        read_label_table(_write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], ["a", day]]))
    with pytest.raises(InputError, match=r"Received: '16.5' in row 1"):
        read_label_table(_write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], ["a", 16.5]]))
    table = read_label_table(_write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], [7, 1], [1e5, 1], [day, 1]]))
    assert table.ids == ("7", "100000", "2018-03-05T00:00:00")
    with pytest.raises(InputError, match="row 2 has 3 columns, the header 2"):
        read_label_table(_write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], ["a", 16, 0]]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.csv"], "it is a Zip archive. Unpack it"),
        (["mimetype", "content.xml"], "it is an OpenDocument file. Save it as .xlsx or as CSV"),
        (["Index/Document.iwa"], "it is a file of Apple Numbers"),
        (["xl/workbook.bin"], "it is a binary workbook of Excel"),
        (["xl/workbook.xml"], "the file is damaged"),
    ],
)
def test_another_archive_is_refused_with_its_kind(tmp_path: Path, names: list[str], message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        for name in names:
            archive.writestr(name, "Id,Target\na,1\n")
    with pytest.raises(InputError, match=message):
        read_label_table(tmp_path / "a.xlsx")


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = _write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], ["a", "1"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/bomb.xml", "w") as file:
        for _ in range(workbook.MAX_XML_BYTES // 2**24 + 1):
            file.write(bytes(2**24))
    assert path.stat().st_size < 2**20
    with pytest.raises(InputError, match="the workbook takes .* bytes, more than 536870912. Save it as CSV UTF-8"):
        read_label_table(path)


def test_a_row_with_a_number_that_no_sheet_has_is_refused(tmp_path: Path) -> None:
    path = _write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], ["a", "1"]])
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    assert b'<row r="2"' in contents[sheet]
    contents[sheet] = contents[sheet].replace(b'<row r="2"', b'<row r="400000000"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="its sheet has more than 1048576 rows. Save it as CSV UTF-8"):
        read_label_table(path)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["16 0", "25", None], ["0 16", "25", ""]),
        ([16, 25, 3], ["16", "25", "3"]),
        ([16.0, 25.0, None], ["16", "25", ""]),
        ([["Nucleoli", "Cytosol"], [], ["Nucleus"]], ["2 25", "", "0"]),
        (pa.array(["16 0", "25", "25"]).dictionary_encode(), ["0 16", "25", "25"]),
    ],
)
def test_a_parquet_file_is_read(tmp_path: Path, targets: Any, expected: list[str]) -> None:
    columns = {"image": [b"png", None, b""], "Id": ["a", "b", "c"], "Target": targets}
    parquet.write_table(pa.table(columns), tmp_path / "train.parquet")
    table = read_label_table(tmp_path / "train.parquet")
    assert table.ids == ("a", "b", "c")
    assert decode_labels(table.labels) == expected


def test_ids_may_be_the_index_of_a_data_frame(tmp_path: Path) -> None:
    table = pa.table({"Target": ["Nucleoli", "Cytosol"], "__index_level_0__": ["a", "b"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_label_table(tmp_path / "a.parquet").ids == ("a", "b")


def test_damaged_files_end_in_one_line(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"Id": ["a"] * 99, "Target": ["1"] * 99}), tmp_path / "whole.parquet")
    _write_sheets(tmp_path / "whole.xlsx", S=[["Id", "Target"], ["a", "1"]])
    for path in (tmp_path / "whole.parquet", tmp_path / "whole.xlsx"):
        content = path.read_bytes()
        for place in range(4, len(content), max(1, len(content) // 60)):
            (tmp_path / "damaged").write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
            try:
                read_label_table(tmp_path / "damaged")
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - damage may also change nothing that is read


def test_without_the_library_the_extra_is_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"Id": ["a"], "Target": ["1"]}), tmp_path / "a.parquet")
    _write_sheets(tmp_path / "a.xlsx", S=[["Id", "Target"], ["a", "1"]])
    script = """
import json, pathlib, sys
sys.modules["openpyxl"] = sys.modules["pyarrow"] = sys.modules["pyarrow.parquet"] = None
from hpa_data.tables import read_label_table
told = []
for name in sys.argv[1:]:
    try:
        read_label_table(pathlib.Path(name))
    except ValueError as error:
        told.append(str(error))
print(json.dumps(told))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.xlsx"), str(tmp_path / "a.parquet")]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout)
    assert len(told) == 2
    for line, package in zip(told, ("openpyxl", "pyarrow"), strict=True):
        assert f"{package} is not installed. Run: pip install '.[tables]', or save the table as CSV." in line
