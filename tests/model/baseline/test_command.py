"""`hpa baseline`: a run folder like any other, over the folds of a network, which resumes."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused, assert_same_bytes


@pytest.fixture(scope="module")
def baseline(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a baseline. Tests must not change it."""
    from hpa_model.baseline.settings import BaselineSettings
    from hpa_model.config import TrainConfig
    from hpa_model.training.baseline import train_baseline

    out = tmp_path_factory.mktemp("baselines") / "baseline"
    train_baseline(store, TrainConfig(folds=2), out, settings=BaselineSettings(n_trees=20), threads=1)
    return out


def test_the_command_writes_a_run_that_is_scored_and_says_what_each_classifier_reaches(
    store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    out = tmp_path / "run"
    ended = hpa("baseline", store.location, "--out", out, "--folds", 2, "--image-size", 32)
    assert ended.status == 0, ended.err
    assert "extra trees (this run)" in ended.out
    assert "logistic regression" in ended.out
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "folds.csv", "out_of_fold.npz", "scores.json", "thresholds.json", "report.html"} <= names
    config = json.loads((out / "config.json").read_text())
    assert config["config"]["model"] == "baseline"
    assert config["baseline"]["model"] == "trees"
    with (out / "importances.csv").open(newline="") as file:
        importances = [float(row["importance"]) for row in csv.DictReader(file)]
    assert importances == sorted(importances, reverse=True)
    again = hpa("baseline", store.location, "--out", out, "--folds", 2, "--image-size", 32)
    assert again.status == 0, again.err
    assert "Resuming" in again.err
    assert again.out == ended.out


def test_the_folds_are_those_of_a_network(store: Store, run: Path, tmp_path: Path) -> None:
    from hpa_model.baseline.settings import BaselineSettings
    from hpa_model.runs.folder import read_run
    from hpa_model.training.baseline import train_baseline

    settings = BaselineSettings(n_trees=20, image_size=32)
    train_baseline(store, read_run(run).config, tmp_path / "baseline", settings=settings, threads=1)
    assert_same_bytes(run / "folds.csv", tmp_path / "baseline" / "folds.csv")


def test_runs_are_compared_with_a_baseline_which_has_no_loss_and_no_epochs(baseline: Path, run: Path, hpa: Hpa) -> None:
    ended = hpa("compare", baseline, run)
    assert ended.status == 0, ended.err
    table = [line.split() for line in ended.out.partition("\n\n")[0].splitlines()]
    assert {tuple(row[:2]) for row in table[-2:]} == {("baseline", "baseline"), ("run", "gapnet")}
    assert "nan" not in ended.out
    rows = {row["run"]: row for row in json.loads(hpa("compare", baseline, run, "--json").out)["rows"]}
    assert (rows["baseline"]["loss"], rows["run"]["loss"]) == ("", "bce")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--part test", "a part was converted without a label table"),
        ("--part nowhere", "nowhere"),
        ("--folds 1", "folds must be at least 2 for a baseline"),
        ("--folds 99", "folds"),
        ("--image-size 4", "image_size must be from 16"),
        ("--fold-method contiguous --legacy-leak", "--legacy-leak"),
    ],
)
def test_what_cannot_be_fitted_gets_one_line_and_status_2(
    words: str, message: str, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    assert_refused(hpa("baseline", store.location, "--out", tmp_path / "run", *words.split()), message)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused(store: Store, run: Path, baseline: Path, hpa: Hpa) -> None:
    for folder, message in (
        (run, "model (gapnet there, baseline here)"),
        (baseline, "model (trees there, mean here)"),
    ):
        ended = hpa("baseline", store.location, "--out", folder, "--folds", 2, "--model", "mean")
        assert ended.status == 2
        assert message in ended.err.splitlines()[-1]


def test_predictions_are_the_mean_of_the_folds_for_a_store_and_for_files_alike(
    baseline: Path, store: Store, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    written = []
    for name, source in (("store", store.location), ("files", kaggle / "test")):
        ended = hpa("predict", baseline, source, "--out", tmp_path / f"{name}.csv", "--probs", tmp_path / f"{name}.npz")
        assert ended.status == 0, ended.err
        with np.load(tmp_path / f"{name}.npz") as file:
            written.append(dict(file))
    assert {*written[0]["id"]} == {"new-0", "new-1", "new-2"}
    assert np.array_equal(written[0]["probs"], written[1]["probs"])
    assert (tmp_path / "store.csv").read_text() == (tmp_path / "files.csv").read_text()


def test_probabilities_of_a_store_are_those_that_the_folds_were_scored_with(baseline: Path, store: Store) -> None:
    from hpa_model.predict.models import load_models, predict_probs
    from hpa_model.runs.folder import read_run
    from hpa_model.runs.out_of_fold import read_out_of_fold

    rows = read_out_of_fold(baseline)
    with store.reader(["train"]) as reader:
        for fold in range(2):
            models = load_models(baseline, read_run(baseline), [fold])
            probs = predict_probs(models, reader, np.flatnonzero(rows.folds == fold), 5)
            assert np.array_equal(probs, rows.probs[rows.folds == fold])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict {run} {store} --tta", "tta must be off for a baseline"),
        ("finetune {run}", "Cannot fine-tune {run}: it is a baseline"),
        ("train {store} --out {run}-2 --folds 2 --weights {run}", "{run}: it is a baseline"),
        ("train {store} --out {run} --folds 2", "model (baseline there, gapnet here)"),
    ],
)
def test_what_only_networks_do_is_refused(words: str, message: str, baseline: Path, store: Store, hpa: Hpa) -> None:
    names = {"run": str(baseline), "store": str(store.location)}
    ended = hpa(*[word.format(**names) for word in words.split()])
    assert ended.status == 2
    assert message.format(**names) in ended.err.splitlines()[-1]


def test_predicting_with_a_baseline_loads_no_keras(baseline: Path, store: Store, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from hpa_model.predict import predict_submission
predict_submission(Path({str(baseline)!r}), {str(store.location)!r}, Path({str(tmp_path / "out.csv")!r}))
print({{"keras", "tensorflow", "sklearn"}} & set(sys.modules) or "none")
"""
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "none\n"
