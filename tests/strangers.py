"""What a stranger, or a fault, may put in the place of a file, and what reading a store or a run says to it.

Run as a program, so that what waits for ever ends with the time limit of the process: it replaces each file of a
folder, or some, in turn by something else, and prints what was said as JSON.
"""

import contextlib
import ctypes
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from hpa_data.verify.check import verify_store
from tests.builders import list_files

KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "large": lambda path: (path.touch(), os.truncate(path, 2**40)),
    "folder": Path.mkdir,
    "forbidden": lambda path: path.touch(0o000),
    "failing": lambda path: path.symlink_to("/proc/self/mem"),  # a regular file, and an input/output error
}


# Words of advice to make again what may be good.
HARMFUL = ("--overwrite", "damaged", "corrupt", "onvert", "rain again", "emove")


def drop_rights() -> None:
    """Let the programs that this process runs obey permissions, even as root."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; without rights, there is nothing to drop


@contextlib.contextmanager
def replaced(path: Path, kind: str) -> Iterator[None]:
    """Put something else in the place of a file."""
    kept = path.with_name(path.name + ".kept")
    path.rename(kept)
    try:
        KINDS[kind](path)
        yield
    finally:
        path.rmdir() if path.is_dir() else path.unlink()
        kept.rename(path)


def read_store(path: Path) -> list[str]:
    """Read all of a store, and verify it; return what was said."""
    said = []
    try:
        with open_store(path).reader(["train"]) as reader:
            reader.read(range(len(reader)))
            open_store(path).part("train").read_metadata()
    except InputError as error:
        said.append(str(error))
    try:
        said += [f"{each.state}: {each.reason}" for each in verify_store(path).findings if each.state.is_error]
    except InputError as error:
        said.append(str(error))
    return said


def read_run_folder(path: Path) -> list[str]:
    """Read all of a run; return what was said."""
    from hpa_model.runs.decision import read_decision
    from hpa_model.runs.folder import read_run
    from hpa_model.runs.history import read_history
    from hpa_model.runs.out_of_fold import read_out_of_fold

    said = []
    try:
        description = read_run(path)
        for read in (
            lambda: read_decision(path, description.classes, description.config.folds),
            lambda: read_history(path, description.config.folds),
            lambda: read_out_of_fold(path),
        ):
            try:
                read()
            except InputError as error:
                said.append(str(error))
    except InputError as error:
        said.append(str(error))
    return said


READERS = {"store": read_store, "run": read_run_folder}


def attack(folder: Path, what: str, kinds: Sequence[str], names: Sequence[str] = ()) -> dict[str, list[str]]:
    """Replace files of a store or a run by something of each kind; return what was said, by kind and file."""
    words = [sys.executable, "-m", "tests.strangers", what, folder, ",".join(kinds), *names]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, preexec_fn=drop_rights)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def assert_harmless(met: Mapping[str, Sequence[str]]) -> None:
    """Check that all is said in one line, and that nobody is told to make again what may be good."""
    for name, said in met.items():
        assert all(len(line) < 500 and "\n" not in line for line in said), said
        if name.startswith(("forbidden", "failing")):
            assert not [line for line in said if any(word in line for word in HARMFUL)], (name, said)


if __name__ == "__main__":
    reader, folder = READERS[sys.argv[1]], Path(sys.argv[2])
    found = {}
    for kind, name in itertools.product(sys.argv[3].split(","), sys.argv[4:] or list_files(folder)):
        with replaced(folder / name, kind):
            found[f"{kind} {name}"] = reader(folder)
    print(json.dumps(found))
