"""Options of commands: their former spellings, and those that would have no effect."""

from pathlib import Path
from typing import Any

import pytest
import typer.main

import cli
from hpa_data.commands.options import PARTS, respell
from tests.builders import Hpa, assert_refused


def list_valued(name: str) -> set[str]:
    """List the options of a command that take a value."""
    command: Any = typer.main.get_command(cli.app)
    for word in ["bench", name] if name in cli.BENCH else [name]:
        command = command.commands[word]
    return {flag for option in command.params if not getattr(option, "is_flag", True) for flag in option.opts}


@pytest.mark.parametrize(
    ("command", "former", "now"),
    [
        ("synth", "d --workers 2", "d --threads 2"),
        ("convert", "a b --source stack", "a b --naming stack"),
        ("augment", "s --parts train,external --into more", "s --part train --part external --to-part more"),
        ("augment", "s --parts train, --seed 1", "s --part train --seed 1"),
        ("stats", "s --parts=a,b --figures f --no-pixels", "s --part a --part b --figure-dir f --no-intensities"),
        (
            "folds",
            "s --parts a --method contiguous --no-near",
            "s --part a --fold-method contiguous --no-near-duplicates",
        ),
        ("preview", "s --out a.png --ids x --ids=y --channels", "s --out a.png --id x --id y --split-channels"),
        ("train", "s --bn-momentum 0.9 --out r --xla", "s --set bn_momentum=0.9 --out r --set xla=true"),
        ("train", "s --bn-momentum=0.9 --deterministic", "s --set bn_momentum=0.9 --set deterministic=true"),
        ("train", "s --method contiguous", "s --fold-method contiguous"),
        ("finetune", "r --folds all", "r --which-folds all"),
        ("compare", "r --csv a.csv --figure a.png", "r --out-csv a.csv --out-figure a.png"),
        ("io", "s --png train", "s --images train"),
        ("io", "s --png", "s --images"),
        ("convert", "-- --source", "-- --source"),
        ("convert", "a b --labels --source --source stack", "a b --labels --source --naming stack"),
        ("convert", "a b --labels --dry-run --source stack", "a b --labels --dry-run --naming stack"),
        ("convert", "a b --dry-run --source stack --labels", "a b --dry-run --naming stack --labels"),
        ("convert", "a b --labels=x --source=--source", "a b --labels=x --naming --source"),
        ("preview", "s --channels --ids x --out --ids", "s --split-channels --id x --out --ids"),
        ("preview", "--channels -- --ids", "--split-channels -- --ids"),
        ("stats", "s --no-pixels --figures f", "s --no-intensities --figure-dir f"),
        ("stats", "--no-pixels=s", "--no-intensities=s"),
        ("stats", "s --pixels --parts a", "s --part a"),
        ("folds", "s --no-near --method contiguous --near", "s --no-near-duplicates --fold-method contiguous"),
        ("folds", "--near=s", "--near=s"),
        ("folds", "s --parts ,a,,b,", "s --part a --part b"),
        ("folds", "s --parts ,", "s --part ,"),
        ("train", "s --set --xla --xla --out r", "s --set --xla --set xla=true --out r"),
    ],
)
def test_a_former_spelling_means_the_option_that_took_its_place(command: str, former: str, now: str) -> None:
    spellings = PARTS | cli.FORMER_SPELLINGS.get(command, {})
    assert respell(former.split(), spellings, list_valued(command)) == now.split()


def test_every_command_that_takes_several_parts_takes_them_as_a_list_with_commas(hpa: Hpa) -> None:
    for command in ("verify s", "preview s --out a.png", "stats s", "augment s --min-count 5", "folds s"):
        assert_refused(hpa(*command.split(), "--parts", "a,b"), "Cannot open the store s: ")
    for command in ("train s --out r", "bench io s", "bench step s"):
        assert_refused(hpa(*command.split(), "--parts", "a,b"), "Cannot open the store s: ")
    ended = hpa("convert", "a", "b", "--parts", "a,b")  # it makes one part
    assert ended.status == 2
    assert "No such option" in ended.err


def test_former_spellings_lead_to_options_of_their_command_and_stay_out_of_its_help(
    hpa: Hpa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command, spellings in cli.FORMER_SPELLINGS.items():
        text = hpa(*(["bench"] if command in cli.BENCH else []), command, "--help").out
        for former, now in spellings.items():
            assert not now or f" {now.split()[0]} " in text
            assert former == "--folds" or f" {former} " not in text  # which has another meaning, in other commands


@pytest.mark.parametrize(
    "words",
    [
        "convert a b --channels red=0",
        "convert a b --threads 2 --scheduler tcp://h:1",
        "augment s --threads 2 --scheduler tcp://h:1",
        "stats --labels t.csv --order rarest",
        "stats --labels t.csv --part train",
        "stats --labels t.csv --no-intensities",
        "stats --labels t.csv --threads 2",
        "stats s --min-count 3",
        "stats s --order rarest",
        "stats s --no-intensities --threads 2",
        "folds --labels t.csv --order rarest",
        "folds --labels t.csv --part train",
        "folds --labels t.csv --no-near-duplicates",
        "folds --labels t.csv --threads 2",
        "folds s --min-count 3",
        "folds s --order rarest",
        "folds s --legacy-leak --fold-method stratified",
        "folds s --legacy-leak --seed 1",
        "folds s --fold-method contiguous --seed 1",
        "folds s --no-near-duplicates --threads 2",
        "preview s --out a.png --id x --samples 3",
        "preview s --out a.png --split-channels --columns 3",
        "preview s --out a.png --parents --split-channels",
        "train s --out r --cache-gib 4",
        "train s --out r --set epochs=3 --epochs 4",
        "train s --out r --legacy-leak --fold-method stratified",
        "finetune r --cache-gib 4",
        "predict r . --part test",
    ],
)
def test_an_option_without_effect_is_refused(
    words: str, hpa: Hpa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = hpa(*words.split())
    assert_refused(ended, "Error: Cannot use --")
    assert "it has no effect with" in ended.err or "it has no effect beside" in ended.err


@pytest.mark.parametrize(("words", "given"), [("folds", "neither"), ("stats s --labels t.csv", "both")])
def test_a_store_or_a_table_is_given_but_not_both(words: str, given: str, hpa: Hpa) -> None:
    assert_refused(hpa(*words.split()), f"STORE or --labels must be given, not both. Received: {given}.")
