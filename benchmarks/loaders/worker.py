"""One row of the loader benchmark in a process of its own; `run.py` starts it and tells it what to do.

A process a row, because peak memory, idle threads and settings of a whole process are then each row's own. Commands
come as lines on standard input, answers go as JSON lines to what was standard output when it started.
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

from benchmarks.loaders.ours import LIMITS, OURS
from benchmarks.loaders.peers import PEERS
from benchmarks.loaders.row import Limit, Loader, Setup

ROWS: tuple[Loader | Limit, ...] = (*LIMITS, *OURS, *PEERS)


def read_setup(path: Path) -> Setup:
    """Read what `run.py` has written."""
    raw = json.loads(path.read_text())
    places = {name: Path(raw.pop(name)) for name in ("folder", "png", "images", "stores")}
    return Setup(**places, **raw | {"ids": tuple(raw["ids"])})


def peak_bytes() -> int:
    """Return the most memory that this process has had at once since the last reset, shared maps of files included."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


class Workload:
    """A row that is open."""

    def __init__(self, row: Loader | Limit, setup: Setup) -> None:
        self._epoch = 0
        self._is_limit = isinstance(row, Limit)
        self._run: Any = row.open(setup)

    def first(self) -> float:
        """Go through a first epoch; return when its first batch was there."""
        at = 0.0
        for _ in () if self._is_limit else self._run(self._epoch):
            at = at or time.perf_counter()
        return at or time.perf_counter()

    def time(self, min_seconds: float, most_s: float) -> tuple[float, int]:
        """Go through epochs, from their very beginning, for a while; return samples a second, and samples."""
        n_samples, began = 0, time.perf_counter()
        while not n_samples or time.perf_counter() - began < min_seconds:
            if self._is_limit:
                n_samples += self._run()
                continue
            for images in self._run(self._epoch):
                # One byte of each image, so that nothing is only promised. One of each memory page would take the
                # fastest rows an eighth of their time, and limits, which deliver nothing, none.
                int(images[:, 0, 0, 0].sum())
                n_samples += len(images)
                del images  # nobody needs it while the next one is asked for
                if time.perf_counter() - began > most_s:
                    break
            self._epoch += 1
        return n_samples / (time.perf_counter() - began), n_samples

    def check(self) -> Counter[int]:
        """Go through an epoch and count the CRC-32 of every image."""
        found = Counter(zlib.crc32(image) for images in self._run(self._epoch) for image in images)
        self._epoch += 1
        return found


def main() -> None:
    """Do what standard input says until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    name, setup = sys.argv[1], read_setup(Path(sys.argv[2]))
    (row,) = (row for row in ROWS if row.name == name)
    opened: Workload | None = None
    for line in sys.stdin:
        command, *given = line.split()
        answer: dict[str, Any] = {}
        try:
            if command == "write":
                if isinstance(row, Loader) and row.write is not None:
                    row.write(setup)
            elif opened is None:
                started = time.perf_counter()
                opened = Workload(row, setup)
                if command == "open":
                    answer["first_s"] = opened.first() - started
            if command == "time" and opened is not None:
                Path("/proc/self/clear_refs").write_text("5")  # peak memory counts anew
                before = os.times()
                rate, n_samples = opened.time(*map(float, given))
                after = os.times()
                cpu_s = sum(after[:4]) - sum(before[:4])
                answer |= {"rate": rate, "cpu_s": 1000 * cpu_s / n_samples, "peak_bytes": peak_bytes()}
            elif command == "check" and opened is not None:
                answer["found"] = list(opened.check().items())
        except Exception as error:  # a peer may fail in any way, and is then shown as failed
            answer["fault"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
