"""What commands print: lists that fit a screen, text that is safe on a terminal, results as JSON."""

import json
import math
from dataclasses import dataclass

import pytest

from hpa_data.commands.console import abbreviate, escape, progress, resumable, show


@dataclass(frozen=True)
class Result:
    n: float
    rates: tuple[float, ...] = ()


def test_a_long_list_is_cut_with_the_number_that_was_left_out() -> None:
    assert abbreviate(["a", "b", "c"], limit=3) == ["a", "b", "c"]
    assert abbreviate(["a", "b", "c", "d"], limit=2) == ["a", "b", "… and 2 more"]


def test_control_characters_are_shown_not_sent_to_the_terminal() -> None:
    assert escape("a\x1b[2Jb\nc é") == "a\\x1b[2Jb\\nc é"


def test_results_and_lists_of_results_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    show(Result(1), True, "text")
    show([Result(1), Result(2)], True, "text")
    show(Result(1), False, "text")
    first, second, third = capsys.readouterr().out.splitlines()
    one, two = {"n": 1, "rates": []}, {"n": 2, "rates": []}
    assert (json.loads(first), json.loads(second), third) == (one, [one, two], "text")


def test_what_was_not_measured_is_null_since_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show(Result(math.nan, (1.0, math.inf)), True, "text")
    assert json.loads(capsys.readouterr().out) == {"n": None, "rates": [1.0, None]}


def test_progress_of_several_passes_is_quiet_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("samples") as shown:
        for total in (2, 3):
            shown.start(total)
            shown.advance(total)
        shown.note("next")
    assert capsys.readouterr() == ("", "next\n")


def test_the_rate_leaves_out_what_the_first_units_of_a_stage_wait_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress("images") as shown:
        shown.start(100)
        for name, wait_s in (("fold 0, epoch 1/2", 30), ("fold 0, epoch 2/2", 7)):
            shown.stage(name)
            now[0] += wait_s  # compiles, or validates
            for _ in range(5):
                shown.advance(10)
                now[0] += 4
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "fold 0, epoch 1/2: 10/100 images"
    assert last == "fold 0, epoch 2/2: 90/100 images, 2.5/s, 5 s left"


@pytest.mark.parametrize(("overwrite", "command"), [(False, "the same command"), (True, "the same command without")])
def test_an_interrupted_user_is_told_how_to_resume(
    overwrite: bool, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), resumable("a.zarr", overwrite=overwrite):
        raise KeyboardInterrupt
    assert f"Finished work is kept in a.zarr. Run {command} " in capsys.readouterr().err
