"""What version 0.1.0 wrote is read, checked, resumed and predicted with as it was then. See `make_fixtures.py`.

TensorFlow must not be imported before numcodecs, whose zstd would then be TensorFlow's and write other bytes.
"""

import csv
import filecmp
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.convert.execute import Conversion, convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import is_readable
from hpa_data.sources.options import ImportOptions
from hpa_data.stats.measure import measure_store
from hpa_data.store.store import open_store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.verify.check import verify_store
from tests.builders import assert_same_bytes, list_files

FIXTURES = Path(__file__).parent / "fixtures" / "v0_1_0"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
# States that later versions of verify distinguish.
NEW_STATES = {"unreadable_source": 0, "unreadable": 0}
PARTS = ("augmented", "test", "train")
FAILED_ID = "cell-08"
# As in make_fixtures.py.
MIN_COUNT, COPIES_SEED = 5, 132


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Copy the source and both stores, to be changed."""
    for name in ("source", "store.zarr", "unfinished.zarr"):
        shutil.copytree(FIXTURES / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def runs(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpack the runs beside the store, and let `gapnet` be their tiny network, as one of their own models has it."""
    from hpa_model.nets import NETS
    from hpa_model.runs.models import load_model

    with zipfile.ZipFile(FIXTURES / "runs.zip") as archive:
        archive.extractall(files)
    tiny = files / "tiny.keras"
    shutil.copy(files / "run" / "fold0" / "last.keras", tiny)
    monkeypatch.setitem(NETS, "gapnet", replace(NETS["gapnet"], build=lambda *_, **__: load_model(tiny)))
    return files


def convert_train(files: Path, store: str, progress: Progress = SILENT) -> Conversion:
    """Do `hpa convert source/train STORE --labels source/train.csv --missing fill --codec zstd`."""
    plan = plan_conversion(
        files / "source" / "train",
        files / store,
        labels=files / "source" / "train.csv",
        settings=ImportOptions(missing="fill"),
        codec="zstd",
    )
    return convert_files(plan, progress=progress)


def hash_pixels(store: Path, part: str) -> str:
    with open_store(store).reader([part]) as reader:
        return hashlib.sha256(reader.read(np.flatnonzero(is_readable(reader.status)).tolist())).hexdigest()


def assert_same_but_for_reasons(store: Path) -> None:
    """Compare part `train` and ``failures.csv`` with the fixture's; the reason of a failure is a message of today."""
    train, before = store / "train", FIXTURES / "store.zarr" / "train"
    names = list_files(train)
    assert names == list_files(before)
    assert filecmp.cmpfiles(train, before, names, shallow=False)[1:] == (["note/c/0"], [])
    old, new = (open_store(path.parent).part("train").read_notes() for path in (before, train))
    changed = {now[0]: then[0] for now, then in zip(new, old, strict=True) if now != then}
    assert [then for now, then in zip(new, old, strict=True) if now[1] != then[1]] == []
    assert list(changed) == [
        f"Cannot decode {FAILED_ID}_green.png: it is damaged (150 bytes: its end is missing). Fetch the file again."
    ]
    failures = (FIXTURES / "store.zarr" / "failures.csv").read_text()
    for now, then in changed.items():
        failures = failures.replace(then, now)
    with (store / "failures.csv").open() as one:
        assert list(csv.reader(one)) == list(csv.reader(failures.splitlines()))


def close_to(values: Any, tolerance: float = 1e-6) -> Any:
    return pytest.approx(np.array(values), rel=0, abs=tolerance)


def flatten(scores: Any) -> Iterator[Any]:
    """Yield all numbers and names of nested scores, whatever the order of the names."""
    if isinstance(scores, dict):
        for name, value in sorted(scores.items()):
            yield name
            yield from flatten(value)
    elif isinstance(scores, list | tuple):
        for value in scores:
            yield from flatten(value)
    else:
        yield scores


# Stores


@pytest.mark.parametrize("part", PARTS)
def test_a_part_opens_with_its_ids_states_and_pixels(part: str) -> None:
    store = open_store(FIXTURES / "store.zarr")
    opened, expected = store.part(part), EXPECTED["store"]
    assert store.parts() == list(PARTS)
    assert opened.ids == expected["ids"][part]
    assert opened.manifest.fingerprint == expected["fingerprints"][part]
    assert opened.read_status().tolist() == expected["parts"][part]["status"]
    assert hash_pixels(store.path, part) == expected["parts"][part]["sha256"]
    assert (opened.labels is None) == (part == "test")


def test_the_mapped_engine_reads_it() -> None:
    with open_store(FIXTURES / "store.zarr").reader(["train", "augmented"]) as reader:
        assert reader.engine == "mapped"
        assert (reader.parents[:9] == -1).all()
        assert [reader.ids[i] for i in reader.parents[9:]] == [name.split("-copy")[0] for name in reader.ids[9:]]


