"""The seal of a run: the SHA-256 of each file that is read from it, in one file that is replaced as a whole.

A file is sealed when the fold, or the whole run, is finished. Before it is written again, it is taken out of the seal:
a process that is killed leaves files that are not sealed, and resuming seals them. Runs of versions before 0.5.0 have
no seal, and get none unless `hpa verify --seal` adds it.
"""

import contextlib
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hpa_data.errors import InputError, first_line
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TEXT_BYTES, check_size, open_regular, read_regular, read_text, refuse_unreadable
from hpa_data.system.lock import NoLocksError, hold_store

SEAL_FILE = "seal.json"
# Held while the seal is changed: a file, as folders cannot be locked from several machines.
SEAL_LOCK = ".seal.lock"

# Forty times the largest model of the catalog.
MAX_FILE_BYTES = 2**33

RESTORE = "Put it back from a copy, or make the run again with --overwrite."
AGAIN = "Remove it, and run the command that made the run again."
# By name, for files that can be made again without training.
REMEDIES = {
    **dict.fromkeys(("thresholds.json", "scores.json"), "Run `hpa evaluate` on the run, which makes it again."),
    **dict.fromkeys(
        ("out_of_fold.npz", "folds.csv", "probs.npz", "baseline.npz", "importances.csv", "classifiers.json"), AGAIN
    ),
    **dict.fromkeys(("features.npz", "recipe.toml", "joiners.npz", "members.json"), AGAIN),
    **dict.fromkeys(
        ("history.csv", "class_f1.csv"), "Remove the file: only learning curves and speeds are read from it."
    ),
}

Files = dict[str, str]
BinaryFile = io.BytesIO | io.BufferedReader


class SealError(InputError):
    """A file of a run is not as it was sealed, or the seal itself is damaged."""


def begin_seal(run: Path) -> None:
    """Give a run a seal of no file."""
    write_atomic(run / SEAL_FILE, _encode({}))


def read_seal(run: Path) -> Files | None:
    """Read the SHA-256 of the sealed files of a run by name; None if it has no seal, SealError if that is damaged."""
    path = run / SEAL_FILE
    try:
        raw = json.loads(read_text(path))
        if not isinstance(raw, dict) or raw.keys() != {"files", "sha256"} or raw["sha256"] != _hash_files(raw["files"]):
            raise ValueError("it is damaged")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        refuse_unreadable(error, path)
        raise SealError(
            f"Cannot read {path}: {first_line(error)}. Run `hpa verify` on the run with --seal, which checks it and "
            "seals it again."
        ) from error
    return dict(raw["files"])


def seal_files(run: Path, names: Iterable[str]) -> None:
    """Seal files of a run as they are, those of these names that exist and are not sealed.

    What is sealed stays so: it may be damaged by now. Nothing is done if the run has no seal.
    """

    def add(files: Files) -> Files:
        return files | {name: hash_file(run / name) for name in names if name not in files and (run / name).is_file()}

    _change(run, add)


def seal_hashes(run: Path, hashes: Files) -> None:
    """Seal files of a run by their known SHA-256, as `seal_files` does."""
    _change(run, lambda files: hashes | files)


def unseal_files(run: Path, names: Iterable[str]) -> None:
    """Take files of a run out of its seal, before they are written or removed."""
    gone = set(names)
    _change(run, lambda files: {name: value for name, value in files.items() if name not in gone})


def check_file(path: Path, sha256: str = "") -> None:
    """Refuse a file of a run, or of one of its folds, that is not as it was sealed: SealError.

    For files that a library opens by their path; what is read otherwise is compared by `read_file` or `open_file`. The
    SHA-256 of the file is computed unless it is given.
    """
    try:
        os.close(open_regular(path))
    except (OSError, ValueError):
        return  # what cannot be read at all is for its reader to say
    _compare(path, lambda: sha256 or hash_file(path))


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES, compares_seal: bool = True) -> bytes:
    """Read a file of a run, or of one of its folds; SealError if it is not as it was sealed.

    Otherwise raises as `read_regular` does.
    """
    content = read_regular(path, max_bytes=max_bytes)
    if compares_seal:
        _compare(path, lambda: hashlib.sha256(content).hexdigest())
    return content


@contextlib.contextmanager
def open_file(path: Path, *, compares_seal: bool = True) -> Iterator[BinaryFile]:
    """Open a file of a run, or of one of its folds, that may be too large for memory; raises as `read_file` does.

    A small one is read at once. Of a large one, the open file is compared, whatever gets its name meanwhile.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        check_size(n_bytes, MAX_FILE_BYTES)
        content: BinaryFile = io.BytesIO(file.read()) if n_bytes <= MAX_TEXT_BYTES else file
        if compares_seal:
            _compare(path, lambda: _hash(content))
            content.seek(0)
        yield content


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with os.fdopen(open_regular(path), "rb") as file:
        return _hash(file)


def _hash(file: BinaryFile) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(path: Path, compute: Callable[[], str]) -> None:
    run = next((folder for folder in (path.parent, path.parent.parent) if (folder / SEAL_FILE).is_file()), None)
    while run is not None:
        name = path.relative_to(run).as_posix()
        seal = read_seal(run)
        if seal is None or name not in seal or compute() == seal[name]:
            return
        if read_seal(run) == seal:  # or it is being written
            raise SealError(
                f"Cannot use {path}: it is not as it was sealed in {SEAL_FILE}. {REMEDIES.get(path.name, RESTORE)}"
            )


def _change(run: Path, change: Callable[[Files], Files]) -> None:
    """Replace the seal of a run by a changed one; nothing if it has none."""
    if not (run / SEAL_FILE).exists():
        return
    with _hold_seal(run):
        files = read_seal(run)
        changed = None if files is None else change(files)
        if changed is not None and changed != files:
            write_atomic(run / SEAL_FILE, _encode(changed))


@contextlib.contextmanager
def _hold_seal(run: Path) -> Iterator[None]:
    """Keep other processes, such as those that train other folds, from changing the seal at the same time."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(NoLocksError):  # then no two processes can train; one may still evaluate
            stack.enter_context(hold_store(run, what="run", name=SEAL_LOCK, wait_s=math.inf))
        yield


def _encode(files: Files) -> bytes:
    ordered = dict(sorted(files.items()))
    return (json.dumps({"files": ordered, "sha256": _hash_files(ordered)}, indent=2) + "\n").encode()


def _hash_files(files: Files) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
