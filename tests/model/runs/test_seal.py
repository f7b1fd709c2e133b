"""The seal of a run: a changed byte is one line, whoever reads it; what is written again is sealed again."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.results import read_results
from hpa_model.evaluation.scores import score_run
from hpa_model.predict.chosen import choose_models
from hpa_model.runs.check import verify_run
from hpa_model.runs.decision import read_decision
from hpa_model.runs.folder import list_sealed, read_folds, read_run
from hpa_model.runs.out_of_fold import check_finished, read_out_of_fold
from hpa_model.runs.readers import list_readers
from hpa_model.runs.seal import SEAL_FILE, begin_seal, read_seal, seal_files, unseal_files
from hpa_model.training.fold_table import check_folds
from tests.builders import RUN_CLASSES, Hpa, assert_refused, make_rows, make_run
from tests.flips import flip_run

DAMAGED = r"it is not as it was sealed in seal.json\."


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run that is sealed, without models. Tests must not change it."""
    run = make_run(tmp_path_factory.mktemp("sealed") / "run", make_rows())
    begin_seal(run)
    score_run(run)
    seal_files(run, list_sealed(range(3)))
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def flip(path: Path) -> None:
    """Change a digit, or a byte in the middle."""
    content = bytearray(path.read_bytes())
    digits = [index for index, byte in enumerate(content) if chr(byte) in "1234"]
    at = digits[len(digits) // 2] if path.suffix in {".json", ".csv"} else len(content) // 2
    content[at] ^= 1
    path.write_bytes(content)


def damage_seal(run: Path) -> bytes:
    """Change a name in the seal, and return what it is then."""
    (run / SEAL_FILE).write_text((run / SEAL_FILE).read_text().replace("config.json", "konfig.json"))
    return (run / SEAL_FILE).read_bytes()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", read_run),
        ("config.json", score_run),
        ("config.json", choose_models),
        ("config.json", lambda run: compare_runs([run])),
        ("thresholds.json", choose_models),
        ("out_of_fold.npz", choose_models),
        ("out_of_fold.npz", score_run),
        ("fold1/history.csv", read_results),
        ("fold1/history.csv", lambda run: compare_runs([run])),
    ],
)
def test_a_changed_file_is_refused_by_whatever_reads_it(run: Path, name: str, read: Callable[[Path], object]) -> None:
    read(run)
    flip(run / name)
    with pytest.raises(InputError, match=rf"Cannot use .*{name}: {DAMAGED} [A-Z].*\.$"):
        read(run)
    assert verify_run(run).findings == (f"{name} is not as it was sealed",)


@pytest.mark.parametrize("read", [read_folds, lambda run: check_folds(run, None, None)])  # it is refused before those
def test_folds_that_were_changed_are_not_called_unreadable(run: Path, read: Callable[[Path], object]) -> None:
    (run / "folds.csv").write_text("id,fold\na,1\n")
    seal_files(run, ["folds.csv"])
    flip(run / "folds.csv")
    with pytest.raises(InputError, match=rf"^Cannot use .*folds.csv: {DAMAGED} Remove it, and run "):
        read(run)


def test_thresholds_that_are_damaged_are_made_again_by_an_evaluation(run: Path, whole: Path) -> None:
    flip(run / "thresholds.json")
    score_run(run)
    choose_models(run)
    assert read_seal(run) == read_seal(whole)


def test_what_is_written_again_is_taken_out_of_the_seal_first(run: Path) -> None:
    unseal_files(run, ["config.json"])
    flip(run / "config.json")  # as a process that is killed in between may leave it
    read_run(run)
    seal_files(run, list_sealed(range(3)))
    assert verify_run(run).findings == ()


def test_what_is_sealed_is_not_sealed_again_with_damage(run: Path) -> None:
    flip(run / "config.json")
    seal_files(run, list_sealed(range(3)))
    assert verify_run(run).findings == ("config.json is not as it was sealed",)


def test_a_run_of_an_earlier_version_is_read_and_gets_a_seal_after_a_full_check(run: Path, hpa: Hpa) -> None:
    before = (run / SEAL_FILE).read_bytes()
    (run / SEAL_FILE).unlink()
    score_run(run)
    ended = hpa("verify", run)
    assert ended.status == 0
    assert "0 files compared with the seal" in ended.out
    assert (
        "Warning: no seal: a changed byte may go unnoticed, 7 files, for example config.json. Pass --seal" in ended.out
    )
    assert not (run / SEAL_FILE).exists()
    ended = hpa("verify", run, "--seal")
    assert (ended.status, "Sealed: 7 files" in ended.out) == (0, True)
    assert (run / SEAL_FILE).read_bytes() == before


def test_a_damaged_run_is_not_sealed(run: Path, hpa: Hpa) -> None:
    (run / SEAL_FILE).unlink()
    (run / "out_of_fold.npz").write_bytes((run / "out_of_fold.npz").read_bytes()[:-30])
    ended = hpa("verify", run, "--seal")
    assert ended.status == 1
    assert "out_of_fold.npz" in ended.out
    assert not (run / SEAL_FILE).exists()


