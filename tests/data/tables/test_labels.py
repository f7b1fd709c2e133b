"""What the cells of a label table say, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpa_data.dataset import HPA_2018, HPA_2021, Dataset, decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import LabelTable, TableOptions, count_labels, read_label_table

GIVEN = TableOptions(dataset_given=True)
MINE = replace(HPA_2018, name="mine", classes=("Round", "Flat", "Golgi, trans", "12"), synonyms={}, numbering=None)


def read(folder: Path, text: str, dataset: Dataset = HPA_2018, options: TableOptions | None = None) -> LabelTable:
    (folder / "train.csv").write_text(text)
    return read_label_table(folder / "train.csv", dataset, options)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("16 0", "0 16"),
        ("16.0 0.0", "0 16"),
        ("[16, 0]", "0 16"),
        ("[16 0]", "0 16"),
        ("(16, 0)", "0 16"),
        ("{16,0}", "0 16"),
        ("array([16,  0])", "0 16"),
        ("c(16, 0)", "0 16"),
        ("16;0", "0 16"),
        ("16|0|", "0 16"),
        ("['16', '0']", "0 16"),
        ("['Nucleoli', 'Golgi apparatus']", "2 7"),
        ("['Nucleoli' 'Golgi apparatus']", "2 7"),
        ('{"Nucleoli"}', "2"),
        ("Nucleoli;  golgi   APPARATUS", "2 7"),
        ("Nucleoli Cytosol", "2 25"),
        ("Nucleoli\nCytosol", "2 25"),
        ("Rods & rings", "27"),
        ("[]", ""),
        ("set()", ""),
        ("NaN", ""),
        ("NA", ""),
        ("<NA>", ""),
        ("None", ""),
        ("null", ""),
        ("[nan]", ""),
        ("", ""),
    ],
)
def test_a_cell_of_labels_is_read_as_any_program_writes_it(tmp_path: Path, cell: str, expected: str) -> None:
    quoted = cell.replace('"', '""')
    table = read(tmp_path, f'Id,Target\na,"{quoted}"\n', options=GIVEN)
    assert decode_labels(table.labels) == [expected]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("28", "from 0 to 27. Received: '28' in row 2"),
        ("-1", "Received: '-1' in row 2"),
        ("16.5", "Received: '16.5' in row 2"),
        ("³", "Received: '³' in row 2"),
        ("9" * 5000, "Received: '9999"),
        (
            "Nuclear membrane / Cytosol",
            "Received: 'Nuclear membrane / Cytosol' in row 2 .* Separate names by semicolons",
        ),
        ("0 0 1", "row 3 has a vector of 3 zeros and ones"),
        ("alive", "Received: 'alive' in row 2 .* Correct or remove the row, or pass --dataset"),
        ("Nucleolii", "Received: 'Nucleolii' in row 2 .* The nearest name is 'Nucleoli': correct the row"),
        ("Vesicles and punctate cytosolic patterns", "It is a class of hpa2021: pass --dataset hpa2021, or correct"),
        ("2018-03-05", "Received: '2018-03-05' in row 2"),
        ("[0, 0, 1, 0]", "row 3 has a vector of 4 zeros and ones, not numbers of classes"),
        (" ".join("0" * 27 + "1"), "row 3 has a vector of 28 zeros and ones"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_its_row(tmp_path: Path, cell: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, f'Id,Target\na,0\nb,"{cell}"\n', options=GIVEN)


def test_a_decimal_comma_is_not_taken_for_two_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="each of its labels is such as '16,0', which may be two numbers or one with a dec"
    ):
        read(tmp_path, "Id;Target\na;16,0\nb;5,0\n", options=GIVEN)
    assert decode_labels(read(tmp_path, "Id;Target\na;16,0\nb;5,1\n", options=GIVEN).labels) == ["0 16", "1 5"]


def test_a_class_whose_name_is_a_number_or_holds_a_comma_is_known_by_its_name(tmp_path: Path) -> None:
    text = "Id,Target\na,12\nb,\"Golgi, trans\"\nc,\"['Golgi, trans', 'Flat']\"\nd,Round;12\n"
    assert decode_labels(read(tmp_path, text, MINE).labels) == ["3", "2", "1 2", "0 3"]


def test_numbers_that_are_names_of_classes_are_never_taken_for_their_places(tmp_path: Path) -> None:
    for cell in ("2", "012", "13"):
        with pytest.raises(InputError, match="A label must be a class name of mine. Received: .* in row 2"):
            read(tmp_path, f"image,labels\na,12\nb,{cell}\n", MINE, GIVEN)


def test_columns_are_found_by_other_names_and_by_options(tmp_path: Path) -> None:
    assert read(tmp_path, "Image,Label,Label_idx\na,Nucleoli,2\n").ids == ("a",)
    assert read(tmp_path, ",Target\na,Nucleoli\n").ids == ("a",)
    text = "name,site,filename\nx,Nucleoli,a\n"
    table = read(tmp_path, text, options=TableOptions(label_column="Site"))
    assert (table.ids, decode_labels(table.labels)) == (("a",), ["2"])
    assert read(tmp_path, text, options=TableOptions(id_column="name", label_column="site")).ids == ("x",)
    for options, message in (
        (None, "has no column Target or Label. Pass --label-column NAME, or rename the column"),
        (
            TableOptions(label_column="sites"),
            "--label-column must name one column of .* Received: 'sites', and the header",
        ),
    ):
        with pytest.raises(InputError, match=message):
            read(tmp_path, text, options=options)
    with pytest.raises(InputError, match="its header has 2 columns Id: image, file. Pass --id-column NAME"):
        read(tmp_path, "image,file,label\na,b,Nucleoli\n")
    with pytest.raises(InputError, match="has no column Id. Pass --id-column NAME"):
        read(tmp_path, ",Target\n0,Nucleoli\n1,Cytosol\n")


@pytest.mark.parametrize("flags", [("1", "0", ""), ("True", "False", "nan"), ("1.0", "0.0", "0")])
def test_a_column_for_each_class_is_read(tmp_path: Path, flags: tuple[str, str, str]) -> None:
    yes, no, empty = flags
    text = f"Id,Well,Nucleoli,cytosol,Nucleus,Vesicles\na,1,{yes},{no},{yes},{no}\nb,1,{no},{empty},{no},{yes}\n"
    table = read(tmp_path, text)
    assert decode_labels(table.labels) == ["0 2", ""]
    assert table.dropped == {1: ("Vesicles",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Id,Nucleoli\na,1\n", "has no column Target or Label"),
        ("Id,Nucleoli,Cytosol\na,0.7,0.3\n", "row 2 has '0.7' in the column of class 'Nucleoli', not 0 or 1"),
        (
            "Id,Nucleoli,Cytosol,Nuclear membrain\na,1,0,0\n",
            "is nearly that of the class 'Nuclear membrane'. Rename",
        ),
        (
            "Id,Nucleoli,Cytosol,Vesicles and punctate cytosolic patterns\na,1,0,0\n",
            "is a class of hpa2021, and none of hpa2018. Pass --dataset hpa2021, or remove the column",
        ),
    ],
)
def test_columns_of_classes_that_are_not_certain_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a,1\nb,2\nb,2\na,1\n",
            "id 'b' occurs twice, in lines 3 and 4, and 1 more rows repeat an id, with",
        ),
        ("a,1\nb,2\nb,2\n", "Keep each id once: the copies of samples of rare classes are made by `hpa augment`"),
        ("a,2 1\na,1 2\n", "with the same labels"),
        (
            "a,1\na,2\n",
            "lines 2 and 3; id 'a' has different labels: '1' and '2'. Keep the right",
        ),
        (",1\n", "row 2 has no id"),
    ],
)
def test_ids_that_repeat_or_lack_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, "Id,Target\n" + rows)


def test_samples_without_a_class_are_counted_by_their_reason(tmp_path: Path) -> None:
    text = "Id,Target\na,Vesicles\nb,Cytosol;vesicles\nc,\nd,nan\ne,Cytosol;Nucleus\nf,negative\n"
    table = read(tmp_path, text)
    counts = count_labels(table, range(6))
    assert counts.classes_per_sample == {0: 4, 1: 1, 2: 1}
    assert (counts.n_empty, counts.n_only_dropped) == (2, 2)
    assert counts.without_class == ("a", "c", "d", "f")
    assert sum(counts.dropped.values()) == 3
    assert count_labels(table, [4]).n_empty == 0
    assert counts.understood == "ids from column 'Id', labels from column 'Target', names of classes"


def test_both_presets_read_names_of_either(tmp_path: Path) -> None:
    text = "Id,Target\na,Actin filaments\nb,Focal adhesion sites\nc,Vesicles\nd,Negative\n"
    assert decode_labels(read(tmp_path, text, HPA_2018).labels) == ["12", "13", "", ""]
    assert decode_labels(read(tmp_path, text, HPA_2021).labels) == ["9", "9", "17", "18"]


@pytest.mark.parametrize(
    "flags", ["WAHR FALSCH", "VRAI FAUX", "VERDADERO FALSO", "vero falso", "T F", "yes no", "1,0 0,0"]
)
def test_columns_of_classes_hold_true_and_false_as_programs_write_them(tmp_path: Path, flags: str) -> None:
    yes, no = flags.split()
    path = tmp_path / "train.csv"
    path.write_text(f"Id;Nucleoli;Cytosol\na;{yes};{no}\nb;{no};{yes}\n")
    assert decode_labels(read_label_table(path).labels) == ["2", "25"]
