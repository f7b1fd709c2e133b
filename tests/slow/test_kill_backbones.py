"""Backbones of `keras.applications` from weights in a file, killed in both stages, for `make test-slow`."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.synth import write_samples
from hpa_model.nets.backbones import BACKBONES
from hpa_model.runs.folder import read_run
from tests.builders import Hpa, convert
from tests.slow.contents import assert_same_work
from tests.slow.killing import after_step, find_place, finish, kill_when

pytestmark = pytest.mark.slow

# One epoch of the classification head alone, one of all layers, each of at least two steps.
STAGES = ("--folds", "2", "--epochs", "2", "--set", "head_epochs=1", "--set", "backbone_rate_factor=0.1")
OFTEN = ("--set", "deterministic=true", "--checkpoint-minutes", "0")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of 16 synthetic samples to train on, and 3 to predict."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_samples(folder / "samples", n_samples=16, n_test=3, seed=0)
    convert(folder / "samples" / "train", folder / "a.zarr", labels=folder / "samples" / "train.csv")
    convert(folder / "samples" / "test", folder / "a.zarr", part="test")
    return folder / "a.zarr"


def save_weights(name: str, path: Path) -> Path:
    """Save random weights of a network as `keras.applications` has it, for three channels."""
    keras.utils.set_random_seed(7)
    model = BACKBONES[name].application(include_top=False, weights=None, pooling="avg", input_shape=(96, 96, 3))
    model.save_weights(path)
    return path


def check_kills(words: tuple[object, ...], tmp_path: Path) -> Path:
    """Train whole, and killed in each stage, each of another fold; the results must be the same. Return the run."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"  # runs of the same name, which their reports have
    for folder in (whole, killed):
        folder.mkdir()
    told = finish(*words, "--out", "run", cwd=whole)
    assert "first the classification head alone, for 1 epoch; all layers at 0.1 of that rate" in told
    for fold, epoch in ((0, 0), (1, 1)):
        folder = killed / "run" / f"fold{fold}"
        assert kill_when(after_step(folder, epoch, 1), *words, "--out", "run", cwd=killed)
        # Killed where it was meant to be: neither the stage nor the fold was at its end.
        place = find_place(folder)
        assert (epoch, 1) <= place < (epoch + 1, 0), place
    finish(*words, "--out", "run", cwd=killed)
    assert_same_work(whole, killed)
    return killed / "run"


def check_commands(run: Path, store: Path, part: str, hpa: Hpa) -> None:
    """Evaluate, compare, verify a run and predict with it: as any other."""
    assert hpa("evaluate", run).status == 0
    page = (run / "report.html").read_text()
    assert "Started from the weights of " in page
    assert "No images." not in page
    assert read_run(run).config.model in hpa("compare", run).out
    out, probs = run.parent / "a.csv", run.parent / "a.npz"
    ended = hpa("predict", run, store, "--part", part, "--out", out, "--probs", probs)
    assert ended.status == 0, ended.err
    with out.open(newline="") as file, np.load(probs) as found:
        assert len(list(csv.DictReader(file))) == len(found["probs"])
        assert np.isfinite(found["probs"]).all()
        assert found["probs"].std() > 0
    assert hpa("verify", run).status == 0


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_killed_in_either_stage_ends_with_the_same_bytes(
    name: str, synthetic: Path, tmp_path: Path, hpa: Hpa
) -> None:
    weights = save_weights(name, tmp_path / "w.weights.h5")
    words = ("train", synthetic, "--model", name, "--weights", weights, *STAGES, *OFTEN)
    size = max(BACKBONES[name].min_size, 32)
    run = check_kills((*words, "--batch-size", "4", "--image-size", size), tmp_path)
    check_commands(run, synthetic, "test", hpa)


@pytest.mark.realdata
def test_a_backbone_on_the_sixty_real_samples_killed_in_either_stage_ends_with_the_same_bytes(
    real_data: Path, tmp_path: Path, hpa: Hpa
) -> None:
    store = tmp_path / "a.zarr"
    convert(real_data / "kaggle" / "train", store, labels=real_data / "kaggle" / "train.csv")
    weights = save_weights("resnet50v2", tmp_path / "w.weights.h5")
    words = ("train", store, "--recipe", "resnet50v2", "--weights", weights, *STAGES, *OFTEN)
    run = check_kills((*words, "--batch-size", "10", "--image-size", "128", "--set", "stem=channel-map"), tmp_path)
    check_commands(run, store, "train", hpa)
