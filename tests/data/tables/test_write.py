"""CSV files for people hold no formulas and no control characters; those for programs hold what was given."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.dataset import HPA_2018, Sample
from hpa_data.errors import InputError
from hpa_data.store.failures import list_failures, write_failures
from hpa_data.store.store import open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism
from hpa_data.tables import disarm, encode_table
from hpa_model.predict.submission import read_sample_submission, write_submission
from tests.builders import begin

FORMULAS = ["=1+2", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "\x1b[31m=1"]


@given(st.text())
def test_text_for_people_is_printable_no_formula_and_disarmed_once(text: str) -> None:
    shown = disarm(text)
    assert shown.isprintable()
    assert disarm(shown) == shown
    if text.isprintable() and text[:1].isalnum():
        assert shown == text


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_in_a_table_for_people_and_stays_in_one_for_programs(text: str) -> None:
    assert text in encode_table(["id"], [[text]]).decode()
    table = encode_table([text], [[text]], for_people=True).decode()
    for (cell,) in csv.reader(io.StringIO(table, newline="")):
        assert cell.lstrip()[0] not in "=+-@\t\r\uff1d"


@pytest.mark.parametrize("number", ["-0.5", "+1", "1e-7", "-inf", "nan", "-3%"])
def test_a_number_is_no_formula(number: str) -> None:
    assert disarm(number) == number


def test_failures_of_hostile_files_are_disarmed_in_their_table(tmp_path: Path) -> None:
    def read(index: int) -> Sample:
        raise InputError("bad \x1b]0;title\x07 name", file="=HYPERLINK(1)\x1b[31m.png")

    part = begin(tmp_path / "a.zarr", ["=1+2"])
    write_shards(part, range(1), read, workers=Parallelism(threads=1))
    for _ in range(2):  # rows that are written again stay as they are
        write_failures(part)
        content = (tmp_path / "a.zarr" / "failures.csv").read_text()
        assert content == ("part,id,file,reason\ntrain,'=1+2,'=HYPERLINK(1)\\x1b[31m.png,bad \\x1b]0;title\\x07 name\n")
    (failure,) = list_failures(open_store(tmp_path / "a.zarr").part("train"))
    assert failure.id == "=1+2"


def test_a_submission_keeps_ids_as_they_are(tmp_path: Path) -> None:
    ids = ["=1", "-abc", "@x"]
    probs = {name: np.eye(28, dtype=np.uint8)[0] for name in ids}
    write_submission(tmp_path / "a.csv", ids, probs, HPA_2018, names=True)
    assert read_sample_submission(tmp_path / "a.csv") == ids
