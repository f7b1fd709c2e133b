"""Checking the files of a run: those that are sealed by their SHA-256, the others by reading them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpa_data.errors import InputError
from hpa_data.system.lock import hold_store
from hpa_model.runs.baseline import read_baseline
from hpa_model.runs.decision import read_decision
from hpa_model.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CORRUPTION_ERRORS,
    LAST_FILE,
    PROBS_FILE,
    SCORES_FILE,
    RunDescription,
    fold_folder,
    list_sealed,
    read_arrays,
    read_history,
    read_run,
)
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.runs.seal import SEAL_FILE, Files, begin_seal, hash_file, read_seal, seal_files


@dataclass(frozen=True, kw_only=True)
class RunVerification:
    """What a check of a run found."""

    run: Path

    n_files: int
    """Files that are sealed."""

    findings: tuple[str, ...]
    """What is wrong, one sentence each."""

    unsealed: tuple[str, ...]
    """Names of files that are not sealed: of a run that is not finished, or of a version before 0.5.0."""

    n_sealed: int = 0
    """Files that a seal was added to."""


def verify_run(run: Path, *, seal: bool = False) -> RunVerification:
    """Compare the files of a run with its seal, and read those that have none.

    Parameters
    ----------
    run : Path
    seal : bool
        Add a seal to a finished run that has none, or a damaged one, if nothing is wrong with it.

    Raises
    ------
    InputError
        If the folder is not a run, or another process is writing to it and `seal` is asked for.
    """
    with hold_store(run, what="run") if seal else contextlib.nullcontext():
        done = _verify(run)
        is_damaged = _read_seal(run) is None and (run / SEAL_FILE).exists()
        others = [text for text in done.findings if not (is_damaged and SEAL_FILE in text)]
        if not seal or others or not done.unsealed:
            return done
        if not (run / SCORES_FILE).exists():
            raise InputError(f"Cannot seal {run}: it is not finished. Run the command that began it again.")
        if _read_seal(run) is None:
            begin_seal(run)
        seal_files(run, done.unsealed)
        sealed = _verify(run)
    return RunVerification(
        run=run, n_files=sealed.n_files, findings=sealed.findings, unsealed=(), n_sealed=len(done.unsealed)
    )


def _verify(run: Path) -> RunVerification:
    description = read_run(run, compares_seal=False)
    files = _read_seal(run)
    findings: list[str] = []
    if files is None and (run / SEAL_FILE).exists():
        with _collect(findings):
            read_seal(run)
    files = files or {}
    for name, sha256 in files.items():
        if not (run / name).is_file():
            findings.append(f"{name} is missing")
        elif hash_file(run / name) != sha256:
            findings.append(f"{name} is not as it was sealed")
    names = list_sealed(range(description.config.folds))
    unsealed = tuple(name for name in names if name not in files and (run / name).is_file())
    if unsealed:
        findings += _read_all(run, description, set(unsealed))
    return RunVerification(run=run, n_files=len(files), findings=tuple(findings), unsealed=unsealed)


def _read_seal(run: Path) -> Files | None:
    """Read the seal of a run; None if it has none, or a damaged one."""
    with contextlib.suppress(InputError):
        return read_seal(run)
    return None


def _read_all(run: Path, description: RunDescription, names: set[str]) -> list[str]:
    """Read the files of some names by what else reads them, and list what is wrong."""
    findings: list[str] = []
    rows: OutOfFold | None = None
    n_folds = description.config.folds
    with _collect(findings):
        read_history(run, n_folds)
    if "out_of_fold.npz" in names:
        with _collect(findings):
            rows = read_out_of_fold(run)
    if "thresholds.json" in names:
        with _collect(findings):
            read_decision(run, description.classes, n_folds)
    for fold in range(n_folds):
        for name, read in _list_readers(run, description, fold, rows).items():
            if f"fold{fold}/{name}" in names:
                with _collect(findings):
                    read()
    return list(dict.fromkeys(findings))


def _list_readers(
    run: Path, description: RunDescription, fold: int, rows: OutOfFold | None
) -> dict[str, Callable[[], Any]]:
    """List what reads the files of a fold, by name."""
    folder = fold_folder(run, fold)

    def read_model(name: str) -> None:
        from hpa_model.runs.models import load_model

        load_model(folder / name, description)

    def read_probs() -> None:
        probs = read_arrays(folder / PROBS_FILE)["probs"]
        if rows is not None and not np.array_equal(probs, rows.probs[rows.folds == fold]):
            raise InputError(f"Cannot use {folder / PROBS_FILE}: out_of_fold.npz has other probabilities. Train again.")

    return {
        BEST_FILE: lambda: read_model(BEST_FILE),
        LAST_FILE: lambda: read_model(LAST_FILE),
        CHECKPOINT_FILE: lambda: read_arrays(folder / CHECKPOINT_FILE),
        PROBS_FILE: read_probs,
        "baseline.npz": lambda: read_baseline(run, fold, description),
    }


@contextlib.contextmanager
def _collect(findings: list[str]) -> Iterator[None]:
    """Turn an error of reading into a finding."""
    try:
        yield
    except CORRUPTION_ERRORS as error:
        findings.append(str(error))
