"""Which sample a row of a label table means."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.convert.match import explain_absent, match_ids

HPA = ("red", "green", "blue", "yellow")


@pytest.mark.parametrize(
    ("wanted", "found", "words"),
    [
        ("5C27F04C-A", "5c27f04c-a", "case"),
        ("a.png", "a", "the extension"),
        ("a.ome.tif.gz", "a", "the extension"),
        ("train/a", "a", "the folder"),
        ("C:\\my\\a_green.PNG", "a", "the folder and the extension and the channel"),
        ("7", "007", "leading zeros"),
        ("12.0", "12", "decimals"),
        ("12.0", "0012", "decimals and leading zeros"),
        ("a  b", "a b", "spaces"),
        (
            unicodedata.normalize("NFD", "übung"),
            unicodedata.normalize("NFC", "übung"),
            "how letters with",
        ),
        (
            unicodedata.normalize("NFC", "übung"),
            unicodedata.normalize("NFD", "übung"),
            "how letters with",
        ),
    ],
)
def test_an_id_that_nearly_is_one_of_the_source_is_shown_and_matched_on_demand(
    wanted: str, found: str, words: str
) -> None:
    exact = match_ids([wanted, "x"], [found, "x"], "exact", HPA)
    assert (exact.by_id, exact.absent) == ({"x": "x"}, (wanted,))
    hint, remedy = explain_absent(exact, [wanted, "x"], [found, "x"], HPA)
    assert hint.startswith(f"It has {found!r} for {wanted!r}, which differs in {words}")
    assert remedy == "Pass --id-match loose to match 1 ids so"
    loose = match_ids([wanted, "x"], [found, "x"], "loose", HPA)
    assert loose.by_id == {wanted: found, "x": "x"}
    assert loose.loose[wanted].startswith(words)
    assert loose.absent == ()


def test_ids_to_which_the_same_text_is_added_are_matched_on_demand() -> None:
    for wanted, found in (
        (["1", "2"], ["img_1_x", "img_2_x", "img_3_x"]),
        (["hpa_1", "hpa_2"], ["1", "2", "3"]),
        (["hpa_a", "hpa_b"], ["a", "b"]),
    ):
        assert match_ids(wanted, found, "loose").by_id == dict(zip(wanted, found, strict=False))
    # One id may be part of another by chance; and in the last, "1_" and "_1" would both do.
    assert match_ids(["1"], ["img_1"], "loose").absent == ("1",)
    assert match_ids(["1", "ghost"], ["img_1", "img_2"], "loose").absent == ("1", "ghost")
    assert match_ids(["1", "11"], ["111", "1111", "1_1", "1_11", "x1", "x11"], "loose").absent == ("1", "11")


def test_an_id_that_may_mean_two_samples_is_never_matched() -> None:
    assert match_ids(["A"], ["a", "a.png"], "loose").absent == ("A",)
    assert match_ids(["01"], ["1", "001"], "loose").absent == ("01",)
    assert match_ids(["A", "a"], ["a"], "loose").absent == ("A",)
    assert match_ids(["a_red", "a_blue"], ["a"], "loose", HPA).absent == ("a_red", "a_blue")


@pytest.mark.parametrize(
    ("wanted", "found", "hint", "remedy"),
    [
        (
            ["smaple-1", "b"],
            ["sample-1", "b"],
            "The nearest id that it has is 'sample-1'.",
            "Add the files, or pass --allow-m",
        ),
        (
            ["1.2E+05", "b"],
            ["120345", "b"],
            "'1.2E+05' may be what a spreadsheet made of an id.",
            "Save the table with",
        ),
        (
            ["2018-03-05T00:00:00"],
            ["MAR-5"],
            "may be what a spreadsheet made of an id.",
            "Save the table with",
        ),
        (["5c27-1e10-x", "b"], ["q", "b"], "", "Add the files, or pass"),
        (
            ["1.2345678901234567e+19", "b"],
            ["q", "b"],
            "may be what a spreadsheet made of an id.",
            "Save the table with",
        ),
        (["ghost"], ["a"], "Its own ids are such as 'a', and none is in the table.", "Pass the table of this source"),
        (["ghost", "a"], ["a"], "", "Add the files, or pass --allow-missing-files to go on without them"),
        (
            ["A", "q"],
            ["a", "b"],
            "It has 'a' for 'A'",
            "loose to match 1 ids so and --allow-missing-files to go",
        ),
    ],
)
def test_what_is_absent_is_explained(wanted: list[str], found: list[str], hint: str, remedy: str) -> None:
    told = explain_absent(match_ids(wanted, found, "exact"), wanted, found)
    assert hint in told[0]
    assert remedy in told[1]


def test_rows_of_planes_in_place_of_samples_are_told() -> None:
    wanted = ["a_red.png", "a_green.png"]
    told = explain_absent(match_ids(wanted, ["a"], "exact"), wanted, ["a"], HPA)
    assert told == (
        "'a_red.png' and 'a_green.png' may both be the same sample.",
        "Keep one row per sample, with its id",
    )


ids = st.lists(st.text("aA01_.pn/é", min_size=1, max_size=6), max_size=8, unique=True)


@given(ids, ids)
def test_no_two_ids_mean_the_same_sample_and_equal_ids_mean_each_other(wanted: list[str], found: list[str]) -> None:
    for how in ("exact", "loose"):
        matches = match_ids(wanted, found, how, HPA)
        assert len(set(matches.by_id.values())) == len(matches.by_id)
        assert set(matches.by_id.values()) <= set(found)
        assert all(matches.by_id[name] == name for name in set(wanted) & set(found))
        assert {*matches.by_id, *matches.absent} == set(wanted)
        assert {one for one, other in matches.by_id.items() if one != other} == set(matches.loose)
        if matches.absent:
            explain_absent(matches, wanted, found, HPA)
