"""How fast random batches come from a store at a URL, at some latencies and one rate, by HTTP and by S3.

    python -m benchmarks.remote [FOLDER] [--samples 512] [--repeat 1] [--rounds 3] [--seconds 4] [--rate-mb 250]
        [--latencies 1 20 100 300] [--kinds http s3] [--rows hpa-NumPy TensorStore …] [--in-flight 256]

FOLDER holds Kaggle's planes; synthetic samples if left out. The server runs on this machine (`far_server`): it answers
after the latency, and sends at the rate. Rows are processes of their own, and take turns in each round. TensorStore's
driver for Zarr and obstore have 256 requests in flight, in as many batches as that takes. The limit is the smaller of
the rate and decoding alone, without a server; the server takes its share of the machine. *At once*: the most requests
that the server saw at once. *Peak* is the memory of a row while batches are read, and *growth* what it holds then and
did not before the first batch. What a row has read ahead before its turn is not counted: 512 samples. At the end, the
seconds that opening the store, and `hpa stats`, take. ``hpa-disk`` reads from a cache on a disk that a first epoch has
filled, ``hpa-local`` the store itself: neither has to do with the rate.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.processes import ROOT, Worker
from benchmarks.remote_worker import ROWS
from benchmarks.samples import find_folder, make_parser, repeat_files
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.store.store import open_store
from hpa_model.bench.limits import limit_decode

# What a client of S3 needs to know; the server does not look at it.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
MODULES = {"hpa-tf.data": "tensorflow", "obstore": "obstore"}
MIB = 2**20
# Within the folder that is served; for S3, its first folder is a bucket.
STORE = Path("bench-bucket", "a.zarr")


@dataclass
class Result:
    """What was measured of a row."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    at_once: int = 0
    peak_bytes: int = 0
    growth_bytes: int = 0
    error: str = ""


@contextmanager
def serve(folder: Path, kind: str, *, latency_ms: float, rate_mb: float) -> Iterator[tuple[str, str]]:
    """Serve a folder in a process of its own; yield the URL of the store in it, and that of the server."""
    command = [sys.executable, "-m", "benchmarks.far_server", folder, "--latency-ms", latency_ms, "--rate-mb", rate_mb]
    with subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            origin = f"http://127.0.0.1:{int(server.stdout.readline())}"
            os.environ["AWS_ENDPOINT_URL"] = origin
            base = f"{origin}/bench-bucket" if kind == "http" else "s3://bench-bucket"
            yield f"{base}/a.zarr", origin
        finally:
            server.kill()


def ask_server(origin: str) -> dict[str, int]:
    """Return what the server has seen since it was asked last."""
    with urllib.request.urlopen(f"{origin}/-/stats") as answer:
        found: dict[str, int] = json.load(answer)
    return found


def measure_rows(url: str, origin: str, store: Path, options: argparse.Namespace) -> dict[str, Result]:
    """Time each row in each round."""
    workers = {
        name: Worker("benchmarks.remote_worker", name, url, store, options.batch_size, options.in_flight)
        for name in options.rows
        if importlib.util.find_spec(MODULES.get(name, "numpy")) is not None
    }
    results = {name: Result() for name in workers}
    for number in range(options.rounds + 1):  # the first is not counted: it opens the store and its connections
        for name, worker in workers.items():
            result = results[name]
            ask_server(origin)
            answer = {} if result.error else worker.ask("time", options.seconds if number else options.seconds / 2)
            result.error = result.error or answer.get("error", "")
            result.at_once = max(result.at_once, ask_server(origin)["at_once"])
            if number and not result.error:
                result.rates.append(answer["rate"])
                result.cpu_ms.append(answer["cpu_ms"])
                result.peak_bytes = max(result.peak_bytes, answer["VmHWM"])
                result.growth_bytes = max(result.growth_bytes, answer["growth"])
    for worker in workers.values():
        worker.close()
    return results


