"""Workers of a Dask cluster in processes of their own, which may be unlike this one."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from distributed import Client

import hpa_data

ROOT = Path(hpa_data.__file__).parents[1]
# Python without what is installed in a virtual environment; of that, the packages are added, but not links to sources.
BARE_PYTHON = getattr(sys, "_base_executable", sys.executable)
PACKAGES = sysconfig.get_path("purelib")


def start_worker(
    scheduler: str,
    name: str,
    folder: Path,
    *,
    code: Path | None = ROOT,
    cwd: Path | None = None,
    threads: int = 1,
    options: tuple[str, ...] = (),
) -> "subprocess.Popen[bytes]":
    """Start a worker with hpa from a folder or, if `code` is None, without it; its log and files lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = [PACKAGES] if code is None else [str(code), PACKAGES]
    words = ["-P", "-m", "distributed.cli.dask_worker", scheduler, "--name", name, "--nthreads", str(threads), *options]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [BARE_PYTHON, *words, "--no-nanny", "--no-dashboard", "--local-directory", str(folder / "dask")],
            cwd=cwd or Path.cwd(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            stdout=log,
            stderr=log,
        )


def start_scheduler(folder: Path, port: int = 0) -> "tuple[subprocess.Popen[bytes], str]":
    """Start a scheduler; return its process and its address."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"scheduler-{uuid.uuid4().hex}.json"
    words = ["--port", str(port), "--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    with (folder / "scheduler.log").open("ab") as log:
        process = subprocess.Popen(
            [BARE_PYTHON, "-P", "-m", "distributed.cli.dask_scheduler", *words],
            env=os.environ | {"PYTHONPATH": PACKAGES},
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return process, json.loads(file.read_text())["address"]
        time.sleep(0.05)
    raise TimeoutError("the scheduler did not start")


class Command:
    """A command of `hpa` in a process of its own, and when it wrote each line of its errors and warnings."""

    def __init__(self, *words: object, cwd: Path | None = None, prelude: str = "pass") -> None:
        code = f"import sys; sys.argv[0] = 'hpa'; {prelude}; import cli; cli.main()"
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=cwd,
        )
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append((time.monotonic() - self.started, line.rstrip("\n")))

    def end(self, timeout: float = 900) -> int:
        """Wait for the end; return the exit status."""
        try:
            status = self.process.wait(timeout)
        finally:
            self.process.kill()
            self._reader.join()
        self.ended = time.monotonic() - self.started
        return status

    @property
    def errors(self) -> str:
        return "\n".join(line for _, line in self.lines)

    @property
    def longest_silence(self) -> float:
        """Seconds between two lines, or between one and the end."""
        times = [0.0, *(at for at, _ in self.lines), self.ended]
        return max(after - before for before, after in itertools.pairwise(times))


def copy_code(to: Path, module: str, old: str, new: str) -> Path:
    """Copy hpa_data, with one line of a module changed; return the folder to import it from."""
    shutil.copytree(ROOT / "hpa_data", to / "hpa_data", ignore=shutil.ignore_patterns("__pycache__"))
    path = to / "hpa_data" / module
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return to


@contextlib.contextmanager
def ended_afterwards(*processes: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for_workers(client: Client, n: int) -> dict[str, str]:
    """Wait until so many workers have joined; return their addresses by their names."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = {worker["name"]: address for address, worker in client.scheduler_info()["workers"].items()}
        if len(found) >= n:
            return found
        time.sleep(0.05)
    raise TimeoutError("the workers did not join")
