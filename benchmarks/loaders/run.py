"""How fast random batches are read: by our loader, by the alternatives, and by the limits of the machine.

    python -m benchmarks.loaders.run [FOLDER] [--rounds 5] [--threads 2] [--samples 1024] [--batch-size 20] [--cold]
                                     [--rows NAME ...] [--json FILE] [--chart FILE]

FOLDER holds Kaggle's planes; without it, samples are synthesized first. Every row gets the same samples in its own
format, written once and not timed, the same number of threads, the same batch size, and a process of its own. First
each row delivers an epoch whose images are compared with the source by their CRC-32; then the rows are timed in
alternation, with the files in the page cache. With --cold, each row is then timed for one more epoch in a new process,
after the files were dropped from the page cache. A loader that is not installed is shown as absent.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loaders.results import Result, describe, draw, read_versions
from benchmarks.loaders.row import Limit, Loader, Setup
from benchmarks.loaders.worker import ROWS
from benchmarks.processes import Answer, Worker
from benchmarks.samples import CODEC_NAMES, find_folder, make_parser, repeat_files
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.store.store import open_store

# A round times a row for at least the first, and stops a slow epoch after the second.
MIN_SECONDS, MAX_SECONDS = 1.0, 8.0


@dataclass(frozen=True, kw_only=True)
class RowProcess:
    """A row with its setup, and the process that runs it."""

    row: Loader | Limit
    setup: Setup
    worker: Worker


def start_row(row: Loader | Limit, setup: Setup) -> RowProcess:
    """Start the process of a row."""
    path = setup.folder.parent / f"{setup.folder.name}.json"
    path.write_text(json.dumps(asdict(setup), default=str))
    return RowProcess(row=row, setup=setup, worker=Worker("benchmarks.loaders.worker", row.name, path))


def prepare(folder: Path, scratch: Path, options: argparse.Namespace) -> tuple[Setup, Counter[int]]:
    """Write the samples as stores and as one array; return the setup of all rows, and each image's CRC-32."""
    for codec in CODEC_NAMES:
        convert_files(plan_conversion(folder, scratch / "stores" / f"{codec}.zarr", codec=codec))
    with open_store(scratch / "stores" / "raw.zarr").reader() as reader:
        shape = (len(reader), *reader.image_shape)
        images: np.memmap[Any, Any] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            scratch / "images.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        for index in range(len(reader)):
            images[index] = reader.read_one(index)
        images.flush()
        expected = Counter(zlib.crc32(image) for image in images)
    setup = Setup(
        folder=scratch,
        png=folder,
        images=scratch / "images.npy",
        stores=scratch / "stores",
        ids=tuple(reader.ids),
        batch_size=options.batch_size,
        threads=options.threads,
        seed=0,
    )
    return setup, expected


def find_files(row: Loader | Limit, setup: Setup) -> list[Path]:
    """List the files that a row reads."""
    if isinstance(row, Loader) and row.write is not None:
        folder = setup.folder
    elif "PNG" in row.name:
        folder = setup.png
    elif "memmap" in row.name:
        return [setup.images]
    else:
        codec = next((codec for codec in CODEC_NAMES if codec in row.name.replace(",", " ").split()), "lz4hc")
        folder = setup.stores / f"{codec}.zarr" / "train" / "images"
    return [path for path in folder.rglob("*") if path.is_file()]


def drop_from_cache(files: list[Path]) -> None:
    """Ask the system to drop files from the page cache."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def is_installed(module: str) -> bool:
    """Return whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def open_row(row: Loader | Limit, setup: Setup, expected: Counter[int], result: Result) -> RowProcess:
    """Write a row's files, open it in a new process and check its images; note in the result what is known by then."""
    setup.folder.mkdir()
    writer = start_row(row, setup)
    answers = [writer.worker.ask("write")]
    writer.worker.close()  # the memory that writing took is not the row's
    process = start_row(row, setup)
    answers.append(process.worker.ask("open"))
    if isinstance(row, Loader):
        answers.append(process.worker.ask("check"))
        found = Counter(dict(answers[-1].get("found", [])))
        if found != expected:
            n_wrong = sum((found - expected).values()) + sum((expected - found).values())
            result.state = f"wrong: {n_wrong} images missing, repeated or changed"
    errors = [answer["error"] for answer in answers if "error" in answer]
    if errors:
        result.state = f"failed: {errors[0]}"
    result.first_s = answers[1].get("first_s", 0.0)
    result.disk_mb = sum(path.stat().st_size for path in find_files(row, setup)) / 1e6
    return process


def add_round(result: Result, answer: Answer) -> None:
    """Add the answer of a round to the result of its row."""
    if "error" in answer:
        result.state = f"failed: {answer['error']}"
        return
    result.rates.append(answer["rate"])
    result.cpu_s.append(answer["cpu_s"])
    result.peak_mb = max(result.peak_mb, answer["peak_bytes"] / 1e6)


def time_cold(process: RowProcess) -> float | None:
    """Time one epoch of a loader in a new process, without the page cache."""
    drop_from_cache(find_files(process.row, process.setup))
    worker = start_row(process.row, process.setup).worker
    rate: float | None = worker.ask("time", 0, 4 * MAX_SECONDS).get("rate")
    worker.close()
    return rate


def run(rows: list[Loader | Limit], setup: Setup, expected: Counter[int], options: argparse.Namespace) -> list[Result]:
    """Write, check and time the rows."""
    results: dict[str, Result] = {}
    processes: dict[str, RowProcess] = {}
    for number, row in enumerate(rows):
        result = Result(name=row.name, description=row.description, shuffle=getattr(row, "shuffle", ""))
        results[row.name] = result
        missing = [name for name in getattr(row, "modules", ()) if not is_installed(name)]
        if missing:
            result.state = f"absent: no {', '.join(missing)}"
        else:
            own_setup = replace(setup, folder=setup.folder / f"row{number}")
            processes[row.name] = open_row(row, own_setup, expected, result)
        print(f"{row.name}: {result.state}", file=sys.stderr)
    for number in range(options.rounds):
        for name, process in processes.items():
            if results[name].state == "ok":
                add_round(results[name], process.worker.ask("time", MIN_SECONDS, MAX_SECONDS))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    for process in processes.values():
        process.worker.close()
    for name, process in processes.items():
        if options.cold and isinstance(process.row, Loader) and results[name].state == "ok":
            results[name].cold_rate = time_cold(process)
    return list(results.values())


def main() -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__, n_samples=1024)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=1, help="names for each sample of FOLDER")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="only these", metavar="NAME")
    parser.add_argument("--cold", action="store_true", help="also without the page cache")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        folder = find_folder(options, scratch)
        if options.repeat > 1:
            folder = repeat_files(folder, scratch / "repeated", times=options.repeat)
        setup, expected = prepare(folder, scratch, options)
        rows = [row for row in ROWS if options.rows is None or row.name in options.rows]
        results = run(rows, setup, expected, options)
    print(describe(results))
    versions = read_versions()
    print(", ".join(f"{name} {text}" for name, text in versions.items()))
    if options.json:
        report = {
            "rows": [asdict(result) for result in results],
            "versions": versions,
            "n_samples": len(setup.ids),
            "threads": setup.threads,
            "batch_size": setup.batch_size,
        }
        options.json.write_text(json.dumps(report, indent=1))
    if options.chart:
        draw(results, options.chart, f"Random batches of {setup.batch_size}, {setup.threads} threads, warm page cache")
    if any(result.state.startswith(("failed", "wrong")) for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
