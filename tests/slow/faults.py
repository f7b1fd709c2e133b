"""Disturbs one call to the operating system in a command: it fails, or the process is killed right after it.

A library in C, preloaded into the process, stands between it and the C library. So it covers every write of a command:
Python's, ours past the page cache, those of Keras, HDF5, NumPy and TensorStore.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.builders import Ended

REPOSITORY = Path(__file__).parents[2]
FOLDER = "@"
"""Stands for the folder in which a command runs, in the names of sites."""

Mode = Literal["EIO", "ENOSPC", "full", "kill", "none"]
"""What happens at a site: the call fails once with that error; it and all later ones that take space fail, as on a full
disk; it is done and then the process is killed; nothing."""


@dataclass(frozen=True, order=True)
class Site:
    """One call: which, about what path, and how many of the same came before it."""

    call: str
    path: str
    before: int

    def __str__(self) -> str:
        return f"{self.call} {self.path} {self.before}"

    @staticmethod
    def parse(line: str) -> "Site":
        """Read a line that the library wrote."""
        call, rest = line.split(" ", 1)
        path, before = rest.rsplit(" ", 1)
        return Site(call, path, int(before))


def can_build() -> bool:
    """Tell whether there is a C compiler, and an operating system whose loader preloads libraries."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def build_library(folder: Path) -> Path:
    """Compile the library."""
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


class Bench:
    """Runs commands in one folder, each in a fork of a process that has the library and the modules loaded."""

    def __init__(self, folder: Path, library: Path, *modules: str) -> None:
        self.folder = folder / "bench"
        self._files = folder
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "LD_PRELOAD": str(library),
            "PYTHONPATH": str(REPOSITORY),
            "GLIBC_TUNABLES": "",  # or the command would start itself again
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # A fork has one thread: no pool may exist before it.
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.slow.fork_server", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def reset(self, template: Path) -> None:
        """Make the folder, which may be a disk of its own, a copy of another."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(template, self.folder, symlinks=True, dirs_exist_ok=True)

    def run(
        self,
        *words: object,
        watch: tuple[str, ...] = (),
        site: Site | None = None,
        mode: Mode = "none",
        kill_after_s: float | None = None,
        learn: bool = False,
    ) -> Ended:
        """Run a command in the folder; calls about what is in the folders `watch` are counted.

        With `learn`, the process that forks imports what this command did, which saves time later.
        """
        log, out, err = (self._files / name for name in ("sites", "out", "err"))
        log.unlink(missing_ok=True)
        request = {
            "words": list(map(str, words)),
            "folder": str(self.folder),
            "roots": ":".join(str(self.folder / name) for name in watch),
            "site": str(site).replace(FOLDER, str(self.folder), 1) if site else "",
            "mode": mode,
            "log": str(log),
            "out": str(out),
            "err": str(err),
            "kill_after_s": kill_after_s,
            "modules": str(self._files / "modules") if learn else "",
        }
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps(request), file=self._server.stdin, flush=True)
        status = int(self._server.stdout.readline())
        return Ended(status, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def list_sites(self) -> list[Site]:
        """Return the calls of the last command, in their order."""
        lines = (self._files / "sites").read_text().splitlines()
        return [Site.parse(line.replace(str(self.folder), FOLDER, 1)) for line in lines]
