"""The folder of a training or a pre-training: whether it may be resumed; created or opened, and locked."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError
from hpa_data.system.files import refuse_linked_folders
from hpa_data.system.lock import LOCK_NAME, hold_store
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import remove_partial_files
from hpa_model.runs.seal import SEAL_FILE, begin_seal


@contextmanager
def hold_folder(
    out: Path, *, what: str, description_file: str, must_create: Callable[[], bool], write: Callable[[], None]
) -> Iterator[None]:
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
    """
    with hold_store(out, what=what):
        refuse_linked_folders(out)  # before anything is deleted
        if must_create():
            begin_seal(out)  # nothing of the old run is sealed, whenever the process is killed
            # Without the description it could not be replaced later.
            kept = {LOCK_NAME, SEAL_FILE, description_file}
            for path in out.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in kept:
                    path.unlink()
            write()
        remove_partial_files(out)
        yield


def is_unused(out: Path) -> bool:
    """Tell whether a folder is missing, or holds at most what a command leaves that was stopped as it began."""
    return not out.is_dir() or all(
        path.name in {LOCK_NAME, SEAL_FILE} or path.match(".*.part") for path in out.iterdir()
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
        raise InputError(
            f"Cannot resume {out}: it differs in {', '.join(differences)}. Use the same settings, pass --overwrite, or "
            "name another folder."
        )
