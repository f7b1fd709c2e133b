"""Finished folds are not trained again."""

import dataclasses
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.runs.folder import read_history
from hpa_model.training.train import train
from tests.model.stopping import CONFIG, FOLD_FILES, Killed


def test_a_finished_run_is_only_scored_again(run: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}

    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be trained")

    scores = train(store, CONFIG, run, progress=Progress(advance=fail))
    assert scores.n_samples == 12
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("fold*/*")}


def test_tables_are_written_again_after_a_kill_between_checkpoint_and_tables(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = dataclasses.replace(CONFIG, epochs=1, batch_size=6), tmp_path / "run"

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
