"""Numbers of classes are read only where it is certain what they stand for."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpa_data.dataset import HPA_2018, HPA_2021, Dataset, Numbering, decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import TableOptions, read_label_table

MINE = replace(HPA_2018, name="mine", classes=("Round", "Flat"), synonyms={}, numbering=None)
ALIKE = replace(MINE, numbering=Numbering(columns=("Id", "Target"), separator=" "))
TABLE_2018 = "Id,Target\na,16 0\nb,25\n"
TABLE_2021 = "ID,Label\na,8|5|0\nb,14|16|16\nc,18\n"


def read(folder: Path, text: str, dataset: Dataset = HPA_2018, *, given: bool = False, numbering: str | None = None):
    (folder / "train.csv").write_text(text)
    options = TableOptions(dataset_given=given, numbering=numbering)
    return decode_labels(read_label_table(folder / "train.csv", dataset, options).labels)


def test_the_tables_of_both_competitions_are_read_as_their_own(tmp_path: Path) -> None:
    assert read(tmp_path, TABLE_2018) == ["0 16", "25"]
    assert read(tmp_path, TABLE_2021, HPA_2021) == ["0 5 8", "14 16", "18"]
    assert read(tmp_path, TABLE_2021, HPA_2021, given=True) == ["0 5 8", "14 16", "18"]
    assert read(tmp_path, "id;TARGET\na;16 0\n") == ["0 16"]
    assert read(tmp_path, "Id,Target\na,0 1\n", ALIKE, given=True, numbering="mine") == ["0 1"]
    assert read(tmp_path, "Id,Target\na,0 1\n", replace(HPA_2018, name="mine"), given=True) == ["0 1"]


@pytest.mark.parametrize(
    ("text", "dataset", "given", "message"),
    [
        (
            TABLE_2021,
            HPA_2018,
            False,
            "those of tables of hpa2021, .* Pass --dataset hpa2021, or --numbering hpa2021 to",
        ),
        (
            TABLE_2021,
            HPA_2018,
            True,
            "--numbering hpa2018 if they are its own, or --numbering hpa2021 to translate",
        ),
        (TABLE_2018, HPA_2021, True, "its columns Id,Target and what .* are those of tables of hpa2018"),
        ("Id,Target\na,0\n", ALIKE, True, "Pass --numbering mine if they are its own, or --numbering hpa2018"),
        ("Id,Target\na,0\n", MINE, True, "Pass --numbering mine if they are its own, or --numbering hpa2018"),
        ("ID,Label\na,8\n", HPA_2018, False, "those of tables of hpa2021"),
        (
            "Id,Target\na,8|5\n",
            HPA_2018,
            False,
            "not certain; such numbers are in hpa2018 and hpa2021, .* with '|' between",
        ),
        ("Id,Target\na,25|5\n", HPA_2018, False, "is not certain; such numbers are in hpa2018"),
        (
            'Id,Target\na,"16, 0"\n',
            HPA_2018,
            False,
            "with ',' between numbers are those of none. Pass --dataset hpa2018",
        ),
        ('Id,Target\na,"[16, 0]"\n', HPA_2018, False, "is not certain"),
        ("ID,Label\na,8 5\n", HPA_2021, False, "is not certain"),
        (
            "image,labels\na,8\n",
            HPA_2018,
            False,
            "columns image,labels with nothing between numbers are those of none",
        ),
        ("ID,Label\na,25|5\n", HPA_2018, False, "is not certain; such numbers are in hpa2018"),
        ("image,labels\na,99\n", HPA_2018, False, "no known data set has number 99"),
    ],
)
def test_numbers_whose_classes_are_not_certain_are_refused(
    tmp_path: Path, text: str, dataset: Dataset, given: bool, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("|", "[|]")):
        read(tmp_path, text, dataset, given=given)


def test_numbers_of_any_form_are_those_of_the_data_set_that_was_given(tmp_path: Path) -> None:
    for cell in ("1|0", "[1, 0]", "1;0", "1 0"):
        assert read(tmp_path, f'image,labels\na,"{cell}"\n', MINE, given=True) == ["0 1"]
    assert read(tmp_path, "Id,Target\na,1 0\n", MINE, given=True, numbering="mine") == ["0 1"]


def test_numbers_of_another_data_set_are_translated_where_that_is_certain(tmp_path: Path) -> None:
    assert read(tmp_path, TABLE_2021, numbering="hpa2021") == ["0 5 11", "23 25", ""]
    everything = "ID,Label\n" + "".join(f"{n},{n}\n" for n in range(19) if n not in {9, 13, 17})
    assert read(tmp_path, everything, numbering="hpa2021") == [
        *map(str, range(8)),
        *("11", "14", "17", "19", "23", "24", "25", ""),
    ]
    everything = "Id,Target\n" + "".join(f"{n},{n}\n" for n in range(28))
    assert read(tmp_path, everything, HPA_2021, numbering="hpa2018") == [
        *("0", "1", "2", "3", "4", "5", "6", "7", "17", "17", "17", "8", "9", "9", "10", "", "", "11", "", "12", "17"),
        *("13", "13", "14", "15", "16", "17", ""),
    ]


@pytest.mark.parametrize("number", [9, 13, 17])
def test_a_number_that_is_several_classes_is_not_translated(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match=f"number {number} of hpa2021, .* is any of [25] classes of hpa2018: "):
        read(tmp_path, f"ID,Label\na,{number}\n", numbering="hpa2021")


def test_a_number_whose_class_is_unknown_is_not_translated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="number 3 of hpa2018, 'Nucleoli fibrillar center', is no class of mine"):
        read(tmp_path, "Id,Target\na,3\n", MINE, numbering="hpa2018")
    with pytest.raises(InputError, match="numbering must be one of hpa2018, hpa2021. Received: numbering='hpa2020'"):
        read(tmp_path, "Id,Target\na,3\n", numbering="hpa2020")


@pytest.mark.realdata
def test_the_real_samples_have_the_same_classes_in_both_numberings(real_data: Path) -> None:
    folder = real_data / "fullsize"
    one = read_label_table(folder / "train.csv")
    other = read_label_table(folder / "train_2021.csv", options=TableOptions(numbering="hpa2021"))
    assert one.ids[0] == other.ids[0]
    assert (one.labels[0] == other.labels[0]).all()
    assert decode_labels(other.labels) == ["0 5 11", ""]
