"""How time and memory grow with the number of samples: planning, opening, resuming, statistics, folds.

    python -m benchmarks.growth [--samples 1000 10000 100000 1000000] [--size 16] [--folder DIR] [--rows ROW …]

For each number, a source with four planes per sample, all links to some small files, and a finished part of random
images of that size are made in a temporary folder below DIR: 100,000 samples of 16 x 16 take 0.4 GB, a million 4 GB.
Each row is a process of its own: its seconds, its seconds of processor time, and its highest resident memory, which
counts the files that it maps. What makes the source and the part is not measured, and does not wait for the disk.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import cv2
import numpy as np

from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018, Sample
from hpa_data.folds.duplicates import find_near_duplicates
from hpa_data.sources.naming import SampleFiles
from hpa_data.store.build import build_part

SAMPLES = (1000, 10_000, 100_000, 1_000_000)
# Links to one file: file systems allow 65,000 (ext4) or fewer.
MAX_LINKS = 30_000
N_BITS = 63

# What is run in each process, with its folder as the working directory; a list is a command line of `hpa`.
ROWS: dict[str, list[str] | str] = {
    "plan (convert --dry-run)": ["convert", "source", "a.zarr", "--labels", "train.csv", "--dry-run"],
    "open, and a reader": "open_reader()",
    "resume (convert, all done)": ["convert", "source", "a.zarr", "--labels", "train.csv"],
    "stats --no-intensities": ["stats", "a.zarr", "--no-intensities"],
    "stats": ["stats", "a.zarr"],
    "folds --no-near-duplicates": ["folds", "a.zarr", "--no-near-duplicates"],
    "folds --duplicates near": ["folds", "a.zarr", "--duplicates", "near"],
    "near duplicates of random hashes": "compare_hashes(n_samples)",
}


def open_reader() -> None:
    """Open the store and a reader over its part."""
    from hpa_data.store.store import open_store

    with open_store("a.zarr").reader() as reader:
        reader.read(np.arange(0, len(reader), -(-len(reader) // 100)))


def compare_hashes(n_samples: int) -> None:
    """Search random hashes, one of ten a copy of another in which up to 20 bits differ, and check what is found."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**N_BITS, (n_samples, 4), np.uint64) | np.uint64(1 << N_BITS)
    copies = np.arange(n_samples - n_samples // 10, n_samples)
    hashes[copies] = hashes[: len(copies)]
    for _ in range(20):
        flipped = np.uint64(1) << rng.integers(0, N_BITS, len(copies)).astype(np.uint64)
        hashes[copies, rng.integers(0, 4, len(copies))] ^= flipped
    pairs = find_near_duplicates(hashes)
    if pairs.tolist() != np.column_stack([np.arange(len(copies)), copies]).tolist():
        raise RuntimeError("the pairs found are not those that were made")


def write_source(folder: Path, n_samples: int, size: int) -> None:
    """Write the planes of each sample, links to a few files, and a label table."""
    (folder / "source").mkdir()
    rng = np.random.default_rng(0)
    with (folder / "train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Id", "Target"])
        for number in range(n_samples):
            name = f"{number:08x}-bbad-11e8-b2ba-ac1f6b6435d0"
            table.writerow([name, " ".join(map(str, sorted({*rng.integers(0, 28, 2).tolist()})))])
            if number % MAX_LINKS == 0:
                planes = {channel: folder / f"{channel}-{number}.png" for channel in HPA_2018.channel_names}
                for path in planes.values():
                    cv2.imwrite(str(path), rng.integers(0, 256, (size, size), np.uint8))
            for channel, path in planes.items():
                os.link(path, folder / "source" / f"{name}_{channel}.png")


def draw_sample(files: SampleFiles, size: int) -> Sample:
    """Draw a sample that has nothing to do with its files: blocks of one value with noise."""
    rng = np.random.default_rng(zlib.crc32(files.id.encode()))
    coarse = rng.integers(0, 200, (8, 8, 4), np.uint8)
    image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_NEAREST)
    return Sample(image=image + rng.integers(0, 8, image.shape, np.uint8), origin="PNG, 8 bits")


def write_store(folder: Path, size: int) -> None:
    """Write the part that a conversion of the source would finish, but for the pixels."""
    dataset = HPA_2018.resized(size, size)
    plan = plan_conversion(folder / "source", folder / "a.zarr", labels=folder / "train.csv", dataset=dataset)
    build_part(plan.part, plan.samples, lambda files: draw_sample(files, size), expected_bytes=lambda n: n * size**2)


def write_all(n_samples: int, size: int) -> None:
    """Write source and store into the working directory."""
    os.fsync = lambda fd: None  # the disk is not what is measured
    write_source(Path.cwd(), n_samples, size)
    write_store(Path.cwd(), size)


def run_process(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a command in a process of its own; return seconds, seconds of processor time, and MB of memory."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        text = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text[-2000:]}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes, or KiB
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


def list_command(row: str, n_samples: int, size: int) -> list[str]:
    """Return the command line of a row."""
    code = ROWS[row]
    if isinstance(code, str):
        return [sys.executable, "-c", f"from benchmarks.growth import *; n_samples = {n_samples}; {code}"]
    options = ["--image-size", str(size)] if code[0] == "convert" else []
    return [sys.executable, "-m", "cli", *code, *options]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    options = parser.parse_args()
    print(f"{'row':<34} {'samples':>9} {'s':>8} {'CPU s':>8} {'MB':>7}")
    for n_samples in options.samples:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            # A process of its own, as the memory of this one counts at the start of those that are measured.
            write = f"from benchmarks.growth import *; write_all({n_samples}, {options.size})"
            run_process([sys.executable, "-c", write], Path(name))
            for row in options.rows:
                command = list_command(row, n_samples, options.size)
                seconds, processor_s, megabytes = run_process(command, Path(name))
                print(f"{row:<34} {n_samples:>9} {seconds:>8.1f} {processor_s:>8.1f} {megabytes:>7.0f}", flush=True)


if __name__ == "__main__":
    main()
