"""Tables as Excel, R, pandas and Google Sheets write them."""

import gzip
from pathlib import Path

import pytest

from hpa_data.dataset import decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import read_columns, read_label_table

COMMA = "Id,Target\na,16 0\nb,25\n"
R_QUOTED = '"Id" "Target"\n"1" "a" "16 0"\n"2" "b" "25"\n'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(COMMA.encode(), id="comma"),
        pytest.param(COMMA.replace("\n", "\r\n").encode("utf-8-sig"), id="Excel's CSV UTF-8"),
        pytest.param(COMMA.replace("\n", "\r").encode(), id="carriage returns"),
        pytest.param(COMMA.replace(",", ";").encode(), id="semicolons"),
        pytest.param(COMMA.replace(",", "\t").encode("utf-16"), id="Excel's Unicode text"),
        pytest.param(b"\xfe\xff" + COMMA.encode("utf-16-be"), id="UTF-16, big endian"),
        pytest.param(COMMA.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(COMMA.encode("utf-16-be"), id="UTF-16 without a mark, big endian"),
        pytest.param(b"sep=;\r\n" + COMMA.replace(",", ";").encode(), id="sep=;"),
        pytest.param(b'\xef\xbb\xbf"sep=|"\n' + COMMA.replace(",", "|").encode(), id="sep=| in quotes"),
        pytest.param(COMMA.replace(",", "|").encode(), id="bars"),
        pytest.param((COMMA + ",\n,,\n,,\n").encode(), id="emptied rows"),
        pytest.param((COMMA + "\x1a").encode(), id="end mark of DOS"),
        pytest.param(b"Id,Target,,\na,16 0,,\nb,25\n", id="empty columns"),
        pytest.param(b"\n\n Id , TARGET \n a , 16 0 \n\nb,25", id="spaces"),
        pytest.param(b'Id, "Target"\na, "16 0"\nb, "25"\n', id="spaces before quotes"),
        pytest.param(b'"Id,Target"\n"a,16 0"\n"b,25"\n', id="whole lines in quotes"),
        pytest.param(b",Id,Target\n0,a,16 0\n1,b,25\n", id="index of pandas"),
        pytest.param(b'"","Id","Target"\n"1","a","16 0"\n"2","b","25"\n', id="write.csv of R"),
        pytest.param(R_QUOTED.encode(), id="write.table of R"),
        pytest.param(R_QUOTED.replace(" ", "\t").replace("16\t0", "16 0").encode(), id="write.table of R, tabs"),
        pytest.param(b"\xa0Id,Target,Caf\xe9\na,16 0,\xfcber\nb,25,\n".replace(b"\xa0", b""), id="Latin-1 elsewhere"),
        pytest.param(gzip.compress(COMMA.encode(), mtime=0), id="gzip"),
    ],
)
def test_a_table_of_any_program_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    table = read_label_table(path)
    assert table.ids == ("a", "b")
    assert decode_labels(table.labels) == ["0 16", "25"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Id,Target\na,1\nb\n", "line 3 has 1 columns, the header 2. Complete or remove the line"),
        (b"Id,Target\na,16,0\n", "line 2 has 3 columns, the header 2. Put the labels into one column"),
        (b"Id,Target\na;1\n", "Its header is separated by ',', and this line by ';': use one of them"),
        (b"Id,Target\n1,16,0\n2,5,0\n", "line 2 has 3 columns"),
        (
            b"Id,Target\n\xff\xfe,1\n",
            "CSV text in UTF-8 .*line 2 has b'.xff.xfe'.* Export it again; in Excel, save",
        ),
        (b"Id,Target," + b"x," * 600_000 + b"\n", "a line of more than 1000000 characters"),
        (b'Id,Target\n"' + b"a" * 200_000 + b'",1\n', "CSV text"),
        (b"Id,Target\na\0,1\n", "it is not text, for it holds bytes that are 0"),
        (gzip.compress(b"Id,Target\na,1\n" * 1000, mtime=0)[:-9], "no whole file of gzip"),
        (b"\x1f\x8b" + b"x" * 99, "no whole file of gzip"),
        (b"\xff\xfeI\0d\0,\0T", "CSV text"),
        (b"<!DOCTYPE html><html>", "a page of HTML or XML, perhaps the error page of a download"),
        (b'[{"Id": "a", "Target": "1"}]', "it is JSON. Save the table as CSV"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1",
            "a workbook of Excel 97, or one that is locked with a password. Save it as .xlsx or as CSV",
        ),
        (b"PK\x03\x04", "not a whole file"),
        (b"\x80\x04\x95", "a pickle, which is not read because it can run programs"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Run git lfs pull"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_label_table(path)
    assert "\n" not in str(caught.value)


def test_every_way_to_write_an_id_in_another_alphabet_gives_the_same_id(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le"):
        (tmp_path / "a.csv").write_bytes("Id,Predicted\nübung-試,1\n".encode(encoding))
        assert read_columns(tmp_path / "a.csv", ("Id", "Predicted")) == [("übung-試", "1")]
