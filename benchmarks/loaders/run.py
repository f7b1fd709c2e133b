"""How fast random batches come into memory: our loader, what a user might take instead, and the limits of the machine.

    python -m benchmarks.loaders.run [FOLDER] [--rounds 5] [--threads 2] [--samples 1024] [--batch-size 20] [--cold]
                                 [--rows NAME ...] [--json FILE] [--chart FILE]

FOLDER holds Kaggle's planes; without it, samples are made up first. Every row is given the same samples in the form
that it wants, written once and not timed, the same threads and batch size, and a process of its own. First each row
delivers an epoch whose images are held against the source by their CRC-32; then the rows are timed in turn, round after
round, with the files in the page cache. With --cold, each row is then timed once more for one epoch in a new process,
after the system was asked to drop the files from its cache. A peer that is not installed is shown as absent.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loaders.row import Limit, Loader, Setup
from benchmarks.loaders.worker import ROWS
from benchmarks.samples import find_folder, make_parser, repeat_files
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.format.codecs import CODECS
from hpa_data.store.store import open_store

WORKER = "benchmarks.loaders.worker"
ROOT = Path(__file__).parents[2]
# A round times a row for at least so long, and stops a slow one in mid-epoch.
LEAST_S, MOST_S = 1.0, 8.0
# The limit that each codec's rows are held against.
LIMIT_OF = {"raw": "copy raw", "cached": "memcpy"} | {codec: f"decode {codec}" for codec in ("lz4hc", "lz4", "zstd")}
# Whose versions are told with the results.
PACKAGES = (
    *("numpy", "numcodecs", "zarr", "tensorflow", "tensorstore", "opencv-python-headless", "h5py", "hdf5plugin"),
    *("lmdb", "array_record", "webdataset", "insitubatch", "annbatch", "zarrs"),
)


@dataclass(kw_only=True)
class Result:
    """What came out of a row.

    Attributes
    ----------
    name, shows, shuffle : str
    state : str
        ``ok``, or why there are no figures.
    rates : list of float
        Samples a second of each round, files in the page cache.
    cpu_s : list of float
        Seconds of all cores for 1,000 samples, of each round.
    peak_mb : float
        The most memory of the process at once, pages of mapped files included.
    first_s : float
        From opening to the first batch, its own imports included, in a process that has just started.
    disk_mb : float
        What the row reads, on disk.
    cold_rate : float or None
    """

    name: str
    shows: str
    shuffle: str
    state: str = "ok"
    rates: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    first_s: float = 0.0
    disk_mb: float = 0.0
    cold_rate: float | None = None

    @property
    def rate(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rates)


class Worker:
    """The process of a row."""

    def __init__(self, row: Loader | Limit, setup: Setup) -> None:
        path = setup.folder.parent / f"{setup.folder.name}.json"
        path.write_text(json.dumps(asdict(setup), default=str))
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, row.name, path],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, *command: object) -> dict[str, Any]:
        """Have something done; the answer has a ``fault`` if it could not be."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            print(*command, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"fault": f"its process ended with {self._process.wait()}"}

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def prepare(folder: Path, scratch: Path, options: argparse.Namespace) -> tuple[Setup, Counter[int]]:
    """Write the samples as stores and as one array; return what rows are given, and each image's CRC-32."""
    for codec in CODECS:
        convert_files(plan_conversion(folder, scratch / "stores" / f"{codec}.zarr", codec=codec))
    with open_store(scratch / "stores" / "raw.zarr").reader() as reader:
        images = np.lib.format.open_memmap(
            scratch / "images.npy", mode="w+", dtype=np.uint8, shape=(len(reader), *reader.image_shape)
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
        roots = [setup.folder]
    elif "PNG" in row.name:
        roots = [setup.png]
    elif "memmap" in row.name:
        return [setup.images]
    else:
        codec = next((codec for codec in CODECS if codec in row.name.replace(",", " ").split()), "lz4hc")
        roots = [setup.stores / f"{codec}.zarr" / "train" / "images"]
    return [path for root in roots for path in root.rglob("*") if path.is_file()]


def drop_from_cache(files: list[Path]) -> None:
    """Ask the system to forget what it has of some files."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def run(rows: list[Loader | Limit], setup: Setup, expected: Counter[int], options: argparse.Namespace) -> list[Result]:
    """Write, check and time the rows."""
    results, workers = {}, {}
    for number, row in enumerate(rows):
        result = Result(name=row.name, shows=row.shows, shuffle=getattr(row, "shuffle", ""))
        results[row.name] = result
        absent = [name for name in getattr(row, "modules", ()) if not is_there(name)]
        if absent:
            result.state = f"absent: no {', '.join(absent)}"
            continue
        own = replace(setup, folder=setup.folder / f"row{number}")
        own.folder.mkdir()
        workers[row.name] = (Worker(row, own), own)
        worker, _ = workers[row.name]
        answers = [worker.ask("write")]
        worker.close()
        worker = Worker(row, own)  # what writing leaves behind is not the row's
        workers[row.name] = (worker, own)
        answers.append(worker.ask("open"))
        if isinstance(row, Loader):
            answers.append(worker.ask("check"))
            found = Counter(dict(answers[-1].get("found", [])))
            if found != expected and not any("fault" in answer for answer in answers):
                n_wrong = sum((found - expected).values()) + sum((expected - found).values())
                result.state = f"wrong: {n_wrong} images missing, repeated or changed"
        result.state = next((f"failed: {answer['fault']}" for answer in answers if "fault" in answer), result.state)
        result.first_s = answers[1].get("first_s", 0.0)
        result.disk_mb = sum(path.stat().st_size for path in find_files(row, own)) / 1e6
        print(f"{row.name}: {result.state}", file=sys.stderr)
    for number in range(options.rounds):
        for name, (worker, _) in workers.items():
            if results[name].state == "ok":
                note(results[name], worker.ask("time", LEAST_S, MOST_S))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    for worker, _ in workers.values():
        worker.close()
    if options.cold:
        for row in rows:
            if isinstance(row, Loader) and results[row.name].state == "ok":
                own = workers[row.name][1]
                drop_from_cache(find_files(row, own))
                worker = Worker(row, own)
                results[row.name].cold_rate = worker.ask("time", 0, 4 * MOST_S).get("rate")
                worker.close()
    return list(results.values())


def is_there(module: str) -> bool:
    """Tell whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def note(result: Result, answer: dict[str, Any]) -> None:
    """Keep what a round gave."""
    if "fault" in answer:
        result.state = f"failed: {answer['fault']}"
        return
    result.rates.append(answer["rate"])
    result.cpu_s.append(answer["cpu_s"])
    result.peak_mb = max(result.peak_mb, answer["peak_bytes"] / 1e6)


def find_limit(result: Result, results: list[Result]) -> Result | None:
    """Find the limit that one of our own rows is held against."""
    if not result.name.startswith("hpa "):
        return None
    name = LIMIT_OF[result.name.split()[1].rstrip(",")]
    return next((other for other in results if other.name == name and other.state == "ok"), None)


def describe(results: list[Result]) -> str:
    """Make the table."""
    heads = f"{'row':<26}{'samples/s':>10}{'lowest':>8}{'highest':>8}{'limit':>7}{'cold':>8}{'CPU s':>7}{'first s':>8}"
    lines = [f"{heads}{'peak MB':>9}{'disk MB':>9}  order, or what it shows"]
    for row in results:
        if row.state != "ok":
            lines.append(f"{row.name:<26}{row.state}")
            continue
        limit = find_limit(row, results)
        share = "" if limit is None else f"{statistics.median(np.divide(row.rates, limit.rates)):.2f}"
        cold = "" if row.cold_rate is None else f"{row.cold_rate:.0f}"
        lines.append(
            f"{row.name:<26}{row.rate:>10.0f}{min(row.rates):>8.0f}{max(row.rates):>8.0f}{share:>7}{cold:>8}"
            f"{statistics.median(row.cpu_s):>7.2f}{row.first_s:>8.2f}{row.peak_mb:>9.0f}{row.disk_mb:>9.0f}"
            f"  {row.shuffle or row.shows}"
        )
    return "\n".join(lines)


def read_versions() -> dict[str, str]:
    """Look up what the figures depend on."""
    found = {"python": platform.python_version(), "machine": f"{os.cpu_count()} cores, {platform.machine()}"}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def draw(results: list[Result], path: Path, title: str) -> None:
    """Draw one bar a row, the limits as lines of their own kind."""
    from matplotlib.figure import Figure

    rows = sorted((row for row in results if row.rates), key=lambda row: row.rate)
    limits = {limit.name for limit in rows if not limit.shuffle}
    colours = ["#b9b9b9" if r.name in limits else "#d1495b" if r.name.startswith("hpa") else "#4f7cac" for r in rows]
    figure = Figure(figsize=(9, 1.4 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh([row.name for row in rows], [row.rate for row in rows], color=colours)
    for place, row in enumerate(rows):
        order = f"  (shuffled: {row.shuffle})" if row.shuffle not in {"", "permutation"} else ""
        axes.text(row.rate, place, f" {row.rate:,.0f}{order}", va="center", fontsize=8)
    axes.set_xlabel("samples of 512 x 512 x 4 a second; shuffled over all samples unless said otherwise")
    axes.set_title(title, loc="left", fontsize=10)
    axes.margins(y=0.01)
    axes.set_xlim(right=1.1 * rows[-1].rate)
    axes.spines[["top", "right"]].set_visible(False)
    for label, colour in (("hpa", "#d1495b"), ("others", "#4f7cac"), ("limits of the machine", "#b9b9b9")):
        axes.barh([0], [0], color=colour, label=label)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)


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
    print(", ".join(f"{name} {told}" for name, told in versions.items()))
    if options.json:
        told = {"rows": [asdict(result) for result in results], "versions": versions, "n_samples": len(setup.ids)}
        options.json.write_text(json.dumps(told | {"threads": setup.threads, "batch_size": setup.batch_size}, indent=1))
    if options.chart:
        draw(results, options.chart, f"Random batches of {setup.batch_size}, {setup.threads} threads, warm page cache")
    if any(result.state.startswith(("failed", "wrong")) for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
