"""How fast files become a store, compared with the limit of the machine and with common alternatives.

    python -m benchmarks.convert [FOLDER] [--rounds 5] [--threads 2] [--samples 256] [--repeat 4] [--codecs lz4 raw]

FOLDER holds Kaggle's planes; without it, samples are synthesized first. The limit of a codec is decoding the same files
and encoding the same samples, both in memory, in the same number of threads. Each file gets several names
(--repeat), because a conversion has fixed costs of some 0.2 s. Prints a table; RESULTS.md holds what was measured.
"""

import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import dask
import dask.array
import imagecodecs
import imageio.v3 as iio
import numpy as np
import tensorstore
import zarr
from PIL import Image

from benchmarks.samples import CODEC_NAMES, find_folder, make_parser, repeat_files
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.format.codecs import CODECS, encode_chunk, zarr_compressors
from hpa_data.format.options import CodecName
from hpa_data.sources.image_file import Pixels
from hpa_data.sources.naming import find_samples
from hpa_data.sources.png_filters import FILTERS
from hpa_data.sources.png_plain import decode_plain
from hpa_data.system.executor import Parallelism
from hpa_model.bench.timing import Workload, describe_timings, measure

CHUNK = (1, 512, 512, 4)
SHARD_SAMPLES = 64


def decode_png(content: bytes) -> Pixels:
    """Decode a plane as `hpa convert` does where there is much to decode."""
    undo = FILTERS.find(0)
    array = None if undo is None else decode_plain(content, undo)
    return imagecodecs.png_decode(content) if array is None else array


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "hpa": decode_png,
    "imagecodecs": imagecodecs.png_decode,
    "OpenCV": lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED),
    "Pillow": lambda content: np.asarray(Image.open(io.BytesIO(content))),
    "imageio": lambda content: iio.imread(content, extension=".png"),
}


