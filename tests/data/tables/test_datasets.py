"""Data sets from TOML files, and classes from lists."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.dataset import HPA_2018, PRESETS, Channel, Dataset, Numbering
from hpa_data.errors import InputError
from hpa_data.tables import (
    TableOptions,
    encode_toml,
    find_dataset,
    infer_classes,
    read_classes,
    read_label_table,
    with_classes,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = names.map(lambda name: f"a{name}b".replace("=", "").replace(",", ""))


@given(
    name=words,
    classes=st.lists(words, min_size=1, max_size=5, unique_by=lambda name: " ".join(name.split()).casefold()),
    channel=words,
    other=names,
    size=st.integers(1, 4096),
)
def test_any_data_set_is_read_back_from_its_toml(  # noqa: PLR0917 - what hypothesis draws
    tmp_path_factory: pytest.TempPathFactory, name: str, classes: list[str], channel: str, other: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("toml") / "mine.toml"
    dataset = Dataset(
        name=name,
        channels=(Channel(name=channel, role="signal"), Channel(name="1", color="#012345")),
        classes=tuple(classes),
        synonyms={other + "x": classes[0], other + "y": ""},
        numbering=Numbering(columns=("ID", name), separator=";"),
        height=size,
    )
    path.write_bytes(encode_toml(dataset).encode())
    assert find_dataset(str(path)) == dataset


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_name_and_read_back_from_its_toml(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(encode_toml(find_dataset(name)))
    assert find_dataset(str(path)) == PRESETS[name]


def test_a_data_set_needs_only_channels_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('classes = ["A", "B"]\nchannels = [{name = "DAPI"}]\n')
    assert find_dataset(str(path)) == Dataset(name="mine", channels=(Channel(name="DAPI"),), classes=("A", "B"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"classes = [", "it is not TOML .* Begin with `hpa datasets hpa2018`"),
        (b"classes = ['\xff']", "it is not text in UTF-8"),
        (b"classes = ['A']", "channels"),
        (b"classes = 'A'\nchannels = [{name = 'DAPI'}]", "classes"),
        (
            b"classes = ['A', 'a']\nchannels = [{name = 'DAPI'}]",
            "classes of data set 'mine' must be 1 to 65536",
        ),
        (b"classes = ['A']\nchannels = [{name = 'DAPI', kind = 1}]", "'kind'"),
        (
            b"name = 'hpa2021'\nclasses = ['A']\nchannels = [{name = 'DAPI'}]",
            "other classes than hpa2021 must be another one",
        ),
        (b"a = " + b"[" * 5000, "it is not TOML"),
    ],
)
def test_a_file_that_describes_no_data_set_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        find_dataset(str(tmp_path / "mine.toml"))


def test_a_data_set_that_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="dataset must be hpa2018, hpa2021 or a TOML file. Received: .*hpa2020"):
        find_dataset("hpa2020")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Round\nFlat\nGolgi, trans\n"),
        ("a.txt", "\ufeffRound\r\n\r\n  Flat \r\nGolgi,  trans"),
        ("a.txt", "0,Round\n1,Flat\n2,Golgi, trans\n"),
        ("a.txt", "0: Round\n1: Flat\n2: Golgi, trans\n"),
        ("a.csv", 'class\nRound\nFlat\n"Golgi, trans"\n'),
        ("a.csv", 'number;Class;n\n0;Round;7\n1;Flat;8\n2;"Golgi, trans";9\n'),
        ("a.toml", 'classes = ["Round", "Flat", "Golgi, trans"]\n'),
        ("a.json", '["Round", "Flat", "Golgi, trans"]'),
        ("a.json", '{"classes": ["Round", "Flat", "Golgi, trans"]}'),
    ],
)
def test_a_list_of_classes_is_read_from_any_kind_of_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_classes(tmp_path / name) == ("Round", "Flat", "Golgi, trans")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", "\n"), ("a.toml", "classes = 1"), ("a.json", "[1]"), ("a.json", "{}"), ("a.csv", "class\n")],
)
def test_a_file_without_classes_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="it has no list of class names. Write one name a line"):
        read_classes(tmp_path / name)


def test_other_classes_leave_no_synonym_and_no_number_of_before() -> None:
    dataset = with_classes(HPA_2018, ("Nucleus", "Other"), "mine")
    assert dataset == replace(HPA_2018, name="mine", classes=("Nucleus", "Other"), synonyms={}, numbering=None)
    assert json.loads(json.dumps(dataset.encode()))["classes"] == ["Nucleus", "Other"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a,flat;Round\nb,round\nc,\nd,NaN\n", ("flat", "Round")),
        ("a,10\nb,9\nc,10 2\n", ("2", "9", "10")),
        ("a,010\nb,10\nc,9.0\n", ("9", "010", "10")),
        ("a,\"['Round', 'Flat, long']\"\n", ("Flat, long", "Round")),
    ],
)
def test_classes_are_inferred_from_a_label_table(tmp_path: Path, rows: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_text("Id,Target\n" + rows)
    assert infer_classes(tmp_path / "a.csv") == expected
    dataset = with_classes(HPA_2018, expected, "mine")
    labels = read_label_table(tmp_path / "a.csv", dataset, TableOptions(dataset_given=True)).labels
    assert labels.any(axis=0).all()


def test_classes_are_not_inferred_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Id,Target\na,\n")
    with pytest.raises(InputError, match="it has 0 different labels"):
        infer_classes(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("Id,Nucleoli,Cytosol\na,1,1\n")
    with pytest.raises(InputError, match="no column Target or Label to infer classes from. Pass --label-column"):
        infer_classes(tmp_path / "a.csv")
