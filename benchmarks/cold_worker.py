"""What `cold` measures in a process of its own.

python -m benchmarks.cold_worker STORE THREADS BATCH_SIZE
"""

import contextlib
import mmap
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.processes import Answer, serve
from hpa_data.format.codecs import decode_shard_index
from hpa_data.reader import disk_ahead
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.engine import Verify
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import open_store

# Requests at a time; disks differ in how many they are fastest with.
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
GROUP = "hpa-benchmark"
ROOTS = ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max"))


def find_group() -> Path | None:
    """Make a control group that limits memory, of version 1 or 2, and return its folder; None if we cannot."""
    for root, limit in ROOTS:
        with contextlib.suppress(OSError):
            (root / GROUP).mkdir(exist_ok=True)
            if (root / GROUP / limit).exists():
                return root / GROUP
    return None


def remove_group() -> None:
    """Remove the group, whose processes have ended."""
    for root, _ in ROOTS:
        with contextlib.suppress(OSError):
            (root / GROUP).rmdir()


def enter_group(n_bytes: int) -> None:
    """Move this process into the group, with this limit."""
    group = find_group()
    assert group is not None
    (group / "cgroup.procs").write_text(str(os.getpid()))
    name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
    (group / name).write_text(str(n_bytes))


def read_number(path: str, key: str) -> int:
    """Read a number of a file of /proc that has a line for each."""
    return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(key))


class Commands:
    """Commands on one store."""

    def __init__(self, store: Path, threads: int, batch_size: int) -> None:
        self._store = store
        self._threads = threads
        self._batch_size = batch_size

    def _open(self, verify: Verify = "first") -> Reader:
        return open_store(self._store).reader(threads=self._threads, verify=verify)

    def _time(self, reader: Reader, epoch: int) -> float:
        """Return the samples per second of an epoch."""
        sampler = BatchSampler(np.arange(len(reader)), self._batch_size, seed=time.time_ns() % 1000)
        started = time.perf_counter()
        for batch in iter_batches(reader, sampler, resume_at=(epoch, 0), epochs=epoch + 1):
            int(batch.images[:, 0, 0, 0].sum())
            del batch
        return len(reader) / (time.perf_counter() - started)

    def disk(self, depth: str) -> Answer:
        """Read the bytes of each sample in random order past the page cache, so many at a time."""
        part = open_store(self._store).part("train")
        size = part.layout.shard_samples
        ranges = []
        for shard in range(part.layout.n_shards):
            path = part.shard_path(shard)
            bounds = decode_shard_index(np.fromfile(path, np.uint8), shard_samples=size)
            file = os.open(path, os.O_RDONLY | os.O_DIRECT)
            ranges += [(file, int(start), int(stop)) for start, stop in bounds if stop > start]
        order = iter(np.random.default_rng().permutation(len(ranges)).tolist())
        most = max(stop - start for _, start, stop in ranges) + 2 * mmap.PAGESIZE

        def read() -> None:
            memory = memoryview(mmap.mmap(-1, -(-most // mmap.PAGESIZE) * mmap.PAGESIZE))
            while (number := next(order, None)) is not None:
                file, start, stop = ranges[number]
                first = start & -mmap.PAGESIZE
                os.preadv(file, [memory[: -(-(stop - first) // mmap.PAGESIZE) * mmap.PAGESIZE]], first)

        started = time.perf_counter()
        with ThreadPoolExecutor(int(depth)) as pool:
            for job in [pool.submit(read) for _ in range(int(depth))]:
                job.result()
        return {"rate": len(ranges) / (time.perf_counter() - started)}

    def ahead(self, mib: str) -> Answer:
        """Read an epoch with another bound for what is fetched ahead."""
        disk_ahead.MAX_BYTES = int(mib) * 2**20
        with self._open() as reader:
            return {"rate": self._time(reader, 0)}

    def warm(self, verify: Verify) -> Answer:
        """Read two epochs by a new reader, of files that were read before."""
        with self._open("never") as reader:
            self._time(reader, 0)
        with self._open(verify) as reader:
            return {"first": self._time(reader, 1), "second": self._time(reader, 2)}

    def epochs(self, limit: str) -> Answer:
        """Read two epochs in a group with a limit in bytes, unless that is 0; also what the disk read, in stores."""
        n_bytes = sum(path.stat().st_size for path in self._store.rglob("*") if path.is_file())
        if int(limit):
            enter_group(int(limit))
        found: Answer = {}
        with self._open() as reader:
            before = read_number("/proc/self/io", "read_bytes")
            for number, name in enumerate(("first", "second")):
                found[name] = self._time(reader, number)
                found[f"anon_mb_{name}"] = read_number("/proc/self/status", "RssAnon") / 1000
            found["read_share"] = (read_number("/proc/self/io", "read_bytes") - before) / n_bytes
        return found


def main() -> None:
    """Serve the commands on the store that is named."""
    store, threads, batch_size = sys.argv[1:]
    commands = Commands(Path(store), int(threads), int(batch_size))
    serve({"disk": commands.disk, "ahead": commands.ahead, "warm": commands.warm, "epochs": commands.epochs})


if __name__ == "__main__":
    main()
