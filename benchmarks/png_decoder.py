"""How much faster a conversion is with the compiled PNG decoder, against libpng in the same rounds, and its limits.

    python -m benchmarks.png_decoder [FOLDER] [--rounds 5] [--threads 2] [--samples 256] [--repeat 8]
        [--codecs raw lz4 lz4hc]

FOLDER holds Kaggle's planes; without it, samples are synthesized first. Each file gets several names (--repeat).
The rows:

- decoding alone, in memory, on all threads, by libpng and by the compiled decoder;
- the limit of a codec: compiled decoding, merging and encoding in memory, on all threads;
- the conversion with each decoder.

Then a line for each codec: how many times as fast the conversion is as with libpng, and which part of the limit and of
decoding alone it reaches; medians over the rounds. Last, what the compiled decoder costs a process, and after how many
samples of a thread it is worth that.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import imagecodecs

from benchmarks.convert import Files, compile_decoder, decode_png
from benchmarks.samples import CODEC_NAMES, find_folder, make_parser, repeat_files
from hpa_data.format.options import CodecName
from hpa_data.sources import png_jpeg
from hpa_data.sources.image_file import Pixels
from hpa_data.sources.png_filters import Filters
from hpa_model.bench.timing import Workload, describe_timings, measure

# Prints how long it takes to get the compiled code.
START = """
import time
from hpa_data.sources.png_filters import compile_filters
started = time.thread_time()
assert compile_filters() is not None
print(time.thread_time() - started)
"""


def convert_by_libpng(files: Files, codec: CodecName) -> int:
    """Convert as before there was another decoder."""
    filters = Filters()
    filters.expect(2**60, n_threads=2**60)  # which is never worth it
    with patch.object(png_jpeg, "FILTERS", filters):
        return files.convert(codec)


def decode_all(decode: Callable[[bytes], Pixels], planes: Sequence[bytes]) -> int:
    """Decode the planes of a sample."""
    return sum(decode(content).nbytes for content in planes)


def list_workloads(files: Files, codecs: Sequence[CodecName]) -> list[Workload]:
    """List the rows."""
    workloads = [
        Workload(
            name="decode, libpng",
            description="decoding alone",
            run=partial(files.map_planes, partial(decode_all, imagecodecs.png_decode)),
        ),
        Workload(
            name="decode, compiled",
            description="decoding alone",
            run=partial(files.map_planes, partial(decode_all, decode_png)),
            baseline="decode, libpng",
        ),
    ]
    for codec in codecs:
        workloads += [
            Workload(
                name=f"limit {codec}",
                description="decode, merge and encode in memory",
                run=partial(files.decode_and_encode, codec),
            ),
            Workload(
                name=f"{codec}, libpng",
                description="files to store",
                run=partial(convert_by_libpng, files, codec),
                prepare=partial(files.remove, codec),
            ),
            Workload(
                name=f"{codec}, compiled",
                description="files to store",
                run=partial(files.convert, codec),
                prepare=partial(files.remove, codec),
                baseline=f"{codec}, libpng",
            ),
        ]
    return workloads


def describe_ratios(rates: Mapping[str, float], codec: CodecName) -> str:
    """Compare the conversion with libpng's, with its limit, and with decoding alone."""
    rate = rates[f"{codec}, compiled"]
    return (
        f"{codec}: {rate / rates[f'{codec}, libpng']:.2f} times as fast as with libpng, "
        f"{rate / rates[f'limit {codec}']:.2f} of its limit, {rate / rates['decode, compiled']:.2f} of decoding alone"
    )


def measure_start() -> tuple[float, float]:
    """Return the seconds of a processor that a process takes to compile, and to load what another one compiled."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", START]
        where = {**os.environ, "NUMBA_CACHE_DIR": folder}
        compiled, loaded = (
            float(subprocess.run(command, env=where, capture_output=True, check=True).stdout) for _ in range(2)
        )
    return compiled, loaded


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=256)
    parser.add_argument("--repeat", type=int, default=8, help="names for each sample")
    parser.add_argument("--codecs", nargs="+", choices=CODEC_NAMES, default=["raw", "lz4", "lz4hc"])
    options = parser.parse_args()
    compile_decoder()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = repeat_files(find_folder(options, scratch), scratch / "repeated", times=options.repeat)
        rows = measure(
            list_workloads(Files(folder, scratch, threads=options.threads), options.codecs), rounds=options.rounds
        )
    print(describe_timings(rows))
    rates = {row.name: row.rate for row in rows}
    for codec in options.codecs:
        print(describe_ratios(rates, codec))
    compiled, loaded = measure_start()
    cpu_s = {row.name: row.cpu_s / 1000 for row in rows}
    saved = cpu_s["decode, libpng"] - cpu_s["decode, compiled"]
    print(
        f"start: {compiled:.2f} s to compile, {loaded:.2f} s to load, which {compiled / saved:.0f} and "
        f"{loaded / saved:.0f} samples of a thread make up for"
    )


if __name__ == "__main__":
    main()
