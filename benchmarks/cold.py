"""How fast batches are read when nothing is in the page cache, and when less fits there than a store has.

    python -m benchmarks.cold [FOLDER] [--repeat 4] [--samples 1024] [--rounds 5] [--threads 2] [--peers] [--json FILE]
                              [--ahead-mib 8 32 128]

FOLDER holds Kaggle's planes; without it, samples are synthesized. In each round

- the disk reads the bytes of all samples in random order, past the page cache, with 1 to 64 requests at a time;
- samples are decoded alone, from memory (`lz4hc`);
- each row of `benchmarks.loaders` (ours and TensorStore; with --peers, all) delivers one epoch in a new process, after
  the system was asked to drop its files;
- an epoch is read from the page cache with and without comparing checksums;
- a store is read for two epochs in a control group with a third of its size in memory, where the system lets us make
  one (root), and without a limit beside it.

Prints the median of the rounds of each, and ratios as medians of the ratios in each round. --ahead-mib adds our NumPy
row with other bounds for what is fetched ahead.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cold_worker import DEPTHS, find_group, remove_group
from benchmarks.loaders.results import Result
from benchmarks.loaders.row import Limit, Loader, Setup
from benchmarks.loaders.run import RowProcess, drop_from_cache, is_installed, open_row, prepare, time_cold
from benchmarks.loaders.worker import PEERS, ROWS
from benchmarks.processes import Worker
from benchmarks.samples import find_folder, make_parser, repeat_files

CODECS = ("lz4hc", "raw")
OURS = tuple(f"hpa {codec}, {kind}" for codec in CODECS for kind in ("NumPy", "tf.data", "read"))
TENSORSTORE = {"lz4hc": "TensorStore", "raw": "TensorStore raw"}
# A process needs so much for Python and libraries; a smaller group would measure those.
MIN_GROUP_BYTES = 300 * 10**6

Rates = dict[str, list[float]]


def list_files(setup: Setup, codec: str) -> list[Path]:
    """List the files of one of our stores."""
    return [path for path in (setup.stores / f"{codec}.zarr").rglob("*") if path.is_file()]


def measure_limits(setup: Setup, decode: RowProcess, rates: Rates) -> None:
    """Add the rates of the disk and of decoding alone."""
    for codec in CODECS:
        for depth in DEPTHS:
            answer = ask_worker(setup, codec, "disk", depth)
            rates.setdefault(f"disk {codec}, {depth} at a time", []).append(answer["rate"])
    rates.setdefault("decode lz4hc", []).append(decode.worker.ask("time", 1.0, 8.0)["rate"])


def ask_worker(setup: Setup, codec: str, *command: object) -> dict[str, float]:
    """Run a command of `cold_worker` on one of our stores, in a process of its own."""
    store = setup.stores / f"{codec}.zarr"
    worker = Worker("benchmarks.cold_worker", store, setup.threads, setup.batch_size)
    answer = worker.ask(*command)
    worker.close()
    if "error" in answer:
        sys.exit(f"cold_worker {command}: {answer['error']}")
    return answer


def measure_checksums(setup: Setup, rates: Rates) -> None:
    """Add the rates of a first and a second epoch from the page cache, with and without comparing checksums."""
    for codec in CODECS:
        for verify in ("first", "never"):
            answer = ask_worker(setup, codec, "warm", verify)
            for epoch in ("first", "second"):
                rates.setdefault(f"warm {codec}, verify={verify}, {epoch} epoch", []).append(answer[epoch])


def measure_memory(setup: Setup, rates: Rates) -> None:
    """Add the rates of two epochs with a third of the store in memory, and without a limit."""
    for codec in CODECS:
        files = list_files(setup, codec)
        n_bytes = sum(path.stat().st_size for path in files) // 3
        if find_group() is None or n_bytes < MIN_GROUP_BYTES:
            continue
        for limit in (0, n_bytes):
            drop_from_cache(files)
            answer = ask_worker(setup, codec, "epochs", limit)
            name = f"{codec} in a third of its size" if limit else f"{codec} without a limit"
            for key in ("first", "second", "read_share", "anon_mb_first", "anon_mb_second"):
                rates.setdefault(f"{name}, {key}", []).append(answer[key])


def run(
    rows: list[Loader | Limit], setup: Setup, processes: dict[str, RowProcess], options: argparse.Namespace
) -> Rates:
    """Measure all rounds."""
    rates: Rates = {}
    for number in range(options.rounds):
        measure_limits(setup, processes["decode lz4hc"], rates)
        for row in rows:
            if isinstance(row, Loader) and (rate := time_cold(processes[row.name])) is not None:
                rates.setdefault(f"cold {row.name}", []).append(rate)
        for mib in options.ahead_mib:
            for codec in CODECS:
                drop_from_cache(list_files(setup, codec))
                answer = ask_worker(setup, codec, "ahead", mib)
                rates.setdefault(f"cold {codec}, {mib} MiB ahead", []).append(answer["rate"])
        measure_checksums(setup, rates)
        measure_memory(setup, rates)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return rates


def find_ratios(rates: Rates) -> dict[str, float]:
    """Compute the ratios that were asked for, each the median over the rounds."""

    def divide(above: list[float], below: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(above, below, strict=True))

    found = {}
    for codec in CODECS:
        disk = [
            max(each) for each in zip(*(rates[f"disk {codec}, {depth} at a time"] for depth in DEPTHS), strict=True)
        ]
        limit = disk if codec == "raw" else [min(pair) for pair in zip(disk, rates["decode lz4hc"], strict=True)]
        name = "the disk" if codec == "raw" else "the smaller of disk and decoding"
        for kind in ("NumPy", "tf.data", "read"):
            if ours := rates.get(f"cold hpa {codec}, {kind}"):
                found[f"cold {codec}, {kind} / {name}"] = divide(ours, limit)
        ours, other = rates.get(f"cold hpa {codec}, NumPy"), rates.get(f"cold {TENSORSTORE[codec]}")
        if ours and other:
            found[f"cold {codec}, NumPy / TensorStore"] = divide(ours, other)
        first, never = (rates[f"warm {codec}, verify={verify}, first epoch"] for verify in ("first", "never"))
        found[f"warm {codec}, first epoch compared / not compared"] = divide(first, never)
        for epoch in ("first", "second"):
            if tight := rates.get(f"{codec} in a third of its size, {epoch}"):
                found[f"{codec} in a third of its size, {epoch} epoch / cold"] = divide(
                    tight, rates[f"{codec} without a limit, first"]
                )
    peers = {name: statistics.median(rates[f"cold {name}"]) for row in PEERS if f"cold {(name := row.name)}" in rates}
    if peers:
        best = max(peers, key=lambda name: peers[name])
        found[f"cold lz4hc, NumPy / best other row ({best})"] = divide(
            rates["cold hpa lz4hc, NumPy"], rates[f"cold {best}"]
        )
    return found


def main() -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__, n_samples=1024)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=1, help="names for each sample of FOLDER")
    parser.add_argument("--peers", action="store_true", help="all rows of benchmarks.loaders")
    parser.add_argument("--ahead-mib", type=int, nargs="*", default=[], help="other bounds of what is fetched ahead")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = {"decode lz4hc", *OURS, *TENSORSTORE.values()}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        scratch = Path(name).resolve()
        folder = find_folder(options, scratch)
        if options.repeat > 1:
            folder = repeat_files(folder, scratch / "repeated", times=options.repeat)
        setup, expected = prepare(folder, scratch, options)
        rows = [row for row in ROWS if row.name in wanted or (options.peers and row in PEERS)]
        rows = [row for row in rows if all(is_installed(module) for module in getattr(row, "modules", ()))]
        processes = {}
        for number, row in enumerate(rows):
            result = Result(name=row.name, description=row.description, shuffle=getattr(row, "shuffle", ""))
            own = replace(setup, folder=setup.folder / f"row{number}")
            processes[row.name] = open_row(row, own, expected, result)
            if isinstance(row, Loader):
                processes[row.name].worker.close()  # a new process is started for each epoch; this one checked it
            if result.state != "ok":
                sys.exit(f"{row.name}: {result.state}")
        rates = run(rows, setup, processes, options)
        processes["decode lz4hc"].worker.close()
        remove_group()
    for key, values in rates.items():
        print(f"{key:<60}{statistics.median(values):>10,.2f}  [{min(values):,.2f}, {max(values):,.2f}]")
    ratios = find_ratios(rates)
    for key, value in ratios.items():
        print(f"{key:<60}{value:>10.2f}")
    if options.json:
        options.json.write_text(json.dumps({"rates": rates, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