def test_its_statistics_are_the_same() -> None:
    done, expected = measure_store(open_store(FIXTURES / "store.zarr")), EXPECTED["store"]["stats"]
    assert done.labels is not None
    assert done.labels.copies is not None
    assert list(done.labels.counts) == expected["counts"]
    assert list(done.labels.copies) == expected["copies"]
    assert done.n_left_out == expected["n_left_out"]
    assert {of_part.part: list(of_part.mean) for of_part in done.intensities} == expected["mean"]
    assert {of_part.part: list(of_part.std) for of_part in done.intensities} == expected["std"]


def test_the_same_conversion_tries_what_failed_and_changes_nothing(files: Path) -> None:
    planned: list[int] = []
    done = convert_train(files, "store.zarr", Progress(start=planned.append))
    assert planned == [1]
    assert [failure.id for failure in done.failures] == [FAILED_ID]
    assert (done.n_samples, done.n_ok, done.n_filled) == (9, 8, 1)
    assert_same_but_for_reasons(files / "store.zarr")
    for part in ("augmented", "test"):
        assert_same_bytes(files / "store.zarr" / part, FIXTURES / "store.zarr" / part)


def test_the_same_conversion_of_a_whole_part_changes_nothing(files: Path) -> None:
    planned: list[int] = []
    convert_files(
        plan_conversion(files / "source" / "test", files / "store.zarr", part="test"),
        progress=Progress(start=planned.append),
    )
    assert planned == [0]
    assert_same_bytes(files / "store.zarr", FIXTURES / "store.zarr")


def test_a_file_repaired_since_is_converted_and_the_others_stay(files: Path) -> None:
    shutil.copy(files / "source" / "train" / "cell-01_green.png", files / "source" / "train" / f"{FAILED_ID}_green.png")
    before = open_store(files / "store.zarr").part("train").read_checksums()
    assert convert_train(files, "store.zarr").failures == ()
    part = open_store(files / "store.zarr").part("train")
    other = np.array([name != FAILED_ID for name in part.ids])
    assert (part.read_checksums()[other] == before[other]).all()
    counts = verify_store(files / "store.zarr", parts=["train"], source=files / "source" / "train").counts
    assert (counts["ok"], counts["filled"], counts["failed"]) == (8, 1, 0)


def test_the_same_copies_again_change_nothing(files: Path) -> None:
    planned: list[int] = []
    plan = plan_augmentation(open_store(files / "store.zarr"), min_count=MIN_COUNT, seed=COPIES_SEED)
    augment_store(plan, progress=Progress(start=planned.append))
    assert planned == [0]
    assert_same_bytes(files / "store.zarr", FIXTURES / "store.zarr")


def test_an_unfinished_conversion_ends_with_the_same_bytes(files: Path) -> None:
    assert verify_store(files / "unfinished.zarr").counts == EXPECTED["store"]["verify_unfinished"] | NEW_STATES
    done = convert_train(files, "unfinished.zarr")
    assert [failure.id for failure in done.failures] == [FAILED_ID]
    assert_same_but_for_reasons(files / "unfinished.zarr")


def test_a_check_finds_what_it_found_then() -> None:
    done = verify_store(FIXTURES / "store.zarr")
    assert done.counts == EXPECTED["store"]["verify"] | NEW_STATES
    assert [[found.part, found.id, found.state] for found in done.findings] == EXPECTED["store"]["findings"]


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_check_against_the_files_finds_what_it_found_then(part: str) -> None:
    done = verify_store(FIXTURES / "store.zarr", parts=[part], source=FIXTURES / "source" / part)
    assert done.counts == EXPECTED["store"]["verify_source"][part] | NEW_STATES


def test_copies_replayed_are_the_same() -> None:
    done = verify_store(FIXTURES / "store.zarr", parts=["augmented"], source=FIXTURES / "store.zarr")
    assert done.counts == EXPECTED["store"]["verify_source"]["augmented"] | NEW_STATES


def test_a_repair_makes_lost_copies_with_the_same_bytes(files: Path) -> None:
    (files / "store.zarr" / "augmented" / "images" / "c" / "0" / "0" / "0" / "0").unlink()
    done = verify_store(files / "store.zarr", parts=["augmented"], repair=True)
    assert (done.n_repaired, done.n_errors) == (6, 0)
    assert_same_bytes(files / "store.zarr", FIXTURES / "store.zarr")


# Runs


def assert_same_run(one: Path, other: Path) -> None:
    for run in (one, other):
        for name in ("scores.json", "thresholds.json"):  # written again, as of today
            (run / name).unlink()
    assert_same_bytes(one, other)


# The names of scores since then.
SCORE_NAMES = {"half": "at_half", "same_rows": "in_sample", "honest": "cross_fitted", "guessing": "chance"}
SCORE_NAMES |= {"instead": "predicted_instead", "truly": "was_actually"}
SCORE_NAMES |= {"n_missed": "n_false_negatives", "n_false": "n_false_positives"}


