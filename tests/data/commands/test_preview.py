"""`hpa preview`: samples of one part or of several."""

import json
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused


def test_samples_of_several_parts_are_drawn(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    out = tmp_path / "a.png"
    ended = hpa("preview", store.path, "--out", out, "--part", "train", "--part", "test", "--samples", 2, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["ids"] == ["sample-11", "sample-00", "new-0", "new-2"]
    assert out.exists()


def test_a_sample_is_found_in_whichever_part_it_is(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("preview", store.path, "--out", tmp_path / "a.png", "--part", "train", "--part", "test")
    assert hpa(*words, "--id", "new-1", "--split-channels").out == f"{tmp_path / 'a.png'}: 1 samples\n"


@pytest.mark.parametrize(
    ("words", "message"), [("--out a.jpg", "must be a PNG file"), ("--out a.png --id ghost", "Received: 'ghost'")]
)
def test_what_cannot_be_drawn_gets_one_line_and_status_2(words: str, message: str, store: Store, hpa: Hpa) -> None:
    assert_refused(hpa("preview", store.path, *words.split()), message)
