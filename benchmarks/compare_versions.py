"""How fast two versions of hpa are, in alternation: random batches in NumPy and TensorFlow, and conversion.

    python -m benchmarks.compare_versions OLD NEW [FOLDER] [--restarts 4] [--rounds 6] [--seconds 0.5] [--json FILE]

OLD and NEW are checkouts. FOLDER holds Kaggle's planes; without it, samples are synthesized first. Each version runs in
a process of its own, and both do each workload one after the other, in each round in the other order. The processes are
replaced several times, because some of them have luckier memory than others. Prints the ratio of the medians over all
rounds, NEW to OLD, and the quartiles of the ratios within a round; and of CPU time, which other programs on the machine
disturb less.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.processes import Answer, Worker
from benchmarks.samples import find_folder, make_parser, repeat_files

WORKLOADS = (
    *(f"{kind}-{codec}" for kind in ("numpy", "read", "tf.data") for codec in ("lz4hc", "raw")),
    *(f"convert-{codec}" for codec in ("lz4hc", "lz4", "raw")),
)
VERSIONS = ("old", "new")

# For each workload and version, a number per round.
Rounds = dict[str, dict[str, list[float]]]


def make_rounds(workloads: list[str]) -> Rounds:
    """Make the table of no rounds."""
    return {name: {version: [] for version in VERSIONS} for name in workloads}


def start_workers(checkouts: dict[str, Path], folder: Path, scratch: Path, threads: int) -> dict[str, Worker]:
    """Start a process for each version, and have it convert the samples that it will read."""
    workers = {}
    for version, checkout in checkouts.items():
        (scratch / version).mkdir()
        workers[version] = Worker("benchmarks.version_worker", checkout, folder, scratch / version, threads)
        path = check(workers[version].ask("version"))["path"]
        if not Path(path).is_relative_to(checkout):
            raise RuntimeError(f"Cannot compare versions: {path} was imported instead of {checkout}.")
        for codec in ("lz4hc", "raw"):
            check(workers[version].ask("prepare", codec))
    return workers


def check(answer: Answer) -> Answer:
    """Return an answer; raise its error."""
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def time_rounds(
    workers: dict[str, Worker], workloads: list[str], *, rounds: int, seconds: float
) -> tuple[Rounds, Rounds]:
    """Time the workloads in alternation, after one round that does not count; rates, and CPU seconds."""
    rates, cpu_s = make_rounds(workloads), make_rounds(workloads)
    for number in range(rounds + 1):
        for name in workloads:
            for version in VERSIONS[:: 1 if number % 2 else -1]:
                answer = check(workers[version].ask("time", name, seconds if number else 0))
                if number:
                    rates[name][version].append(answer["rate"])
                    cpu_s[name][version].append(answer["cpu_s"])
    return rates, cpu_s


def describe(rates: Rounds, cpu_s: Rounds) -> str:
    """Make the table."""
    lines = [f"{'workload':<16}{'old':>9}{'new':>9}{'new/old':>9}{'quartiles':>14}{'CPU new/old':>13}   samples/s"]
    for name, rate in rates.items():
        old, new = (statistics.median(rate[version]) for version in VERSIONS)
        ratios = np.divide(rate["new"], rate["old"])
        cpu = statistics.median(cpu_s[name]["new"]) / statistics.median(cpu_s[name]["old"])
        low, high = np.quantile(ratios, (0.25, 0.75))
        lines.append(f"{name:<16}{old:>9.0f}{new:>9.0f}{new / old:>9.3f}{f'{low:.3f} {high:.3f}':>14}{cpu:>13.3f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=128, rounds=6, positional=("old", "new"))
    parser.add_argument("--restarts", type=int, default=4, help="processes of each version, one after the other")
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds per workload, version and round, at least")
    parser.add_argument("--repeat", type=int, default=1, help="names for each sample of FOLDER")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    checkouts = {"old": options.old.resolve(), "new": options.new.resolve()}
    rates, cpu_s = make_rounds(options.workloads), make_rounds(options.workloads)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        folder = find_folder(options, scratch)
        if options.repeat > 1:
            folder = repeat_files(folder, scratch / "repeated", times=options.repeat)
        for restart in range(options.restarts):
            (scratch / str(restart)).mkdir()
            workers = start_workers(checkouts, folder, scratch / str(restart), options.threads)
            timed = time_rounds(workers, options.workloads, rounds=options.rounds, seconds=options.seconds)
            for worker in workers.values():
                worker.close()
            for total, part in zip((rates, cpu_s), timed, strict=True):
                for workload, of_version in part.items():
                    for version, values in of_version.items():
                        total[workload][version] += values
            print(f"restart {restart + 1} of {options.restarts}", file=sys.stderr)
    print(describe(rates, cpu_s))
    if options.json:
        options.json.write_text(json.dumps({"samples_per_s": rates, "cpu_s_per_1000": cpu_s}, indent=1))


if __name__ == "__main__":
    main()
