from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import first_duplicate, read_columns, read_label_table, write_table


def test_the_names_of_columns_may_differ(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID,Other,Label\na,x,Nucleus\n")
    assert decode_labels(read_label_table(tmp_path / "a.csv").labels) == ["0"]


@pytest.mark.realdata
def test_the_real_table_of_hpav18_is_read(real_data: Path) -> None:
    table = read_label_table(real_data / "labels" / "HPAv18RBGY_wodpl.csv")
    assert len(table.ids) == 74_606
    assert len({name.partition("_")[0] for name in table.ids}) == 12_815


def test_a_table_keeps_the_order_of_its_file(kaggle: Path) -> None:
    table = read_label_table(kaggle / "train.csv")
    assert table.ids[0] == "sample-11"
    assert table.ids[-1] == "sample-00"
    assert decode_labels(table.labels)[:4] == ["0 3", "1 3", "2 3", "0 3"]


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes('\ufeffName,Target,Id\r\n"a, b",3 1,one\r\n\r\nc,,two\r\n'.encode())
    table = read_label_table(path)
    assert table.ids == ("one", "two")
    assert decode_labels(table.labels) == ["1 3", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column Id"),
        (b"Name,Target\na,1\n", "its header 'Name,Target' has no column Id"),
        (b"Id,Target\na,1\nb\n", "line 3 has 1 columns, the header 2"),
        (b"Id,Target\na,16,0\n", "line 2 has 3 columns, the header 2"),
        (b"Id,Target,Target\na,16,0\n", "its header has 2 columns Target or Label"),
        (b"Id,Target\na,1\na,2\n", "id 'a' occurs twice"),
        (b"Id,Target\na,28\n", "Received: '28' in row 1"),
        (b"Id,Target\n\xff\xfe,1\n", "CSV text in UTF-8"),
        (b"Id,Target," + b"x," * 600_000 + b"\n", "a line of more than 1000000 characters"),
        (b'Id,Target\n"' + b"a" * 200_000 + b'",1\n', "CSV text"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_label_table(path)


@pytest.mark.realdata
def test_the_real_table_has_the_known_counts(real_data: Path) -> None:
    table = read_label_table(real_data / "labels" / "train.csv")
    assert table.labels.shape == (31_072, 28)
    assert table.labels.sum(axis=0).max() == 12_885
    assert table.labels.sum(axis=0).min() == 11
    assert np.bincount(table.labels.sum(axis=1)).tolist() == [0, 15126, 12485, 3160, 299, 2]


def test_a_table_that_was_written_is_read_back(tmp_path: Path) -> None:
    rows = [("a", "1 2"), ("b, c", ""), ('d "e"', "ü")]
    write_table(tmp_path / "new" / "t.csv", ("Id", "Target"), rows)
    assert read_columns(tmp_path / "new" / "t.csv", ("Id", "Target")) == rows


def test_a_failed_write_leaves_the_previous_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_table(path, ("a",), [(1,)])

    def rows() -> Iterator[tuple[int]]:
        yield (2,)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_table(path, ("a",), rows())
    assert path.read_text() == "a\n1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_id_that_repeats_is_found() -> None:
    assert first_duplicate(["a", "b", "b", "a"]) == "b"
    assert first_duplicate(["a", "b"]) is None
