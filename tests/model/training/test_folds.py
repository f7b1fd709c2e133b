"""Finished folds are not trained again."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.predict.chosen import choose_models
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import read_history
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.job import Checkpointing
from hpa_model.training.train import train
from tests.model.stopping import CONFIG, FOLD_FILES, TINY, Killed, assert_same_models, stop_at


def test_a_finished_run_is_only_scored_again(run: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}

    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be trained")

    scores = train(store, CONFIG, run, progress=Progress(advance=fail))
    assert scores.n_samples == 12
    assert read_out_of_fold(run).groups is None  # no two samples are related
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}


@pytest.mark.slow
def test_tables_are_written_again_after_a_kill_between_checkpoint_and_tables(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = dataclasses.replace(TINY, epochs=1, batch_size=6), tmp_path / "run"

    def stop(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("hpa_model.training.callback.write_history", stop)
    with pytest.raises(Killed):
        train(store, config, out)
    (out / "fold0" / ".probs.npz.1-2.part").touch()
    monkeypatch.undo()
    planned: list[int] = []
    train(store, config, out, progress=Progress(start=planned.append))
    assert planned == [6]  # images of the other fold; this fold has finished its only epoch
    assert list(map(len, read_history(out, 2))) == [1, 1]
    assert {path.name for path in (out / "fold0").iterdir()} == FOLD_FILES


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_epochs_to_the_same_weights(run: Path, store: Store, tmp_path: Path) -> None:
    longer = dataclasses.replace(CONFIG, epochs=3)
    train(store, longer, tmp_path / "whole")
    out = tmp_path / "run"
    shutil.copytree(run, out)
    notes: list[str] = []
    with pytest.raises(Killed):
        train(store, longer, out, progress=stop_at(2), checkpointing=Checkpointing(checkpoint_s=0))
    # Its thresholds are of the models that are being replaced.
    with pytest.raises(InputError, match=r"Cannot use run .*: it is not finished, thresholds\.json is missing"):
        choose_models(out)
    with pytest.raises(InputError, match=r"differs in epochs \(3 there, 2 here\)"):
        train(store, CONFIG, out)
    train(store, longer, out, progress=Progress(note=notes.append))
    assert notes[1] == f"Resuming {out} at fold 0, epoch 3, step 2"  # after the leak check
    assert_same_models(tmp_path / "whole", out)
    assert (read_out_of_fold(out).probs == read_out_of_fold(tmp_path / "whole").probs).all()
    assert read_run(out).config == longer


def test_a_finished_run_without_checkpoints_cannot_go_on(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    (out / "fold1" / "checkpoint.npz").unlink()
    assert train(store, CONFIG, out).n_samples == 12
    with pytest.raises(InputError, match=r"fold 1 has no checkpoint\.npz; versions before 0\.4\.0 .*--overwrite"):
        train(store, dataclasses.replace(CONFIG, epochs=3), out)
    assert read_run(out).config == CONFIG