def test_a_damaged_seal_is_refused_and_made_again(run: Path, whole: Path, hpa: Hpa) -> None:
    content = (run / SEAL_FILE).read_text()
    damage_seal(run)
    with pytest.raises(InputError, match=r"Cannot read .*seal.json: it is damaged. Run `hpa verify` on the run with"):
        read_run(run)
    assert hpa("verify", run).status == 1
    assert hpa("verify", run, "--seal").status == 0
    assert (run / SEAL_FILE).read_text() == content == (whole / SEAL_FILE).read_text()


# By file, what hpa cannot have written: of another run, or with a value that is impossible.
WRONG: dict[str, Callable[[Path], object]] = {
    "scores.json": lambda path: path.write_text('{"classes": [], "n_samples": 3, "macro_f1": 0.5}'),
    "folds.csv": lambda path: path.write_text("id,fold\nsample0,1\n"),
    "fold0/class_f1.csv": lambda path: path.write_text("epoch,a,b,c\n1,0.5,2,0.5\n"),
    "features.npz": lambda path: np.savez(path, features=np.zeros((3, 2), np.float32), is_measured=np.ones(3, bool)),
    "importances.csv": lambda path: path.write_text("feature,importance\nother,0.5\n"),
    "classifiers.json": lambda path: path.write_text('{"trees": {"at_half": 0.5}}'),
    "fold0/probs.npz": lambda path: np.savez(path, probs=np.zeros((1, len(RUN_CLASSES)), np.float32)),
    "fold0/history.csv": lambda path: path.write_text("epoch\n1\n"),
    "thresholds.json": lambda path: path.write_text('{"a": 0.5}'),
}


@pytest.mark.parametrize("name", sorted(set(list_sealed([0])) - {"config.json"}))
def test_every_file_is_read_before_it_is_sealed_again(run: Path, name: str) -> None:
    before = damage_seal(run)
    for write in filter(None, (lambda path: path.write_bytes(b"\0\xff"), WRONG.get(name))):
        write(run / name)
        of_seal, *others = verify_run(run, seal=True).findings
        assert SEAL_FILE in of_seal
        assert others
        assert any(name in text for text in others)
        assert (run / SEAL_FILE).read_bytes() == before


def test_each_file_that_is_sealed_has_a_reader(run: Path) -> None:
    assert list_readers(run, read_run(run)).keys() == set(list_sealed(range(3)))


def test_options_of_stores_are_refused_for_a_run(run: Path, hpa: Hpa) -> None:
    assert_refused(hpa("verify", run, "--repair"), "--repair must be given for a store alone. Received: a run, ")


def test_random_bits_of_a_run_are_found_refused_or_without_effect(whole: Path, tmp_path: Path) -> None:
    counts = flip_run(whole, tmp_path / "run", n_flips=60, rng=random.Random(3), folds=0)
    assert sum(counts.values()) == 60
    assert counts["silent"] == 0


def test_a_run_that_is_read_while_it_is_written_is_not_called_damaged(run: Path) -> None:
    """As `hpa predict` may meet it during an evaluation: the file is new, the seal is read before and after."""
    description, rows = read_run(run), read_out_of_fold(run)
    unseal_files(run, ["thresholds.json"])
    flip(run / "thresholds.json")
    assert read_decision(run, description.classes, 3).thresholds.shape == rows.labels.shape[1:]


def test_processes_that_seal_at_once_lose_no_entry(tmp_path: Path) -> None:
    names = [f"{process}-{number}" for process in range(3) for number in range(8)]
    for name in names:
        (tmp_path / name).write_text(name)
    begin_seal(tmp_path)
    code = (
        "import pathlib, sys; from hpa_model.runs.seal import seal_files, unseal_files\n"
        "run, process = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "for name in [f'{process}-{number}' for number in range(8)]:\n"
        "    seal_files(run, [name]); unseal_files(run, [name]); seal_files(run, [name])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path, str(process)]) for process in range(3)]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    assert sorted(read_seal(tmp_path) or {}) == sorted(names)
    assert not (tmp_path / ".seal.lock").exists()


@pytest.mark.parametrize(("folds", "remedy"), [(1, "to resume it."), (3, "with --fold 0, it trains that fold alone.")])
def test_only_a_run_of_several_folds_is_told_to_train_one_alone(tmp_path: Path, folds: int, remedy: str) -> None:
    run = make_run(tmp_path / "run", make_rows(), folds=folds)
    with pytest.raises(InputError, match="Run the command that began it again") as refusal:
        check_finished(run, run / "thresholds.json")
    assert str(refusal.value).endswith(remedy)


def test_each_damaged_file_of_a_run_is_a_line(run: Path, hpa: Hpa) -> None:
    (run / "out_of_fold.npz").unlink()
    flip(run / "config.json")
    ended = hpa("verify", run)
    assert ended.status == 1
    first, *findings = ended.out.splitlines()
    assert first.endswith(" files compared with the seal")
    assert sorted(findings) == ["config.json is not as it was sealed", "out_of_fold.npz is missing"]