class Files:
    """One folder of planes and the ways to convert it; each returns the number of samples."""

    def __init__(self, folder: Path, scratch: Path, *, threads: int) -> None:
        self._folder = folder
        self._scratch = scratch
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        ids = [sample.id for sample in find_samples(folder)]
        self._paths = [[folder / f"{name}_{channel}.png" for channel in HPA_2018.channel_names] for name in ids]
        self._contents = [[path.read_bytes() for path in planes] for planes in self._paths]

    def decode(self, decoder: str) -> int:
        """Decode the planes in memory."""

        def decode_planes(planes: Sequence[bytes]) -> list[Any]:
            return [DECODERS[decoder](content) for content in planes]

        return self.map_planes(decode_planes)

    def decode_and_encode(self, codec: CodecName) -> int:
        """Decode the planes and encode the samples in memory."""

        def transcode(planes: Sequence[bytes]) -> int:
            return len(encode_chunk(_merge(planes), CODECS[codec]))

        return self.map_planes(transcode)

    def map_planes(self, function: Callable[[Sequence[bytes]], Any]) -> int:
        """Call a function with the planes of each sample, as they lie in memory, in all threads."""
        return len(list(self._pool.map(function, self._contents)))

    def convert(self, codec: CodecName) -> int:
        """Convert with hpa."""
        plan = plan_conversion(self._folder, self._path(codec), codec=codec)
        return convert_files(plan, workers=Parallelism(threads=self._threads)).n_ok

    def convert_in_loop(self) -> int:
        """Decode with imageio and assign to a Zarr array, one sample after the other."""
        array = self._create_array("loop")
        for index, planes in enumerate(self._paths):
            array[index] = np.stack([iio.imread(path) for path in planes], axis=-1)
        return len(self._paths)

    def convert_with_tensorstore(self) -> int:
        """Decode in threads and have TensorStore write whole shards."""
        array = self._create_array("tensorstore", shards=(SHARD_SAMPLES, *CHUNK[1:]))
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(self._path("tensorstore"))}}
        limits = {"data_copy_concurrency": {"limit": self._threads}, "file_io_concurrency": {"limit": self._threads}}
        opened = tensorstore.open(spec, context=tensorstore.Context(limits)).result()
        for start in range(0, array.shape[0], SHARD_SAMPLES):
            shard = self._contents[start : start + SHARD_SAMPLES]
            opened[start : start + len(shard)].write(np.stack(list(self._pool.map(_merge, shard)))).result()
        return len(self._contents)

    def convert_with_dask_image(self) -> int:
        """Read with dask_image, rechunk, and write with Dask."""
        from dask_image.imread import imread

        (codec,) = zarr_compressors(CODECS["lz4hc"], n_channels=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            channels = [imread(str(self._folder / f"*_{channel}.png")) for channel in HPA_2018.channel_names]
            images = dask.array.stack(channels, axis=-1)
            with dask.config.set(scheduler="threads", num_workers=self._threads):
                images.rechunk(CHUNK).to_zarr(str(self._path("dask")), compressors=codec, filters=None)
        return len(self._paths)

    def remove(self, name: str) -> None:
        """Remove a store, so that it can be written again."""
        shutil.rmtree(self._path(name), ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._scratch / f"{name}.zarr"

    def _create_array(self, name: str, *, shards: tuple[int, ...] | None = None) -> "zarr.Array[Any]":
        (codec,) = zarr_compressors(CODECS["lz4hc"], n_channels=4)
        shape = (len(self._paths), *CHUNK[1:])
        return zarr.create_array(
            self._path(name), shape=shape, chunks=CHUNK, shards=shards, dtype="uint8", compressors=codec, filters=None
        )


def _merge(planes: Sequence[bytes]) -> Any:
    """Decode the planes of a sample and merge them, uint8 (Y, X, C)."""
    return cv2.merge([decode_png(content) for content in planes])


def compile_decoder() -> None:
    """Compile hpa's decoder of PNG now; a short conversion would do without it."""
    FILTERS.expect(2**60, n_threads=1)
    if FILTERS.find(1) is None:
        raise SystemExit("Cannot measure the decoder of PNG: numba does not work. Run pip install numba.")


def list_conversions(files: Files, codecs: Sequence[CodecName]) -> list[Workload]:
    """List, for each codec, the limit and the conversion."""
    workloads = []
    for codec in codecs:
        workloads += [
            Workload(
                name=f"limit {codec}",
                description="decode and encode in memory",
                run=partial(files.decode_and_encode, codec),
            ),
            Workload(
                name=f"convert {codec}",
                description="files to store",
                run=partial(files.convert, codec),
                prepare=partial(files.remove, codec),
                baseline=f"limit {codec}",
            ),
        ]
    return workloads


def list_decoders(files: Files) -> list[Workload]:
    """List the PNG decoders."""
    return [
        Workload(name=f"decode {name}", description="PNG in memory to pixels", run=partial(files.decode, name))
        for name in DECODERS
    ]


def list_alternatives(files: Files) -> list[Workload]:
    """List other ways to make an array with the codec `lz4hc`, whose limit must be among the workloads."""
    rows = (
        ("TensorStore", "tensorstore", files.convert_with_tensorstore, "files in memory, shards by TensorStore"),
        ("zarr loop", "loop", files.convert_in_loop, "imageio, array[i] = image; no shards"),
        ("dask_image", "dask", files.convert_with_dask_image, "dask_image.imread, stack, to_zarr; no shards"),
    )
    return [
        Workload(name=label, description=text, run=run, prepare=partial(files.remove, name), baseline="limit lz4hc")
        for label, name, run, text in rows
    ]


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=256)
    parser.add_argument("--repeat", type=int, default=4, help="names for each sample")
    parser.add_argument("--codecs", nargs="+", choices=CODEC_NAMES, help="only these codecs, and no alternatives")
    options = parser.parse_args()
    compile_decoder()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = repeat_files(find_folder(options, scratch), scratch / "repeated", times=options.repeat)
        files = Files(folder, scratch, threads=options.threads)
        workloads = list_conversions(files, options.codecs or CODEC_NAMES)
        if not options.codecs:
            workloads = [*list_decoders(files), *workloads, *list_alternatives(files)]
        print(describe_timings(measure(workloads, rounds=options.rounds)))


if __name__ == "__main__":
    main()
