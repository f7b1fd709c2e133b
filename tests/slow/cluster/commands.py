"""A scheduler with workers in processes of their own, and commands that use them."""

import subprocess
import time
from pathlib import Path

from hpa_data.system.cluster import open_client
from tests.builders import assert_same_bytes
from tests.workers import Command, start_scheduler, start_worker, wait_for_workers

N_SHARDS = 8
N_SAMPLES = 64 * N_SHARDS
# The times of `system.watch` and `system.placement` tenfold shorter, for tests of what happens after them.
QUICKLY = (
    "import hpa_data.system.watch as watch, hpa_data.system.placement as placement; "
    "watch.SILENCE_S = 1.5; placement._PATIENCE_S = 3.0"
)


def convert(
    source: Path, store: Path | str, *options: object, prelude: str = "pass", cwd: Path | None = None
) -> Command:
    words = ("convert", source / "train", store, "--labels", source / "train.csv", "--codec", "lz4", *options)
    return Command(*words, prelude=prelude, cwd=cwd)


class Cluster:
    """A scheduler, and workers that can be killed, suspended and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler, self.address = start_scheduler(folder)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str, **options: object) -> None:
        for name in names:
            self.workers[name] = start_worker(self.address, name, self.folder, **options)  # type: ignore[arg-type]
        with open_client(self.address) as client:
            wait_for_workers(client, len(self.workers))

    def signal(self, name: str, number: int) -> None:
        self.workers[name].send_signal(number)

    def kill(self, name: str) -> None:
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait()


def count_shards(store: Path) -> int:
    return len(list((store / "train" / "images" / "c").glob("*/0/0/0")))


def wait_for_shards(command: Command, store: Path, n: int) -> None:
    while command.process.poll() is None and count_shards(store) < n:
        time.sleep(0.01)
    assert command.process.poll() is None, command.errors


def assert_done(command: Command, store: Path, local: Path) -> None:
    assert command.end() == 1, command.errors  # two samples cannot be read
    assert "Traceback" not in command.errors
    assert command.longest_silence < 60, f"{command.longest_silence:.0f} s: {command.lines}"
    assert count_shards(store) == N_SHARDS
    assert_same_bytes(local, store)  # the same files, and no others


def assert_one_line(command: Command, message: str, *, timeout: float = 300) -> None:
    assert command.end(timeout) == 2, command.errors
    errors = [line for _, line in command.lines if not line.startswith(("Warning: ", "Interrupted: "))]
    errors = [line for line in errors if " samples" not in line]  # progress
    assert len(errors) == 1, command.errors
    assert errors[0].startswith("Error: Cannot ")
    assert message in errors[0]
    assert command.longest_silence < 60, f"{command.longest_silence:.0f} s: {command.lines}"
