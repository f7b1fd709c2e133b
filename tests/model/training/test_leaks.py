"""Duplicates under other ids stay in one fold; what was looked for is recorded, told, and repeated on resuming."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.folds import relations
from hpa_data.folds.leak_check import NOT_CHECKED, LeakCheck
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import DEFAULTS, TrainConfig, make_config
from hpa_model.runs.folder import read_run
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.baseline import train_baseline
from hpa_model.training.finetune import finetune
from hpa_model.training.run import open_run
from hpa_model.training.train import train
from tests.builders import Hpa, assert_refused, convert, draw_image, write_sample, write_table
from tests.model.stopping import CONFIG

# In contiguous folds, the samples of each pair are apart unless they are kept together.
FAST = dataclasses.replace(CONFIG, epochs=1, batch_size=6, symmetries=False, fold_method="contiguous")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 6 samples under 2 ids each."""
    folder = tmp_path_factory.mktemp("twins")
    for index in range(12):
        write_sample(folder / "in", f"s{index:02}", draw_image(index % 6))
    table = write_table(folder / "t.csv", {f"s{index:02}": f"{index % 3}" for index in range(12)})
    convert(folder / "in", folder / "hpa.zarr", labels=table)
    return open_store(folder / "hpa.zarr")


@pytest.fixture(scope="module")
def near_twins(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 12 samples, of which s08 is a brighter s02; in other folds than it unless that is looked for."""
    folder = tmp_path_factory.mktemp("near")
    for index in range(12):
        brighter = np.clip(draw_image(2) * 1.2, 0, 255).astype(np.uint8)
        write_sample(folder / "in", f"s{index:02}", brighter if index == 8 else draw_image(index))
    table = write_table(folder / "t.csv", {f"s{index:02}": f"{index % 3}" for index in range(12)})
    convert(folder / "in", folder / "hpa.zarr", labels=table)
    return open_store(folder / "hpa.zarr")


def begin_run(store: Store, config: TrainConfig, out: Path) -> list[str]:
    """Make a run folder, or open it to resume, without training; return the lines that it prints."""
    notes: list[str] = []
    with open_run(store, config, out, overwrite=False, cache_bytes=0, progress=Progress(note=notes.append)):
        return notes


def read_folds(run: Path) -> dict[str, int]:
    with (run / "folds.csv").open(newline="") as file:
        return {row["id"]: int(row["fold"]) for row in csv.DictReader(file)}


def are_together(run: Path) -> bool:
    folds = read_folds(run)
    return all(folds[f"s{index:02}"] == folds[f"s{index + 6:02}"] for index in range(6))


def test_a_run_keeps_duplicates_in_one_fold_and_records_what_it_looked_for(twins: Store, tmp_path: Path) -> None:
    notes: list[str] = []
    out = tmp_path / "run"
    # Folds, rows and scores are made by the same functions as those of a network, in a fraction of the time.
    settings = BaselineSettings(n_trees=10, image_size=32)
    train_baseline(twins, FAST, out, settings=settings, threads=1, progress=Progress(note=notes.append))
    assert are_together(out)
    found = LeakCheck(searched="near", n_samples=12, n_groups=6, n_in_groups=12, n_exact=12)
    assert read_run(out).leak_check == found
    assert notes[0] == found.describe()
    rows = read_out_of_fold(out)
    assert rows.groups is not None
    assert (rows.groups[:6] == rows.groups[6:]).all()
    assert len(np.unique(rows.groups)) == 6
    assert json.loads((out / "scores.json").read_text())["leak_check"] == dataclasses.asdict(found)


@pytest.mark.slow
def test_a_training_and_its_fine_tuning_keep_duplicates_in_one_fold(twins: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(twins, FAST, out)
    assert are_together(out)
    found = LeakCheck(searched="near", n_samples=12, n_groups=6, n_in_groups=12, n_exact=12)
    assert read_run(out).leak_check == found
    tuned = finetune(out, epochs=1, out=tmp_path / "tuned")
    assert read_run(tuned.run).leak_check == found
    planned: list[int] = []
    for _ in range(2):
        train(twins, FAST, out, progress=Progress(start=planned.append))
    assert planned == [0, 0]


@pytest.mark.parametrize(("budget", "searched"), [(0.0, "exact"), (1e9, "near")])
def test_a_run_resumes_with_the_folds_that_it_began_with_whatever_the_speed_of_the_machine(
    near_twins: Store, tmp_path: Path, budget: float, searched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "NEAR_BUDGET_S", budget)
    began = begin_run(near_twins, FAST, tmp_path)
    folds = read_folds(tmp_path)
    assert (folds["s02"] == folds["s08"]) == (searched == "near")
    assert ("Warning: near duplicates were not looked for" in "".join(began)) == (searched == "exact")
    monkeypatch.setattr(relations, "NEAR_BUDGET_S", 1e9 - budget)
    told = begin_run(near_twins, FAST, tmp_path)
    assert read_folds(tmp_path) == folds
    found = read_run(tmp_path).known_leak_check
    assert (found.searched, found.n_samples) == (searched, 12)
    assert told == [found.describe()]
    with pytest.raises(InputError, match=r"Cannot resume .* duplicates \(auto there, ignore here\)"):
        begin_run(near_twins, dataclasses.replace(FAST, duplicates="ignore"), tmp_path)


def test_a_run_of_an_earlier_version_resumes_with_its_folds_and_says_that_nothing_was_looked_for(
    twins: Store, tmp_path: Path
) -> None:
    begin_run(twins, dataclasses.replace(FAST, duplicates="ignore"), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert "duplicates" not in raw["config"]  # as before there was the setting
    assert raw.pop("leak_check")["searched"] == "nothing"
    (tmp_path / "config.json").write_text(json.dumps(raw))
    folds = read_folds(tmp_path)
    assert not are_together(tmp_path)
    assert begin_run(twins, FAST, tmp_path) == [NOT_CHECKED.describe()]
    assert read_folds(tmp_path) == folds
    assert read_run(tmp_path).leak_check is None
    with pytest.raises(InputError, match=r"duplicates \(ignore there, near here\)"):
        begin_run(twins, dataclasses.replace(FAST, duplicates="near"), tmp_path)
    grouped = dataclasses.replace(FAST, fold_method="grouped-stratified")
    assert dataclasses.replace(read_run(tmp_path), config=grouped).known_leak_check.searched == "near"


def test_a_run_for_which_duplicates_were_not_to_be_looked_for_resumes_with_its_folds(
    twins: Store, tmp_path: Path
) -> None:
    ignored = dataclasses.replace(FAST, duplicates="ignore")
    for _ in range(2):
        assert begin_run(twins, ignored, tmp_path) == [NOT_CHECKED.describe()]
    assert not are_together(tmp_path)


def test_the_paper_s_leak_looks_for_nothing_and_says_so(twins: Store, tmp_path: Path) -> None:
    leaky = dataclasses.replace(FAST, legacy_leak=True)
    assert begin_run(twins, leaky, tmp_path) == [
        "Leak check: duplicates were not looked for, and may be in both training and validation"
    ]
    assert not are_together(tmp_path)
    begin_run(twins, dataclasses.replace(leaky, duplicates="near"), tmp_path)  # without an effect there


@pytest.mark.slow
def test_the_command_says_before_training_what_was_looked_for_and_what_was_not(
    twins: Store, tmp_path: Path, hpa: Hpa, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", twins.path, "--folds", 2, "--epochs", 1, "--image-size", 80, "--batch-size", 6, "--out")
    monkeypatch.setattr(relations, "NEAR_BUDGET_S", 0.0)
    told = hpa(*words, tmp_path / "exact").err
    assert told.index("Leak check: exact duplicates were looked for, near duplicates were not;") < told.index("epoch")
    assert "Warning: near duplicates were not looked for, " in told


def test_looking_for_duplicates_is_refused_where_it_has_no_effect(twins: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("train", twins.path, "--folds", 2, "--out", tmp_path / "a", "--legacy-leak", "--duplicates", "near")
    assert_refused(hpa(*words), "--duplicates: it has no effect")


def test_a_recipe_without_the_setting_looks_for_duplicates() -> None:
    assert make_config({}).duplicates == DEFAULTS.duplicates == "auto"
    with pytest.raises(
        InputError, match="duplicates must be one of auto, near, exact, ignore. Received: duplicates='n"
    ):
        make_config({"duplicates": "none"})
