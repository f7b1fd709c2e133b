"""Whether this machine feeds its GPU: rates of the loader by codec and threads, and of training, in one command.

    KERAS_BACKEND=jax python -m benchmarks.gpu OUT [--samples 2048] [--steps 40] [--budget 430]

Draws synthetic samples into OUT and converts them, once per codec. Then reads them with 1 to 16 threads, times training
steps on a batch that stays on the device and on batches from the store, and trains two epochs with `hpa train`. After
each phase, what was found is written to OUT/gpu.json, and the tables to OUT/gpu.md; none begins after `--budget`
seconds. A phase that fails is listed with its reason, and the others go on. On a machine without a GPU it runs on the
processor, which takes `--samples 16 --image-size 128 --steps 2` to be done in minutes.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CODECS = ("lz4hc", "raw")
THREADS = (1, 2, 4, 8, 16)
# Network and images per step, the most telling first.
DEFAULT_NETWORKS = ("gapnet:20", "densenet121:32", "gapnet:128", "gapnet-pl:40")
# Two thirds of Kaggle's 31,072 samples, what each of three models is trained on in an epoch.
EPOCH_IMAGES = 20_700
PACKAGES = ("hpa", "numpy", "keras", "jax", "tensorflow", "zarr", "numcodecs")


@dataclass
class Found:
    """What was measured so far."""

    machine: dict[str, Any]
    phases: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """Write all of it, as JSON and as tables."""
        content = {"machine": self.machine, "phases": self.phases, "faults": self.faults}
        (out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
        (out / "gpu.md").write_text(describe(self))


def describe(found: Found) -> str:
    """Return the tables, in Markdown: samples/s of the loader, images/s of training."""
    machine = found.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [f"{machine['device']}; {machine['cores']} cores; Python {machine['python']}, {versions}.", ""]
    read = {name: row for name, row in found.phases.items() if "threads" in row}
    numbers = sorted({row["threads"] for row in read.values()})
    if numbers:
        lines += _tabulate(["codec", *(f"{number} threads" for number in numbers)])
        for codec in dict.fromkeys(row["codec"] for row in read.values()):
            rates = {row["threads"]: row["samples_per_s"] for row in read.values() if row["codec"] == codec}
            lines.append(_format_row([codec, *(_format_rate(rates.get(number)) for number in numbers)]))
        lines.append("")
    steps = [row for row in found.phases.values() if "on_device_rate" in row]
    if steps:
        head = ["network", "images per step", "one batch on the device", "from the store", "ratio", "waiting"]
        lines += _tabulate([*head, f"an epoch of {EPOCH_IMAGES:,} images"])
        for row in steps:
            resident, fed = row["on_device_rate"], row["from_store_rate"]
            cells = [f"`{row['model']}`, {row['precision']}", str(row["batch_size"]), f"{resident:,.0f} images/s"]
            cells += [f"{fed:,.0f} images/s", f"{fed / resident:.2f}", f"{row['wait_fraction']:.1%}"]
            lines.append(_format_row([*cells, f"{EPOCH_IMAGES / fed:,.0f} s"]))
        lines.append("")
    for name, row in found.phases.items():
        if "epoch_rates" in row:
            listed = ", ".join(f"{rate:,.0f}" for rate in row["epoch_rates"])
            lines.append(f"{name}: {listed} images/s in its epochs, {row['seconds']:.0f} s in all.")
    return "\n".join([*lines, *(f"Not measured: {fault}" for fault in found.faults)]) + "\n"


def _tabulate(head: list[str]) -> list[str]:
    return [_format_row(head), _format_row(["---"] * len(head))]


def _format_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}"


def run_hpa(words: str) -> tuple[str, float]:
    """Run a command of `hpa`; return what it prints and its seconds, RuntimeError with its last lines if it fails."""
    print(f"hpa {words}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    command = [sys.executable, "-m", "cli", *shlex.split(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"hpa {words} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout, time.perf_counter() - started


def _draw(out: Path, samples: int) -> dict[str, Any]:
    _, seconds = run_hpa(f"synth {out}/drawn --samples {samples} --uniform")
    return {"seconds": seconds}


def _convert(out: Path, codec: str) -> dict[str, Any]:
    _, seconds = run_hpa(f"convert {out}/drawn/train {out}/{codec}.zarr --labels {out}/drawn/train.csv --codec {codec}")
    return {"seconds": seconds}


def _read(out: Path, codec: str, threads: int, samples: int) -> dict[str, Any]:
    words = f"--rounds 2 --threads {threads} --samples {min(samples, 512)} --batch-size 64 --json"
    report, _ = run_hpa(f"bench io {out}/{codec}.zarr {words}")
    rates = {row["name"]: row["rate"] for row in json.loads(report)["rows"]}
    return {"codec": codec, "threads": threads, "samples_per_s": rates["NumPy"], "rates": rates}


def _step(out: Path, options: str) -> dict[str, Any]:
    report, _ = run_hpa(f"bench step {out}/{CODECS[0]}.zarr {options} --json")
    measured: dict[str, Any] = json.loads(report)
    return measured


def _train(out: Path, options: str) -> dict[str, Any]:
    from hpa_model.runs.history import read_history

    store, run = f"{out}/{CODECS[0]}.zarr", out / "run"
    _, seconds = run_hpa(f"train {store} {options} --folds 2 --fold 0 --epochs 3 --overwrite --out {run}")
    (history,) = [records for records in read_history(run, 2) if records]
    return {"seconds": seconds, "epoch_rates": [record.images_per_s for record in history]}


def list_phases(arguments: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """List what is done, by name, in order."""
    out, samples = arguments.out, arguments.samples
    phases: dict[str, Callable[[], dict[str, Any]]] = {"synthetic samples": partial(_draw, out, samples)}
    phases |= {f"conversion, {codec}": partial(_convert, out, codec) for codec in CODECS}
    networks = [pair.rpartition(":") for pair in arguments.network or DEFAULT_NETWORKS]
    size = "" if arguments.image_size is None else f" --image-size {arguments.image_size}"
    options = [f"--model {name} --batch-size {min(int(n_images), samples)}{size}" for name, _, n_images in networks]
    steps = {
        f"steps, {name} {n_images}": partial(_step, out, f"{words} --steps {arguments.steps}")
        for (name, _, n_images), words in zip(networks, options, strict=True)
    }
    first = next(iter(steps))
    phases |= {first: steps.pop(first), "hpa train": partial(_train, out, options[0])}
    counts = [number for number in reversed(THREADS) if number <= len(os.sched_getaffinity(0))]
    for codec in CODECS:
        phases |= {
            f"reading, {codec}, {number} threads": partial(_read, out, codec, number, samples) for number in counts
        }
    return phases | steps


def _describe_machine() -> dict[str, Any]:
    """Name what is measured."""
    from hpa_model.backend import describe_device, settle_keras

    settle_keras()
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    found = {"device": describe_device(1), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    return {**found, "versions": versions}


def main() -> None:
    """Run the phases, and print the tables."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--image-size", type=int, help="size of the networks' input; by default 512")
    parser.add_argument("--steps", type=int, default=40, help="of each kind, for a network")
    parser.add_argument("--budget", type=float, default=430, help="seconds after which no phase begins")
    parser.add_argument("--network", action="append", metavar="NAME:BATCH", help="repeatable, in place of the four")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found = Found(_describe_machine())
    for phase, run in list_phases(arguments).items():
        if time.perf_counter() - started > arguments.budget:
            found.faults.append(f"{phase}: not begun, {arguments.budget:.0f} s had passed")
            continue
        try:
            found.phases[phase] = run()
        except Exception as error:  # the others go on
            found.faults.append(f"{phase}: {error}")
        found.write(out)
    found.write(out)
    print(describe(found))


if __name__ == "__main__":
    main()