def measure_limits(store: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Return how many samples a second decoding alone gives, and the rate of the server."""
    part = open_store(store).part("train")
    with open_store(store).reader(threads=options.threads) as reader:
        order = np.random.default_rng(0).permutation(len(reader))
        decode = limit_decode(reader, reader.codecs[0], order, threads=options.threads, n_images=2 * options.batch_size)
        rates = []
        for _ in range(options.rounds + 1):
            began = time.perf_counter()
            n_decoded = decode()
            rates.append(n_decoded / (time.perf_counter() - began))
    sample_bytes = part.count_bytes() / part.layout.n_samples
    return statistics.median(rates[1:]), options.rate_mb * 1e6 / sample_bytes if options.rate_mb else float("inf")


def time_commands(url: str, origin: str) -> str:
    """Return how long opening a reader takes, and `hpa stats`, with their requests."""
    found = []
    code = f"import hpa_data; hpa_data.open_store({url!r}).reader()"
    for name, command in (
        ("import", ["-c", "import hpa_data, tensorstore, hpa_data.store.store"]),
        ("open", ["-c", code]),
        ("stats", ["-m", "cli", "stats", url, "--part", "train"]),
    ):
        ask_server(origin)
        began = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            return f"{name} failed: {done.stderr.strip()[-200:]}"
        found.append(f"{name} {seconds:.1f} s with {ask_server(origin)['requests']} requests")
    return ", ".join(found)


def prepare(scratch: Path, options: argparse.Namespace) -> Path:
    """Convert the samples; return the folder to serve."""
    folder = find_folder(options, scratch)
    if options.repeat > 1:
        folder = repeat_files(folder, scratch / "repeated", times=options.repeat)
    convert_files(plan_conversion(folder, scratch / "served" / STORE, codec=options.codec))
    return scratch / "served"


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=512, rounds=3)
    parser.add_argument("--repeat", type=int, default=1, help="names under which each sample is in the store")
    parser.add_argument("--codec", default="lz4hc")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each row in each round")
    parser.add_argument("--rate-mb", type=float, default=250.0, help="million bytes per second of the server")
    parser.add_argument("--in-flight", type=int, default=256, help="requests of the peers")
    parser.add_argument("--latencies", type=float, nargs="+", default=[1, 20, 100, 300], help="in ms")
    parser.add_argument("--kinds", nargs="+", choices=["http", "s3"], default=["http", "s3"])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as name:
        served = prepare(Path(name), options)
        decode, line = measure_limits(served / STORE, options)
        limit = min(decode, line)
        print(f"decode alone {decode:,.0f} samples/s, the rate {line:,.0f}: limit {limit:,.0f}", flush=True)
        print("| by | ms | row | samples/s | of the limit | CPU ms a sample | at once | peak MiB | growth MiB |")
        print("|---|---|---|---|---|---|---|---|---|")
        for kind in options.kinds:
            for latency_ms in options.latencies:
                with serve(served, kind, latency_ms=latency_ms, rate_mb=options.rate_mb) as (url, origin):
                    for row, result in measure_rows(url, origin, served / STORE, options).items():
                        print(f"| {kind} | {latency_ms:g} | {row} | {describe(result, limit)} |", flush=True)
                    print(f"{kind}, {latency_ms:g} ms: {time_commands(url, origin)}", file=sys.stderr, flush=True)


def describe(result: Result, limit: float) -> str:
    """Return the cells of a row."""
    if result.error or not result.rates:
        return f"{result.error or 'nothing'} | | | | |"
    rate = statistics.median(result.rates)
    return (
        f"{rate:,.0f} [{min(result.rates):,.0f}, {max(result.rates):,.0f}] | {rate / limit:.2f} | "
        f"{statistics.median(result.cpu_ms):.2f} | {result.at_once} | {result.peak_bytes / MIB:,.0f} | "
        f"{result.growth_bytes / MIB:,.0f}"
    )


if __name__ == "__main__":
    main()
