"""Checking the files of a run or a pre-training: those that are sealed by their SHA-256, the others by reading them."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.system.lock import hold_store
from hpa_model.runs.folder import LAST_FILE, SCORES_FILE, collect_findings, list_sealed, read_run
from hpa_model.runs.hold import list_holders, refuse_trained
from hpa_model.runs.members import check_member, find_member
from hpa_model.runs.pretraining import ENCODER_FILE, is_pretraining, list_pretraining_readers, read_pretraining
from hpa_model.runs.readers import Readers, list_readers
from hpa_model.runs.seal import SealError, begin_seal, hash_file, read_seal, seal_hashes


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
        Or the folder of a pre-training.
    seal : bool
        Add a seal to a finished run that has none, or a damaged one, if nothing else is wrong with it.

    Raises
    ------
    InputError
        If the folder is not a run, or another process is writing to it and `seal` is asked for.
    """
    with contextlib.ExitStack() as lock:
        if seal:
            lock.enter_context(hold_store(run, what="run"))
            refuse_trained(run, list_holders(run))
        readers, last_file = _list_readers(run)
        of_seal: list[str] = []  # what is wrong with the seal itself
        files = None
        try:
            files = read_seal(run)
        except SealError as error:
            of_seal = [str(error)]
        has_seal, files = files is not None, files or {}
        unsealed = tuple(name for name in readers if name not in files and (run / name).is_file())

        findings: list[str] = []
        for name, sha256 in files.items():
            with collect_findings(findings, run / name):
                if not (run / name).is_file():
                    findings.append(f"{name} is missing")
                elif hash_file(run / name) != sha256:
                    findings.append(f"{name} is not as it was sealed")
        hashes: dict[str, str] = {}
        for name in unsealed:
            with collect_findings(findings, run / name):
                if seal:  # before it is read: what changes in between is not sealed as good
                    hashes[name] = hash_file(run / name)
                readers[name]()
        findings += _check_members(run)

        if not seal or findings or not unsealed:
            return RunVerification(
                run=run, n_files=len(files), findings=tuple(dict.fromkeys(of_seal + findings)), unsealed=unsealed
            )
        if not (run / last_file).exists():
            raise InputError(f"Cannot seal {run}: it is not finished. Run the command that began it again.")
        if not has_seal:
            begin_seal(run)
        seal_hashes(run, hashes)
    return RunVerification(run=run, n_files=len(files) + len(hashes), findings=(), unsealed=(), n_sealed=len(hashes))


def _check_members(run: Path) -> list[str]:
    """List what is wrong with the members of an ensemble, without which it cannot predict."""
    findings: list[str] = []
    if is_pretraining(run):
        return findings
    description = read_run(run, compares_seal=False)
    for member in description.ensemble.members if description.ensemble else ():
        with collect_findings(findings, Path(member.run)):
            folder = find_member(run, member)
            check_member(run, member, folder, read_run(folder), range(description.config.folds))
    return findings


def _list_readers(run: Path) -> tuple[Readers, str]:
    """List what reads each file that is sealed, by name, and name the one that shows that all is finished."""
    if is_pretraining(run):
        read_pretraining(run, compares_seal=False)
        return list_pretraining_readers(run), ENCODER_FILE
    description = read_run(run, compares_seal=False)
    readers = list_readers(run, description)
    last_file = SCORES_FILE if description.config.folds else f"fold0/{LAST_FILE}"
    return {name: readers[name] for name in list_sealed(range(description.config.n_models))}, last_file
