"""The table of recipes."""

from pathlib import Path

from benchmarks.recipes import tabulate_runs
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.history import read_history


def test_the_table_of_recipes_shows_what_a_run_saw_and_scored(run: Path) -> None:
    head, row = tabulate_runs([run]).splitlines()
    assert head.split()[:5] == ["run", "pixels", "images", "seen", "AUC"]
    epochs = sum(len(history) for history in read_history(run, 2))
    n_samples = score_run(run).n_samples
    assert row.split()[:3] == ["run", "76", str(n_samples * epochs // 2)]
    assert f"{score_run(run).headline:.3f}" in row
