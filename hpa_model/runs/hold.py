"""The folder of a training or a pre-training: whether it may be resumed; created or opened, and locked.

A run has a lock, and each of its folds another one. The lock of the run is held while its files are written: as it is
created, when a fold is finished, when its results are gathered; and for as long as a command runs that writes nothing
but these. The lock of a fold is held while it is trained. It is taken under the lock of the run, so that whoever holds
that one knows which folds are trained, and by whom.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError
from hpa_data.system.atomic import remove_abandoned
from hpa_data.system.files import refuse_linked_folders
from hpa_data.system.lock import LOCK_NAME, LockedError, hold_store
from hpa_data.system.progress import SILENT, Progress
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import fold_folder, remove_partial_files
from hpa_model.runs.seal import SEAL_FILE, SEAL_LOCK, begin_seal

# To wait for a process that begins or gathers the run, in seconds.
BEGIN_S = 60.0


@contextmanager
def hold_folder(
    out: Path,
    *,
    what: str,
    description_file: str,
    must_create: Callable[[], bool],
    write: Callable[[], None],
    wait_s: float = 0.0,
    progress: Progress = SILENT,
) -> Iterator[bool]:
    """Create the folder of a training, or open one to resume, and lock it against other writers.

    Parameters
    ----------
    out : Path
    what : str
        What to call it in messages.
    description_file : str
        The file that tells such a folder from others.
    must_create : function
        Called under the lock; whether to create it, or InputError.
    write : function
        Writes the description of a new one.
    wait_s : float
        How long to wait for another process, in seconds.
    progress : Progress, optional
        Is told of a process that is waited for.

    Yields
    ------
    bool
        Whether it was created.
    """
    with hold_store(out, what=what, wait_s=wait_s, on_wait=_tell_wait(out, progress)):
        refuse_linked_folders(out)  # before anything is deleted
        is_new, holders = must_create(), list_holders(out)
        if is_new:
            refuse_trained(out, holders, remedy="; or leave --overwrite out, to train other folds beside it")
            begin_seal(out)  # nothing of the old run is sealed, whenever the process is killed
            # Without the description it could not be replaced later.
            kept = {LOCK_NAME, SEAL_LOCK, SEAL_FILE, description_file}
            for path in out.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in kept:
                    path.unlink()
            write()
        if holders:
            remove_abandoned(out)
        else:
            remove_partial_files(out)
        yield is_new


@contextmanager
def hold_results(run: Path, progress: Progress = SILENT) -> Iterator[None]:
    """Lock a run to write what its folds have in common; wait for others as long as it takes."""
    with hold_store(run, what="run", wait_s=math.inf, on_wait=_tell_wait(run, progress)):
        yield


def _tell_wait(run: Path, progress: Progress) -> Callable[[str], None]:
    return lambda holder: progress.note(f"Waiting for {holder}, which is writing to {run}")


@contextmanager
def hold_fold(run: Path, fold: int) -> Iterator[None]:
    """Lock a fold of a run for its training; LockedError if another process trains it.

    Only who holds the lock of the run may call it.
    """
    with hold_store(fold_folder(run, fold), what=f"fold {fold} of run"):
        yield


def list_holders(run: Path) -> dict[int, str]:
    """List the folds of a run that are being trained, with the process that does, in words.

    Only who holds the lock of the run may call it.
    """
    holders = {}
    for folder in sorted(run.glob("fold*")):
        number = folder.name.removeprefix("fold")
        if number.isdecimal() and folder.is_dir():
            try:
                with hold_fold(run, int(number)):
                    pass
            except LockedError as error:
                holders[int(number)] = error.holder
    return dict(sorted(holders.items()))


def refuse_trained(run: Path, holders: dict[int, str], purpose: str = "", remedy: str = "") -> None:
    """Refuse to change a run of which folds are being trained, see `list_holders`: InputError."""
    for fold, holder in holders.items():
        raise InputError(
            f"Cannot write to the run {run}{purpose}: {holder} is writing to it, as it trains fold {fold}. Wait for "
            f"it, or stop it{remedy}."
        )


def hold_free_folds(run: Path, folds: Iterable[int]) -> tuple[dict[int, ExitStack], dict[int, str]]:
    """Lock those of some folds that nobody trains; only who holds the lock of the run may call it.

    Returns
    -------
    dict of int to ExitStack, dict of int to str
        What releases the lock of each fold that was locked; and who trains each of the others, in words.
    """
    held: dict[int, ExitStack] = {}
    others = {}
    for fold in folds:
        stack = ExitStack()
        try:
            stack.enter_context(hold_fold(run, fold))
        except LockedError as error:
            others[fold] = error.holder
        except BaseException:
            release(held)
            raise
        else:
            held[fold] = stack
    return held, others


def release(held: dict[int, ExitStack]) -> None:
    """Release the locks of folds."""
    while held:
        held.popitem()[1].close()


def is_unused(out: Path) -> bool:
    """Tell whether a folder is missing, or holds at most what a command leaves that was stopped as it began."""
    return not out.is_dir() or all(
        path.name in {LOCK_NAME, SEAL_LOCK, SEAL_FILE} or path.match(".*.part") for path in out.iterdir()
    )


def compare_parts(existing: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """List the parts whose fingerprints differ between two trainings, in words."""
    shared = sorted(existing.keys() & wanted.keys())
    return [f"part {name} (it was converted again)" for name in shared if existing[name] != wanted[name]]


def compare_backends(existing: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """List the difference between the backends of Keras in the versions of two trainings, in words, if there is one."""
    there, here = existing.get("backend"), wanted.get("backend")
    return [f"Keras backend ({there} there, {here} here)"] if there != here else []


def list_longer(existing: TrainConfig, wanted: TrainConfig) -> dict[str, Any]:
    """List the settings with which a training would only last longer than before, with their values until now.

    More epochs, unless a cosine has spread its learning rates over those that there were, and more patience before a
    training ends early: the epochs that it has had would have been the same.
    """
    longer: dict[str, Any] = {}
    if wanted.epochs > existing.epochs and wanted.schedule != "cosine":
        longer["epochs"] = existing.epochs
    if existing.stop_epochs and not 0 < wanted.stop_epochs <= existing.stop_epochs:
        longer["stop_epochs"] = existing.stop_epochs
    return longer


def refuse_differences(out: Path, differences: list[str]) -> None:
    """Refuse to resume what differs: InputError, if there are differences."""
    if differences:
        listed = ", ".join(dict.fromkeys(differences))
        raise InputError(
            f"Cannot resume {out}: it differs in {listed}. Use the same settings, pass --overwrite, or name another "
            "folder."
        )
