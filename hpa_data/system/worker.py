"""What runs inside a worker of a Dask cluster: the proof that it is like the client, and the tasks.

Everything here is called by its name, so a worker without this package cannot even load it: that is an answer, too.
"""

import contextlib
import hashlib
import os
import platform
import threading
import traceback
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import cloudpickle

# Distributions whose version may decide the bytes of a store: they decode, scale, alter or encode pixels. Of each row
# one is installed.
_DECISIVE = (
    ("numpy",),
    ("imagecodecs",),
    ("numcodecs",),
    ("zarr",),
    ("tifffile",),
    ("imageio",),
    ("pillow",),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ("scipy",),
    ("google-crc32c",),
    ("imaug", "imgaug"),
    ("py7zr",),
)

# Letters of a traceback or a message that travel to the client. Dask cuts what is longer.
_MAX_TEXT = 3000

# Files of a folder that are compared where no file can be written.
_MAX_FILES = 1000


class Mark(NamedTuple):
    """What a worker must find in a folder, so that it is the folder of the client."""

    path: str
    """What the user named, for messages."""

    file: str
    """A file that the client wrote; empty if it could not write there."""

    content: str
    """Of the file; or, without one, what `describe_folder` returns."""


class TaskError(Exception):
    """An error on a worker, in a form that every client can read.

    Parameters
    ----------
    text : str
        Type and message in one line.
    pickled : bytes
        The error itself; empty if it cannot be pickled.
    where : str
        Its traceback.
    differs : bool
        The worker is not like the client; the task was not begun.
    """

    def __init__(self, text: str, pickled: bytes = b"", where: str = "", differs: bool = False) -> None:
        super().__init__(text, pickled, where, differs)
        self.text = text
        self.pickled = pickled
        self.where = where
        self.differs = differs

    def __str__(self) -> str:
        """Return the line alone."""
        return self.text


@cache
def describe_process() -> dict[str, str]:
    """Return what may decide the bytes that this process writes: versions by name, and a digest of our code.

    Read once: a process goes on with the code that it has loaded, even if another version is installed meanwhile.
    """
    described = {
        "hpa": _version("hpa"),
        "code of hpa_data": _digest_code(),
        "Python": platform.python_version(),
        "processor": platform.machine(),
    }
    for names in _DECISIVE:
        found = [(name, _version(name)) for name in names]
        described[names[0]] = next((version for _, version in found if version), "")
    return described


def _version(distribution: str) -> str:
    """Return the version of a distribution; empty if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _digest_code() -> str:
    """Return the SHA-256, shortened, of the names and contents of the modules of hpa_data."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def describe_folder(folder: str) -> str:
    """Return the SHA-256 of the names, sizes and times of the first files of a folder, or of one file."""
    digest = hashlib.sha256()
    names = sorted(os.listdir(folder))[:_MAX_FILES] if os.path.isdir(folder) else [""]
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(os.path.join(folder, name) if name else folder)
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def prove(marks: list[Mark]) -> tuple[dict[str, str], list[str]]:
    """Return what this process is, and how it misses marks: each the middle of a sentence."""
    return describe_process(), [missed for mark in marks if (missed := _miss(mark))]


def _miss(mark: Mark) -> str:
    if not os.path.exists(mark.path):
        return f"does not see {mark.path}"
    return "" if _is_found(mark) else f"sees another disk at {mark.path}"


def _is_found(mark: Mark) -> bool:
    try:
        if not mark.file:
            return describe_folder(mark.path) == mark.content
        with open(mark.file, encoding="utf-8") as file:
            return file.read() == mark.content
    except OSError:
        return False


class _Running:
    """Counts the tasks that this process is computing, also those that nobody waits for any longer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_tasks = 0

    def add(self, n: int) -> None:
        with self.lock:
            self.n_tasks += n


_RUNNING = _Running()


def count_running() -> int:
    """Count the tasks that this process is computing."""
    return _RUNNING.n_tasks


class TaskCall:
    """A call of `run_task` that happens when this is unpickled.

    Dask's scheduler unpickles the functions and classes of tasks. In this form it passes them on as bytes, and need not
    have this package.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def __reduce__(self) -> tuple[Callable[..., None], tuple[bytes, dict[str, str]]]:
        """Call it where it is unpickled."""
        return run_task, (self._payload, describe_process())


def run_task(payload: bytes, expected: dict[str, str]) -> None:
    """Compute a task, if this process is like the client.

    Parameters
    ----------
    payload : bytes
        A function without arguments, by cloudpickle.
    expected : dict
        What `describe_process` returns in the client.

    Raises
    ------
    TaskError
        In place of any error.
    """
    # Not only when the worker joined: another one may have taken its place at the same address.
    if describe_process() != expected:
        raise TaskError("it is not like the client", differs=True)
    failed: TaskError | None = None
    _RUNNING.add(1)
    try:
        cloudpickle.loads(payload)()
    except Exception as error:
        failed = _travel(error)
    finally:
        _RUNNING.add(-1)
    if failed is not None:
        raise failed  # here, where it has no context: Dask would send that along, and the client could not read it


def _travel(error: Exception) -> TaskError:
    lines = str(error).splitlines() or [""]
    where = "".join(traceback.format_exception(error))[-_MAX_TEXT:]
    pickled = b""
    with contextlib.suppress(Exception):  # whatever an error of a library raises when it is pickled
        pickled = cloudpickle.dumps(error)
    return TaskError(f"{type(error).__name__}: {lines[0][:_MAX_TEXT]}", pickled, where)
