"""A baseline that is killed after each of its writes in turn: the seal of the run is healed (`make test-slow`)."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import TrainConfig
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import CONFIG_FILE
from hpa_model.runs.seal import SEAL_FILE
from hpa_model.training.baseline import train_baseline
from tests.builders import Killed, build_store, kill_at_rename, list_files

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_is_killed_after_any_write_is_sealed_whole_once_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    labels = np.random.default_rng(0).random((40, 28)) < 0.2
    store = build_store(tmp_path / "a.zarr", HPA_2018.resized(32, 32), labels)

    def make(out: Path, *, again: bool = False, seed: int = 0) -> None:
        settings = BaselineSettings(n_trees=5, image_size=32)
        train_baseline(store, TrainConfig(folds=2, seed=seed), out, settings=settings, overwrite=again)

    make(tmp_path / "other", seed=1)
    whole = tmp_path / "whole"
    make(whole)
    done = verify_run(whole)
    assert (done.findings, done.unsealed) == ((), ())
    kill_after = kill_at_rename(monkeypatch)
    n_kills = 0
    while True:
        out = tmp_path / f"run{n_kills}"
        if overwrite:
            shutil.copytree(tmp_path / "other", out)
        kill_after(n_kills + 1)
        try:
            make(out, again=overwrite)
        except Killed:
            n_kills += 1
        else:
            break
        kill_after(0)
        assert not (out / CONFIG_FILE).exists() or verify_run(out).findings == ()
        try:
            make(out)
        except InputError:  # the old run is still there
            make(out, again=overwrite)
        done = verify_run(out)
        assert (done.findings, done.unsealed) == ((), ())
        assert list_files(out) == list_files(whole)
        for name in set(list_files(out)) - {CONFIG_FILE, SEAL_FILE}:  # which have the time of the beginning
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
        shutil.rmtree(out)
    print(f"{n_kills} kills")
    assert n_kills > 15
