"""One row of the loader benchmark in a process of its own, for `run`.

    python -m benchmarks.loaders.worker ROW SETUP.json

One process per row, because peak memory, idle threads and process-wide settings are then those of the row.
"""

import json
import os
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.loaders import peers_files, peers_tfdata, peers_zarr
from benchmarks.loaders.ours import LIMITS, OURS
from benchmarks.loaders.row import Limit, Loader, Setup
from benchmarks.processes import Answer, serve

PEERS: tuple[Loader, ...] = (*peers_tfdata.LOADERS, *peers_files.LOADERS, *peers_zarr.LOADERS)
ROWS: tuple[Loader | Limit, ...] = (*LIMITS, *OURS, *PEERS)


def read_setup(path: Path) -> Setup:
    """Read what `run` has written."""
    raw: dict[str, Any] = json.loads(path.read_text())
    raw |= {name: Path(raw[name]) for name in ("folder", "png", "images", "stores")}
    return Setup(**raw | {"ids": tuple(raw["ids"])})


def peak_bytes() -> int:
    """Return the peak memory of this process since the last reset, including pages of mapped files."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


class OpenRow:
    """A row that is open, and its next epoch."""

    def __init__(self, row: Loader | Limit, setup: Setup) -> None:
        self._epoch = 0
        self._is_limit = isinstance(row, Limit)
        self._run: Any = row.open(setup)

    def run_first_epoch(self) -> float:
        """Run the first epoch of a loader; return the time at which its first batch was there."""
        first_s = 0.0
        for _ in () if self._is_limit else self._run(self._epoch):
            first_s = first_s or time.perf_counter()
        return first_s or time.perf_counter()

    def time(self, min_seconds: float, max_seconds: float) -> tuple[float, int]:
        """Run epochs, each from its start, for some time; return samples per second, and the number of samples."""
        n_samples, started = 0, time.perf_counter()
        while not n_samples or time.perf_counter() - started < min_seconds:
            if self._is_limit:
                n_samples += self._run()
                continue
            for images in self._run(self._epoch):
                # Read one byte of each image, so that every image is really there. One byte of each memory page would
                # take the fastest rows an eighth of their time, and limits, which deliver nothing, none.
                int(images[:, 0, 0, 0].sum())
                n_samples += len(images)
                del images  # not needed while the next batch is requested
                if time.perf_counter() - started > max_seconds:
                    break
            self._epoch += 1
        return n_samples / (time.perf_counter() - started), n_samples

    def count_checksums(self) -> Counter[int]:
        """Run an epoch and count the CRC-32 of each image."""
        found = Counter(zlib.crc32(image) for images in self._run(self._epoch) for image in images)
        self._epoch += 1
        return found


class RowCommands:
    """The commands of this process; a row is opened by the first that needs it."""

    def __init__(self, row: Loader | Limit, setup: Setup) -> None:
        self._row = row
        self._setup = setup
        self._opened: OpenRow | None = None

    def _open(self) -> OpenRow:
        if self._opened is None:
            self._opened = OpenRow(self._row, self._setup)
        return self._opened

    def write(self) -> Answer:
        """Write the samples in the row's format."""
        if isinstance(self._row, Loader) and self._row.write is not None:
            self._row.write(self._setup)
        return {}

    def open(self) -> Answer:
        """Open the row and run its first epoch."""
        started = time.perf_counter()
        return {"first_s": self._open().run_first_epoch() - started}

    def check(self) -> Answer:
        """Count the checksums of an epoch."""
        return {"found": list(self._open().count_checksums().items())}

    def time(self, min_seconds: str, max_seconds: str) -> Answer:
        """Time the row."""
        opened = self._open()
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
        before = os.times()
        rate, n_samples = opened.time(float(min_seconds), float(max_seconds))
        cpu_s = sum(os.times()[:4]) - sum(before[:4])
        return {"rate": rate, "cpu_s": 1000 * cpu_s / n_samples, "peak_bytes": peak_bytes()}


def main() -> None:
    """Serve the commands of the row that is named."""
    name, setup = sys.argv[1], read_setup(Path(sys.argv[2]))
    (row,) = (row for row in ROWS if row.name == name)
    commands = RowCommands(row, setup)
    serve({"write": commands.write, "open": commands.open, "check": commands.check, "time": commands.time})


if __name__ == "__main__":
    main()
