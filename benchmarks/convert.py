"""How fast files become a store, beside the limit of the machine and beside what people do today.

    python -m benchmarks.convert [FOLDER] [--rounds 5] [--threads 2] [--samples 256] [--repeat 4] [--codecs lz4 raw]

FOLDER holds Kaggle's planes; without it, samples are made up first. The limit of a codec is the decoding of the same
files and the encoding of the same samples, both in memory, in as many threads. The files are linked under several names
(--repeat), because beginning and ending take a conversion some 0.2 s, whatever N is. Prints a table; RESULTS.md holds
what was measured.
"""

import io
import shutil
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import dask
import dask.array
import imagecodecs
import imageio.v3 as iio
import numpy as np
import tensorstore
import zarr
from PIL import Image

from benchmarks.samples import find_folder, make_parser, repeat_files
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import CHANNELS
from hpa_data.format.codecs import CODECS, encode_chunk, zarr_compressors
from hpa_data.sources.naming import find_samples
from hpa_data.system.executor import Parallelism
from hpa_model.bench.timing import Workload, describe_timings, measure

DECODERS = {
    "imagecodecs": imagecodecs.png_decode,
    "OpenCV": lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED),
    "Pillow": lambda content: np.asarray(Image.open(io.BytesIO(content))),
    "imageio": lambda content: iio.imread(content, extension=".png"),
}


def make_rows(folder: Path, scratch: Path, *, threads: int, codecs: list[str]) -> list[Workload]:
    """Build the rows over one folder of planes."""
    ids = [sample.id for sample in find_samples(folder)]
    paths = [[folder / f"{name}_{channel}.png" for channel in CHANNELS] for name in ids]
    contents = [[path.read_bytes() for path in planes] for planes in paths]
    pool = ThreadPoolExecutor(threads)
    (codec,) = zarr_compressors(CODECS["lz4hc"], n_channels=4)
    limits = {"data_copy_concurrency": {"limit": threads}, "file_io_concurrency": {"limit": threads}}
    shape, chunks = (len(ids), 512, 512, 4), (1, 512, 512, 4)

    def decode(decoder: str) -> int:
        return len(list(pool.map(lambda planes: [DECODERS[decoder](content) for content in planes], contents)))

    def decode_and_encode(name: str) -> int:
        def run(planes: list[bytes]) -> int:
            image = cv2.merge([imagecodecs.png_decode(content) for content in planes])
            return len(encode_chunk(image, CODECS[name]))

        return len(list(pool.map(run, contents)))

    def convert(name: str) -> int:
        plan = plan_conversion(folder, scratch / f"{name}.zarr", codec=name)
        return convert_files(plan, workers=Parallelism(threads=threads)).n_ok

    def clear(name: str) -> None:
        shutil.rmtree(scratch / f"{name}.zarr", ignore_errors=True)

    def loop() -> int:
        array = zarr.create_array(
            scratch / "loop.zarr", shape=shape, chunks=chunks, dtype="uint8", compressors=codec, filters=None
        )
        for index, planes in enumerate(paths):
            array[index] = np.stack([iio.imread(path) for path in planes], axis=-1)
        return len(ids)

    def write_with_tensorstore() -> int:
        array = zarr.create_array(
            scratch / "tensorstore.zarr",
            shape=shape,
            chunks=chunks,
            shards=(64, *chunks[1:]),
            dtype="uint8",
            compressors=codec,
            filters=None,
        )
        assert array.shards == (64, *chunks[1:])
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(scratch / "tensorstore.zarr")}}
        opened = tensorstore.open(spec, context=tensorstore.Context(limits)).result()

        def decode(planes: list[bytes]) -> np.ndarray:
            return cv2.merge([imagecodecs.png_decode(content) for content in planes])

        for start in range(0, len(ids), 64):
            stop = min(start + 64, len(ids))
            opened[start:stop].write(np.stack(list(pool.map(decode, contents[start:stop])))).result()
        return len(ids)

    def naive_dask() -> int:
        from dask_image.imread import imread

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = dask.array.stack([imread(str(folder / f"*_{channel}.png")) for channel in CHANNELS], axis=-1)
            with dask.config.set(scheduler="threads", num_workers=threads):
                images.rechunk(chunks).to_zarr(str(scratch / "dask.zarr"), compressors=codec, filters=None)
        return len(ids)

    rows = [
        Workload(name=f"decode {name}", description="PNG in memory to pixels", run=lambda n=name: decode(n))
        for name in DECODERS
    ]
    for name in codecs:
        rows += [
            Workload(
                name=f"limit {name}",
                description="decode and encode in memory",
                run=lambda n=name: decode_and_encode(n),
            ),
            Workload(
                name=f"convert {name}",
                description="files to store",
                run=lambda n=name: convert(n),
                prepare=lambda n=name: clear(n),
                baseline=f"limit {name}",
            ),
        ]
    rows.append(
        Workload(
            name="TensorStore",
            description="files in memory, shards written by TensorStore",
            run=write_with_tensorstore,
            prepare=lambda: clear("tensorstore"),
            baseline="limit lz4hc",
        )
    )
    for label, name, run, description in (
        ("zarr loop", "loop", loop, "imageio, array[i] = image; no shards"),
        ("dask_image", "dask", naive_dask, "dask_image.imread, stack, to_zarr; no shards"),
    ):
        rows.append(
            Workload(
                name=label,
                description=description,
                run=run,
                prepare=lambda n=name: clear(n),
                baseline="limit lz4hc",
            )
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=256)
    parser.add_argument("--repeat", type=int, default=4, help="names for each sample")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, help="only their rows; else all, and what others do")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = repeat_files(find_folder(options, scratch), scratch / "repeated", times=options.repeat)
        rows = make_rows(folder, scratch, threads=options.threads, codecs=options.codecs or list(CODECS))
        if options.codecs:
            rows = [row for row in rows if row.name.split()[0] in {"limit", "convert"}]
        print(describe_timings(measure(rows, rounds=options.rounds)))


if __name__ == "__main__":
    main()
