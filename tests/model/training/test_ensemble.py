"""Ensembles: runs like any other, made of runs over the same samples and folds."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.commands.ensemble import describe_contributions
from hpa_model.config import TrainConfig
from hpa_model.evaluation.scores import score_run
from hpa_model.predict import predict_submission
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import BEST_FILE, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.training.baseline import train_baseline
from hpa_model.training.ensemble import join_runs
from tests.builders import (
    RUN_CLASSES,
    Hpa,
    Killed,
    assert_refused,
    build_store,
    kill_at_rename,
    make_rows,
    make_run,
    unseal_run,
)

CELLS = Dataset(
    name="cells",
    channels=(Channel(name="DNA"), Channel(name="GFP", role="signal"), Channel(name="ER")),
    classes=("round", "flat"),
    height=32,
    width=32,
)
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 12 samples of three channels; not to be changed."""
    labels = np.eye(2, dtype=np.uint8)[np.arange(12) % 2]
    return build_store(tmp_path_factory.mktemp("cells") / "a.zarr", CELLS, labels)


@pytest.fixture(scope="module")
def members(cells: Store, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fit a small baseline on each of two channels; not to be changed."""
    folder = tmp_path_factory.mktemp("members")
    for channel in ("ER", "DNA"):
        config = TrainConfig(channels=(channel,), folds=2)
        train_baseline(cells, config, folder / channel, settings=BaselineSettings(n_trees=3), threads=1)
    return [folder / "ER", folder / "DNA"]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a run of three folds, with files in place of its models, some changes to its rows and description."""

    def write(name: str, rows: OutOfFold, **changes: object) -> Path:
        run = make_run(tmp_path / name, rows)
        replace(read_run(run), **changes).write(run)  # type: ignore[arg-type]
        for fold in range(3):
            (run / f"fold{fold}" / BEST_FILE).write_bytes(f"{name} {fold}".encode())
        return run

    return write


def copy_members(members: list[Path], to: Path) -> list[Path]:
    for member in members:
        shutil.copytree(member, to / member.name)
    return [to / member.name for member in members]


def read_probs(run: Path, store: Store, out: Path, **arguments: object) -> np.ndarray:
    predict_submission(run, store.path, out.with_suffix(".csv"), parts=["train"], probs=out, **arguments)  # type: ignore[arg-type]
    with np.load(out) as file:
        return file["probs"]


@pytest.mark.parametrize("method", [pytest.param("mean", marks=pytest.mark.slow), "weighted"])
def test_an_ensemble_of_two_copies_of_a_run_scores_exactly_as_the_run(method: str, make: Make, tmp_path: Path) -> None:
    runs = [make(name, make_rows()) for name in ("one", "two")]
    finished = join_runs(runs, tmp_path / "both", method=method)  # type: ignore[arg-type]
    assert asdict(finished.scores) == asdict(score_run(runs[0]))
    assert [member.adds for member in finished.contributions.members] == [0, 0]
    assert [member.low for member in finished.contributions.members] == [0, 0]
    header, one, two, _ = describe_contributions(finished.contributions).splitlines()
    channels = ["red,", "green,", "blue,", "yellow"]
    weight = ["weight"] if method == "weighted" else []
    assert header.split() == ["member", "channels", *weight, "alone", "without", "adds", "95", "%", "interval"]
    assert one.split()[: 5 + len(weight)] == ["one", *channels, *(["0.500"] if weight else [])]
    assert two.split()[-4:] == ["+0.000", "+0.000", "to", "+0.000"]


@pytest.mark.slow
def test_what_a_member_adds_is_what_the_others_score_without_it(make: Make, tmp_path: Path) -> None:
    runs = [make(name, make_rows(seed=seed)) for seed, name in enumerate(("one", "two", "three"))]
    labels = read_out_of_fold(runs[0]).labels
    for run in runs[1:]:
        rows = read_out_of_fold(run)
        shutil.rmtree(run)
        make(run.name, replace(rows, labels=labels))
    found = join_runs(runs, tmp_path / "all", method="weighted")
    for number, member in enumerate(found.contributions.members):
        others = [run for run in runs if run != runs[number]]
        without = join_runs(others, tmp_path / f"without-{number}", method="weighted").scores.headline
        assert member.without == pytest.approx(without)
        assert member.adds == pytest.approx(found.scores.headline - without)
        assert member.low <= member.adds <= member.high
        assert member.alone == pytest.approx(score_run(runs[number]).headline)
    assert sum(member.weight or 0 for member in found.contributions.members) == pytest.approx(1)


@pytest.mark.parametrize(
    "method", ["mean", *(pytest.param(name, marks=pytest.mark.slow) for name in ("weighted", "stacked"))]
)
def test_predictions_join_those_of_the_members_each_on_its_channels(
    method: str, members: list[Path], cells: Store, tmp_path: Path
) -> None:
    out = tmp_path / "joined"
    join_runs(members, out, method=method)  # type: ignore[arg-type]
    description = read_run(out)
    assert (description.channels, description.image_shape) == (("DNA", "ER"), (32, 32, 2))
    rows = read_out_of_fold(out)
    of_members = np.stack([read_out_of_fold(member).probs for member in members])
    for fold in range(2):
        found = read_probs(out, cells, tmp_path / "a.npz", folds=[fold])
        alone = np.stack([read_probs(member, cells, tmp_path / "b.npz", folds=[fold]) for member in members])
        in_fold = rows.folds == fold
        assert (alone[:, in_fold] == of_members[:, in_fold]).all()
        if method == "mean":
            assert found == pytest.approx(alone.mean(axis=0), abs=1e-6)
            assert found[in_fold] == pytest.approx(rows.probs[in_fold], abs=1e-6)


@pytest.mark.slow
def test_an_ensemble_is_a_run_for_every_command(members: list[Path], cells: Store, tmp_path: Path, hpa: Hpa) -> None:
    out = tmp_path / "joined"
    ended = hpa("ensemble", *members, "--out", out, "--method", "stacked")
    assert ended.status == 0, ended.err
    header, er, dna = ended.out[ended.out.index("member ") :].splitlines()[:3]
    assert header.split()[:4] == ["member", "channels", "alone", "without"]
    assert (er.split()[:2], dna.split()[:2]) == (["ER", "ER"], ["DNA", "DNA"])
    assert json.loads(hpa("evaluate", out, "--json").out)["n_samples"] == 12
    page = (out / "report.html").read_text()
    assert "ensemble of 2 runs, stacked" in page
    assert 'id="figure-members"' in page
    assert 'id="figure-left-out"' in page
    assert hpa("compare", out, *members).status == 0
    assert hpa("verify", out).status == 0
    ended = hpa("predict", out, cells.path, "--part", "train", "--out", tmp_path / "a.csv")
    assert (ended.status, len((tmp_path / "a.csv").read_text().splitlines())) == (0, 13)
    again = hpa("ensemble", *members, "--out", out, "--method", "stacked")
    assert again.status == 0
    assert_refused(hpa("ensemble", *members, "--out", out), "differs in method (stacked there, mean here). Use the")
    assert_refused(hpa("ensemble", out, members[0], "--out", tmp_path / "b"), "it is an ensemble of 2 runs, without")
    for words in (("finetune", out, "--store", cells.path), ("train", cells.path, "--weights", out, "--out", "x")):
        assert_refused(hpa(*words), f"{out}: it is an ensemble of 2 runs, without models of its own. Pass one of its")
    assert_refused(hpa("predict", out, cells.path, "--part", "train", "--tta"), "tta must be off for a baseline")


@pytest.mark.slow
def test_members_are_found_where_they_were_and_beside_the_ensemble(
    members: list[Path], cells: Store, tmp_path: Path
) -> None:
    moved = copy_members(members, tmp_path / "deep" / "runs")
    join_runs(moved, tmp_path / "deep" / "joined")
    expected = read_probs(tmp_path / "deep" / "joined", cells, tmp_path / "a.npz")
    (tmp_path / "deep").rename(tmp_path / "together")  # as far from the ensemble as they were
    assert (read_probs(tmp_path / "together" / "joined", cells, tmp_path / "b.npz") == expected).all()
    (tmp_path / "together" / "joined").rename(tmp_path / "together" / "runs" / "joined")  # beside it
    run = tmp_path / "together" / "runs" / "joined"
    assert (read_probs(run, cells, tmp_path / "c.npz") == expected).all()
    assert verify_run(run).findings == ()
    (run.parent / "DNA").rename(tmp_path / "DNA")
    message = f"its member DNA is neither at {moved[1]} nor beside the ensemble. Put it back there, or make the"
    with pytest.raises(InputError, match=message):
        read_probs(run, cells, tmp_path / "d.npz")
    assert any(message in finding for finding in verify_run(run).findings)
    score_run(run)  # which needs no member


def test_a_member_that_was_changed_is_refused(members: list[Path], cells: Store, tmp_path: Path) -> None:
    runs = copy_members(members, tmp_path)
    join_runs(runs, tmp_path / "joined")
    unseal_run(runs[0])
    shutil.copy(runs[0] / "fold0" / "baseline.npz", runs[0] / "fold1" / "baseline.npz")
    message = "its member .*/ER was changed since they were joined, the model of fold 1, .* is another one"
    with pytest.raises(InputError, match=message):
        read_probs(tmp_path / "joined", cells, tmp_path / "a.npz")
    read_probs(tmp_path / "joined", cells, tmp_path / "a.npz", folds=[0])  # does without that model
    assert len(verify_run(tmp_path / "joined").findings) == 1


def shift(rows: OutOfFold, **changes: object) -> OutOfFold:
    return replace(rows, **changes)  # type: ignore[arg-type]


ROWS = make_rows()
OTHER_LABELS = ROWS.labels.copy()
OTHER_LABELS[4, 0] ^= 1
DIFFERENCES = {
    "folds": (
        shift(ROWS, folds=np.roll(ROWS.folds, 1)),
        {},
        "the folds of samples (sample-00 is in 0 and 2; 90 in all)",
    ),
    "labels": (shift(ROWS, labels=OTHER_LABELS), {}, "labels (of sample-04; of 1 samples in all)"),
    "samples": (shift(ROWS, ids=["new", *ROWS.ids[1:]]), {}, "samples (new is in one of them alone; 2 in all)"),
    "fingerprints": (ROWS, {"fingerprints": {"train": "xyz"}}, "part train (it was converted again, or is of another"),
    "classes": (ROWS, {"classes": (*RUN_CLASSES[:3], "other")}, "classes (4 and 4; Never $seen$)"),
    "parts": (
        ROWS,
        {"config": TrainConfig(parts=("train", "more")), "fingerprints": {"train": "abc", "more": "d"}},
        "parts (train and train, more)",
    ),
}


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_runs_that_differ_are_refused_by_name_and_difference(kind: str, make: Make, tmp_path: Path) -> None:
    rows, changes, difference = DIFFERENCES[kind]
    one, other = make("one", ROWS), make("other", rows, **changes)
    with pytest.raises(InputError) as refused:
        join_runs([one, other], tmp_path / "out")
    start = f"Cannot join {one} and {other}: they differ in "
    assert str(refused.value).startswith(start)
    assert difference in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_rows_in_another_order_are_joined_by_their_ids(make: Make, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(90)
    other = OutOfFold(
        ids=[ROWS.ids[i] for i in order],
        labels=ROWS.labels[order],
        probs=ROWS.probs[order],
        folds=ROWS.folds[order],
    )
    runs = [make("one", ROWS), make("other", other)]
    assert (join_runs(runs, tmp_path / "out") and read_out_of_fold(tmp_path / "out").probs == ROWS.probs).all()


def test_an_ensemble_has_seen_what_one_of_its_members_has(make: Make, tmp_path: Path) -> None:
    runs = [make("one", ROWS, n_seen=2), make("other", ROWS, n_seen_unlabeled=5)]
    join_runs(runs, tmp_path / "out")
    description = read_run(tmp_path / "out")
    assert (description.n_seen, description.n_seen_unlabeled) == (2, 5)


def test_an_ensemble_of_other_members_is_not_resumed(make: Make, tmp_path: Path) -> None:
    runs = [make(name, replace(ROWS, probs=ROWS.probs**power)) for power, name in enumerate(("a", "b", "c"), 1)]
    join_runs(runs[:2], tmp_path / "out")
    description = read_run(runs[2])
    replace(description, config=replace(description.config, batch_size=5)).write(runs[2])
    with pytest.raises(InputError, match=r"it differs in members \(2 there, 3 here\)\. Use the same"):
        join_runs(runs, tmp_path / "out")


def test_what_cannot_be_joined_gets_one_line(make: Make, tmp_path: Path, hpa: Hpa) -> None:
    one, other = make("one", ROWS), make("other", ROWS)
    out = ("--out", tmp_path / "out")
    assert_refused(hpa("ensemble", one, *out), "runs must be at least two, each named once. Received: ")
    assert_refused(hpa("ensemble", one, one, *out), "each named once")
    assert_refused(hpa("ensemble", one, other, "--out", one), "out must be another folder than the runs")
    assert_refused(hpa("ensemble", one, tmp_path, *out), "Pass a folder that `hpa train` wrote.")
    (other / "fold1" / BEST_FILE).unlink()
    assert_refused(hpa("ensemble", one, other, *out), f"Cannot join {other}: {other}/fold1/best.keras is missing or")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_ensemble_that_is_killed_anywhere_is_finished_by_the_same_call(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [make("one", ROWS), make("other", replace(ROWS, probs=ROWS.probs[::-1].copy()))]
    kill_after = kill_at_rename(monkeypatch)
    expected = join_runs(runs, tmp_path / "whole", method="weighted")
    for renames in range(1, 30):
        kill_after(renames)
        try:
            join_runs(runs, tmp_path / "out", method="weighted")
        except Killed:
            continue
        break
    kill_after(0)
    found = join_runs(runs, tmp_path / "out", method="weighted")
    assert found.scores == expected.scores
    assert verify_run(tmp_path / "out").findings == ()
    assert verify_run(tmp_path / "out").unsealed == ()


@pytest.mark.slow
def test_four_networks_of_one_channel_each_are_joined_end_to_end(tmp_path: Path, hpa: Hpa) -> None:
    store = tmp_path / "a.zarr"
    assert hpa("synth", tmp_path / "files", "--samples", "32").status == 0
    files = tmp_path / "files" / "train"
    converted = hpa("convert", files, store, "--labels", tmp_path / "files" / "train.csv", "--image-size", "64")
    assert converted.status == 0, converted.err
    runs = [tmp_path / name for name in ("red", "green", "blue", "yellow")]
    small = ("--image-size", "32", "--model", "gapnet-pl", "--folds", "2", "--epochs", "1", "--batch-size", "8")
    for run in runs:
        assert hpa("train", store, "--channels", run.name, "--out", run, *small).status == 0
    joined = tmp_path / "joined"
    ended = hpa("ensemble", *runs, "--out", joined, "--method", "weighted")
    assert ended.status == 0, ended.err
    assert read_run(joined).channels == ("red", "green", "blue", "yellow")
    assert read_run(joined).config.channels == ()
    page = (joined / "report.html").read_text()
    assert 'id="figure-members"' in page
    assert "No images." not in page
    rows = read_out_of_fold(joined)
    of_store = read_probs(joined, open_store(store), tmp_path / "store.npz", folds=[1])
    in_fold = rows.folds == 1
    # By the weights of all rows, in place of those of the other fold.
    assert of_store[in_fold] == pytest.approx(rows.probs[in_fold], abs=0.1)
    predict_submission(joined, files, tmp_path / "files.csv", probs=tmp_path / "files.npz", folds=[1])
    with np.load(tmp_path / "files.npz") as found:
        assert found["probs"] == pytest.approx(of_store, abs=1e-5)
    averaged = read_probs(joined, open_store(store), tmp_path / "tta.npz", folds=[1], tta=True)
    assert 0 < np.abs(averaged - of_store).max() < 0.5
    assert (
        hpa("baseline", store, "--folds", "2", "--fold-method", "stratified", "--out", tmp_path / "floor").status == 0
    )
    assert hpa("ensemble", *runs, tmp_path / "floor", "--out", tmp_path / "mixed", "--method", "stacked").status == 0
    assert read_probs(tmp_path / "mixed", open_store(store), tmp_path / "mixed.npz").shape == (32, 28)
    assert hpa("verify", joined).status == hpa("verify", tmp_path / "mixed").status == 0
