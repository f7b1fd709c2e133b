"""Holding the folder of a training: created or opened to resume, and locked."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hpa_data.system.files import refuse_linked_folders
from hpa_data.system.lock import LOCK_NAME, hold_store
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