def rename_scores(value: Any) -> Any:
    """Give scores of 0.1.0 the names that they have now."""
    if isinstance(value, list):
        return [rename_scores(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {rename_score(name): rename_scores(part) for name, part in value.items()}


def rename_score(name: str) -> str:
    stem, _, ending = name.partition("f1_")
    return f"{stem}f1_{SCORE_NAMES[ending]}" if ending in SCORE_NAMES else SCORE_NAMES.get(name, name)


@pytest.mark.parametrize("name", ["run", "run-finetuned"])
def test_a_run_scores_as_it_did(runs: Path, name: str) -> None:
    from hpa_model.evaluation.scores import score_run
    from hpa_model.runs.out_of_fold import read_out_of_fold

    expected = EXPECTED["run"][name]
    scores = json.loads(json.dumps(asdict(score_run(runs / name))))
    then = rename_scores(expected["scores"])
    # Scores with fitted thresholds changed in 0.4.0: probabilities are calibrated first, and empty rows are filled.
    same = ("n_samples", "macro_f1_at_half", "macro_f1_chance", "legacy_leak")
    assert {key: scores[key] for key in same} == {key: pytest.approx(then[key], abs=1e-9) for key in same}
    for now, before in zip(scores["classes"], then["classes"], strict=True):
        assert (now["name"], now["support"]) == (before["name"], before["support"])
        assert now["f1_at_half"] == pytest.approx(before["f1_at_half"], abs=1e-9)
    for now, before in zip(scores["folds"], then["folds"], strict=True):  # each fold alone is as it was
        for key in ("macro_f1_in_sample", "macro_f1_at_half"):
            assert now[key] == pytest.approx(before[key], abs=1e-9)
    assert read_out_of_fold(runs / name).probs == close_to(expected["out_of_fold"])


@pytest.mark.parametrize("name", ["run", "run-finetuned"])
def test_a_run_predicts_as_it_did(runs: Path, name: str) -> None:
    from hpa_model.predict import predict_probs, predict_submission
    from hpa_model.runs.folder import read_run
    from hpa_model.runs.models import load_model

    expected, out = EXPECTED["run"][name], runs / "submission.csv"
    for source in (runs / "store.zarr", runs / "source" / "test"):
        predict_submission(runs / name, source, out)
        assert out.read_text() == expected["submission"]
    description = read_run(runs / name)
    models = [load_model(runs / name / f"fold{fold}" / "best.keras", description) for fold in range(2)]
    with open_store(runs / "store.zarr").reader(["test"]) as reader:
        probs = predict_probs(models, reader, np.arange(len(reader)), description.config.batch_size)
    assert probs == close_to(expected["test_probs"])


def test_a_finished_run_is_not_changed(runs: Path) -> None:
    from hpa_model.config import make_config, read_recipe
    from hpa_model.training.train import train

    shutil.copytree(runs / "run", runs / "before")
    planned: list[int] = []
    recipe = runs / "run" / "recipe.toml"
    train(
        open_store(runs / "store.zarr"),
        make_config(read_recipe(recipe)),
        runs / "run",
        recipe=recipe,
        progress=Progress(start=planned.append),
    )
    assert planned == [0]
    assert_same_run(runs / "run", runs / "before")


def test_an_unfinished_run_resumes_within_an_epoch_and_ends_as_it_would_have(runs: Path) -> None:
    from hpa_model.config import make_config, read_recipe
    from hpa_model.runs.history import read_history
    from hpa_model.runs.out_of_fold import read_out_of_fold
    from hpa_model.training.train import train

    run, planned, epochs = runs / "run-unfinished", [], []
    done = (run / "fold0" / "best.keras").read_bytes()
    train(
        open_store(runs / "store.zarr"),
        make_config(read_recipe(run / "recipe.toml")),
        run,
        progress=Progress(start=planned.append),
        on_epoch=lambda fold, record, _: epochs.append((fold, record.epoch)),
    )
    assert epochs == [(1, 2), (1, 3), (1, 4)]
    assert (run / "fold0" / "best.keras").read_bytes() == done
    rows, expected = read_out_of_fold(run), EXPECTED["unfinished"]
    assert rows.ids == expected["ids"]
    assert rows.probs == close_to(expected["out_of_fold"])
    history = [
        [[record.epoch, record.loss, record.val_loss, record.learning_rate] for record in records]
        for records in read_history(run, 2)
    ]
    assert np.array(history) == close_to(expected["history"], 1e-5)
    # Versions before 0.4.0 removed it from a finished fold.
    assert list(run.glob("fold*/checkpoint.npz")) == [run / "fold1" / "checkpoint.npz"]


def test_fine_tuning_ends_as_it_did(runs: Path) -> None:
    from hpa_model.runs.out_of_fold import read_out_of_fold
    from hpa_model.training.finetune import finetune

    done = finetune(runs / "run", loss="f1", epochs=2, store=open_store(runs / "store.zarr"), out=runs / "again")
    assert read_out_of_fold(done.run).probs == close_to(EXPECTED["run"]["run-finetuned"]["out_of_fold"])


def test_a_finished_fine_tuned_run_is_not_changed(runs: Path) -> None:
    from hpa_model.training.finetune import finetune

    shutil.copytree(runs / "run-finetuned", runs / "before")
    finetune(runs / "run", loss="f1", epochs=2, store=open_store(runs / "store.zarr"), out=runs / "run-finetuned")
    assert_same_run(runs / "run-finetuned", runs / "before")
