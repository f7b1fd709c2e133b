"""Records of every version are read; what is missing has a meaning, what is unknown is refused."""

import math
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.system.records import decode_record, encode_record


@dataclass(frozen=True, kw_only=True)
class Inner:
    names: tuple[str, ...]
    unit: str = field(default="px", metadata={"absent": "nm"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    size: int
    rate: float = 0.5
    inner: Inner | None = None
    others: tuple[Inner, ...] = ()
    mode: str = field(default="new", metadata={"absent": "old"})


@given(st.builds(Settings, inner=st.none() | st.builds(Inner)))
def test_encoding_and_decoding_are_inverse(settings: Settings) -> None:
    assume(math.isfinite(settings.rate))
    assert decode_record(Settings, encode_record(settings), name="a file") == settings


def test_a_missing_key_means_what_its_absence_meant() -> None:
    assert decode_record(Settings, {"size": 3}, name="a file") == Settings(size=3, mode="old")


def test_a_missing_key_inside_another_record_means_what_its_absence_meant() -> None:
    raw = {"size": 3, "inner": {"names": ["a"]}, "others": [{"names": ["b"], "unit": "um"}, {"names": []}]}
    read = decode_record(Settings, raw, name="a file")
    assert read.inner == Inner(names=("a",), unit="nm")
    assert [other.unit for other in read.others] == ["um", "nm"]
    assert encode_record(read) == {"size": 3, "rate": 0.5, **raw}


def test_a_later_setting_is_written_only_where_it_differs() -> None:
    assert encode_record(Settings(size=3, mode="old")) == {"size": 3, "rate": 0.5, "inner": None, "others": []}
    assert encode_record(Settings(size=3))["mode"] == "new"


def test_an_unknown_key_names_the_newer_version() -> None:
    with pytest.raises(
        InputError, match=re.escape("has 'hue', which this version does not know. It was written by hpa 9.1")
    ):
        decode_record(Settings, {"size": 3, "hue": 1}, name="a file", version="9.1")


@pytest.mark.parametrize("raw", [{}, {"size": "3"}, {"size": 3, "inner": {"names": [1]}}, [], None, {"size": True}])
def test_values_of_another_type_are_refused(raw: object) -> None:
    with pytest.raises(InputError, match="Cannot read a file: "):
        decode_record(Settings, raw, name="a file")


def test_numbers_may_be_text_where_that_is_allowed() -> None:
    assert decode_record(Settings, {"size": "3", "rate": "1e-3"}, name="a file", text=True).rate == 0.001
