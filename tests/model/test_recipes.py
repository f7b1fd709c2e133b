"""The tables of recipes and of ideas."""

import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks.accuracy import starts, training
from benchmarks.accuracy.run import name_submission, seconds_file
from benchmarks.accuracy.steps import Comparison, Row
from benchmarks.accuracy.table import tabulate_rows
from benchmarks.recipes import tabulate_runs
from cli import app
from hpa_model.config import parse_setting
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import read_history


def test_the_table_of_recipes_shows_what_a_run_saw_and_scored(run: Path) -> None:
    head, row = tabulate_runs([run]).splitlines()
    assert head.split()[:5] == ["run", "pixels", "images", "seen", "AUC"]
    epochs = sum(len(history) for history in read_history(run, 2))
    n_samples = score_run(run).n_samples
    assert row.split()[:3] == ["run", "76", str(n_samples * epochs // 2)]
    assert f"{score_run(run).headline:.3f}" in row


@pytest.mark.parametrize("comparison", [training.compare(), starts.compare("imagenet")], ids=["training", "starts"])
def test_the_steps_of_a_comparison_of_ideas_are_commands_in_an_order_that_works(comparison: Comparison) -> None:
    commands = get_command(app).commands
    seen: set[str] = set()
    for step in comparison.steps:
        assert set(step.needs) <= seen
        seen.add(step.name)
        name, *words = shlex.split(step.command)
        commands[name].make_context(name, [*words, "--out", step.name])  # refuses options that there are not
        for index, word in enumerate(words):
            if word == "--set":
                assert parse_setting(words[index + 1])
    assert len(seen) == len(comparison.steps)
    assert {row.step for row in comparison.rows} <= seen
    submissions = [name_submission(row) for row in comparison.rows]
    assert len(set(submissions)) == len(submissions)


def test_the_table_of_ideas_shows_what_was_seen_and_the_difference_to_the_reference(run: Path, tmp_path: Path) -> None:
    for name in ("gapnet", "transferred", "external-half"):
        (tmp_path / name).symlink_to(run)
    (tmp_path / "hpa.zarr").symlink_to(read_run(run).store)
    for name in ("transferred", "external-half"):
        seconds_file(tmp_path, name).write_text('{"seconds": 3.0, "processor_seconds": 600.0}')
    comparison = starts.compare(None)
    rows = [Row("first", "gapnet", "gapnet"), Row("second", "transferred", "gapnet")]
    table = tabulate_rows(tmp_path, comparison, rows).splitlines()
    first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:])
    n_images = score_run(run).n_samples * sum(len(history) for history in read_history(run, 2)) // 2
    assert [first[0], first[1], first[3], first[-1]] == ["first", f"{n_images:,}", "", ""]
    assert [second[1], second[3], second[-1]] == [f"{2 * n_images:,}", "+0.000 (+0.000 to +0.000)", "1,200"]
    assert first[2].startswith(f"{score_run(run).headline:.3f} (")
