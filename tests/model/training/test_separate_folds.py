"""Folds of one run that are trained one at a time, by several processes at once: the run is what one process makes."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.commands.trained import encode_runs
from hpa_model.config import TrainConfig
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.check import verify_run
from hpa_model.training.claims import Missing
from hpa_model.training.train import TrainedRun, describe_missing, train, train_run
from tests.model.stopping import TINY, Killed
from tests.sharing import make_once
from tests.slow.contents import digest_folder

TWO = replace(TINY, epochs=1)


@pytest.fixture(scope="module")
def whole(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train all folds of a run one after the other."""
    return make_once(tmp_path_factory, "whole", lambda folder: train(store, TWO, folder / "run")) / "run"


def train_beside(
    store: Store,
    out: Path,
    folds: Sequence[int] | None,
    *others: Sequence[int] | None,
    config: TrainConfig = TWO,
    note: Callable[[str], None] = lambda line: None,
) -> list[object]:
    """Train folds of a run, and at the first step others; return what these give or how they are refused, then it."""
    results: list[object] = []

    def train_others(_: int) -> None:
        if not results:
            for other in others:
                results.append("it runs")
                try:
                    results[-1] = train_run(store, config, out, folds=other)
                except InputError as error:
                    results[-1] = str(error)

    trained = train_run(store, config, out, folds=folds, progress=Progress(advance=train_others, note=note))
    return [*results, trained]


def list_missing(trained: object) -> list[tuple[int, bool]]:
    """Return the folds that are missing, and whether a process trains them."""
    assert isinstance(trained, TrainedRun)
    assert bool(trained.missing) == (trained.scores is None)
    return [(each.fold, bool(each.holder)) for each in trained.missing]


def test_folds_that_are_trained_at_once_make_the_run_that_one_process_makes(
    store: Store, whole: Path, tmp_path: Path
) -> None:
    out, others = tmp_path / "run", []

    def begin_too(_: str) -> None:
        if not others:  # the first process has seen that there is no run yet
            others.append(None)
            others[0] = train_run(store, TWO, out, folds=[1])

    same, every, first = train_beside(store, out, [0], [0], None, note=begin_too)
    assert "Cannot train fold 0 of" in str(same)
    assert "trains it. Wait for it, or stop it; or pass another --fold" in str(same)
    assert list_missing(others[0]) == [(0, False)]
    assert f"Cannot write to the run {out}: process" in str(every)
    assert list_missing(first) == []
    assert digest_folder(out) == digest_folder(whole)


def test_a_killed_fold_is_resumed_and_the_run_scored_by_the_last_process(
    store: Store, whole: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", []

    def try_others(_: int) -> None:
        for config, overwrite in ((TWO, True), (replace(TWO, epochs=2), False), (replace(TWO, seed=8), False)):
            with pytest.raises(InputError) as error:
                train_run(store, config, out, folds=[0], overwrite=overwrite)
            errors.append(str(error.value))
        raise Killed

    with pytest.raises(Killed):
        train_run(store, TWO, out, folds=[1], progress=Progress(advance=try_others))
    assert "is writing to it, as it trains fold 1. Wait for it, or stop it" in errors[0]
    assert f"Cannot write to the run {out} for longer: " in errors[1]
    assert "it differs in seed (7 there, 8 here)" in errors[2]
    for name in ("fold1/.lock", ".lock", ".seal.lock"):  # as a killed process leaves them
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
    assert list_missing(train_run(store, TWO, out, folds=[0])) == [(1, False)]
    with pytest.raises(InputError, match=r"it is not finished, .* is missing, as fold 1 is\. .*; with --fold 1, it"):
        score_run(out)
    assert verify_run(out).findings == ()
    assert list_missing(train_run(store, TWO, out, folds=[1, 1])) == []
    assert digest_folder(out) == digest_folder(whole)
    assert verify_run(out).unsealed == ()


def test_a_run_whose_last_process_was_killed_as_it_gathered_is_gathered_by_any_other(
    store: Store, whole: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in ("out_of_fold.npz", "scores.json", "thresholds.json"):
        (out / name).unlink()
    assert list_missing(train_run(store, TWO, out, folds=[0])) == []
    assert digest_folder(out) == digest_folder(whole)


@pytest.mark.parametrize("folds", [[2], [-1], [], [0, 3]])
def test_a_fold_that_the_run_does_not_have_is_refused_before_anything_is_written(
    store: Store, tmp_path: Path, folds: list[int]
) -> None:
    with pytest.raises(InputError, match=r"fold must be from 0 to 1, as the run has 2\. Received: "):
        train_run(store, TWO, tmp_path / "run", folds=folds)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_training_of_all_folds_takes_those_that_nobody_trains(store: Store, tmp_path: Path) -> None:
    three = replace(TWO, folds=3)
    train(store, three, tmp_path / "whole")
    for folds, others, missing in (
        ([1], [None], [[(1, True)]]),
        ([0], [[2], [1]], [[(0, True), (1, False)], [(0, True)]]),
    ):
        out = tmp_path / f"run-{folds}"
        *results, first = train_beside(store, out, folds, *others, config=three)
        assert [list_missing(result) for result in results] == missing
        assert list_missing(first) == []
        assert digest_folder(out) == digest_folder(tmp_path / "whole")


def test_json_tells_that_a_run_is_not_finished_and_what_is_missing(tmp_path: Path) -> None:
    missing = (Missing(fold=1, holder="process 7 on here"), Missing(fold=2, holder=""), Missing(fold=4, holder=""))
    told = encode_runs([TrainedRun(run=tmp_path, scores=None, missing=missing)])
    assert (told["finished"], told["report"]) == (False, None)
    assert told["missing"] == [{"fold": 1, "holder": "process 7 on here"}, *({"fold": n, "holder": ""} for n in (2, 4))]
    assert describe_missing(missing) == (
        "fold 1 is being trained by process 7 on here; folds 2, 4 are missing. Run the same command with --fold 2 "
        "--fold 4."
    )
    assert describe_missing(missing[:1]).endswith("here. The last process to finish scores the run.")
