"""Ways to bring random batches into memory that a user might pick instead of ours, each set as its documents advise.

Every row delivers each sample once an epoch. One that writes reads its own files; `np.memmap` reads the `.npy`, the PNG
rows the planes, the others our stores. Some set options of the whole process: give each row a process of its own.
"""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.loaders.row import Epoch, Images, Loader, Setup

SHAPE = (512, 512, 4)
SAMPLE_BYTES = 512 * 512 * 4
COLORS = ("red", "green", "blue", "yellow")
# Formats that are read front to back lie in this many files, so that as many can be read at a time.
N_FILES = 16
# Samples in a shuffle buffer: 256 MiB of raw images, where such buffers commonly hold a thousand small ones.
BUFFER = 256

Indices = npt.NDArray[np.int64]  # (B,)


# What the rows share


def _split_order(setup: Setup, epoch: int) -> list[Indices]:
    """Split a permutation of all samples into batches."""
    order = np.random.default_rng((setup.seed, epoch)).permutation(len(setup.ids))
    return [order[first : first + setup.batch_size] for first in range(0, len(order), setup.batch_size)]


def _allocate(setup: Setup) -> Images:
    """Allocate a page-aligned batch, its pages touched."""
    batch = np.frombuffer(mmap.mmap(-1, setup.batch_size * SAMPLE_BYTES), np.uint8).reshape(-1, *SHAPE)
    batch[:] = 0
    return batch


def _read_ahead(setup: Setup, start: Callable[[Indices, Images], Sequence[Any]]) -> Epoch:
    """Read each batch into one of two buffers while the caller has the one before it.

    `start` begins to read samples into a batch and returns the jobs, whose `result` waits.
    """
    buffers = (_allocate(setup), _allocate(setup))

    def run(epoch: int) -> Iterator[Images]:
        begun: list[tuple[Images, Sequence[Any]]] = []
        try:
            for number, samples in enumerate(_split_order(setup, epoch)):
                batch = buffers[number % 2][: len(samples)]
                begun.append((batch, start(samples, batch)))
                if number:
                    yield _finish(begun)
            yield _finish(begun)
        finally:
            # An epoch that is left early must not write into the next one's buffers.
            while begun:
                _finish(begun)

    return run


def _finish(begun: list[tuple[Images, Sequence[Any]]]) -> Images:
    batch, jobs = begun.pop(0)
    for job in jobs:
        job.result()
    return batch


def _read_samples(setup: Setup, read: Callable[[int, Images], object]) -> Epoch:
    """Read ahead with a thread pool, by a function that reads one sample into its place in a batch."""
    pool = ThreadPoolExecutor(setup.threads)

    def start(samples: Indices, batch: Images) -> Sequence[Any]:
        # One job a thread; each takes the next place that is left, which costs less than a job a sample.
        places = iter(range(len(samples)))

        def work() -> None:
            for place in places:
                read(int(samples[place]), batch[place])

        return [pool.submit(work) for _ in range(setup.threads)]

    return _read_ahead(setup, start)


def _read_batches(setup: Setup, read: Callable[[Indices, Images], object]) -> Epoch:
    """Read ahead by a function that reads a batch, in one thread: it has threads of its own, or cannot use them."""
    pool = ThreadPoolExecutor(1)
    return _read_ahead(setup, lambda samples, batch: [pool.submit(read, samples, batch)])


def _find_images(setup: Setup, codec: str = "lz4hc") -> Path:
    return setup.stores / f"{codec}.zarr" / "train" / "images"


def _list_planes(setup: Setup) -> list[list[str]]:
    return [[str(setup.png / f"{name}_{color}.png") for color in COLORS] for name in setup.ids]


def _list_files(setup: Setup, suffix: str) -> list[str]:
    return [str(setup.folder / f"{number:02}.{suffix}") for number in range(N_FILES)]


def _load_images(setup: Setup) -> Images:
    """Map the source, (N, 512, 512, 4)."""
    return np.asarray(np.load(setup.images, mmap_mode="r"))


# PNG and TFRecord through tf.data


def _open_dataset(setup: Setup, dataset: Any) -> Epoch:
    """Batch and prefetch; TensorFlow draws a new order each time that an epoch begins."""
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = False  # samples may overtake each other; they are shuffled anyway
    options.threading.private_threadpool_size = setup.threads
    options.autotune.cpu_budget = setup.threads
    dataset = dataset.batch(setup.batch_size).prefetch(tf.data.AUTOTUNE).with_options(options)

    # An iterator an epoch: one over all epochs would go on reading ahead, without a bound, while other rows are timed.
    def run(_: int) -> Iterator[Images]:
        held = [iter(dataset)]
        for batch in held[0]:
            yield np.asarray(memoryview(batch))  # `numpy()` would copy
        # To let go of an iterator can take as long as the epoch took: TensorFlow 2.21 waits for its autotuner to wake.
        threading.Thread(target=held.clear).start()

    return run


def _decode_planes(planes: Any) -> Any:
    """Decode four encoded planes, strings (4,), into an image."""
    import tensorflow as tf

    decoded = [tf.io.decode_png(planes[number], channels=1) for number in range(4)]
    return tf.ensure_shape(tf.concat(decoded, axis=-1), SHAPE)  # (Y, X, C)


def open_png_tf(setup: Setup) -> Epoch:
    """Read and decode the planes with tf.data."""
    import tensorflow as tf

    def decode(paths: Any) -> Any:
        return _decode_planes([tf.io.read_file(paths[number]) for number in range(4)])

    paths = tf.data.Dataset.from_tensor_slices(_list_planes(setup)).shuffle(len(setup.ids), seed=setup.seed)
    return _open_dataset(setup, paths.map(decode, num_parallel_calls=tf.data.AUTOTUNE))


def _write_records(setup: Setup, make_record: Callable[[int], bytes]) -> None:
    """Deal the samples' records out to TFRecord files."""
    import tensorflow as tf

    for number, path in enumerate(_list_files(setup, "tfrecord")):
        with tf.io.TFRecordWriter(path) as writer:
            for sample in range(number, len(setup.ids), N_FILES):
                writer.write(make_record(sample))


def _open_records(setup: Setup, decode: Callable[[Any], Any]) -> Epoch:
    """Read TFRecord files side by side, shuffle what is still encoded, decode."""
    import tensorflow as tf

    auto = tf.data.AUTOTUNE
    files = tf.data.Dataset.from_tensor_slices(_list_files(setup, "tfrecord")).shuffle(N_FILES, seed=setup.seed)
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=N_FILES, num_parallel_calls=auto)
    return _open_dataset(setup, records.shuffle(BUFFER, seed=setup.seed).map(decode, num_parallel_calls=auto))


def write_tfrecord_raw(setup: Setup) -> None:
    """Write the bytes of each image as a record; a tf.train.Example around them costs a tenth of the speed."""
    images = _load_images(setup)
    _write_records(setup, lambda sample: images[sample].tobytes())


def open_tfrecord_raw(setup: Setup) -> Epoch:
    """Read records of raw bytes."""
    import tensorflow as tf

    return _open_records(setup, lambda record: tf.reshape(tf.io.decode_raw(record, tf.uint8), SHAPE))


def write_tfrecord_png(setup: Setup) -> None:
    """Write the four files of each sample as a tf.train.Example."""
    import tensorflow as tf

    planes = _list_planes(setup)

    def make_record(sample: int) -> bytes:
        encoded = tf.train.BytesList(value=[Path(path).read_bytes() for path in planes[sample]])
        features = tf.train.Features(feature={"planes": tf.train.Feature(bytes_list=encoded)})
        return tf.train.Example(features=features).SerializeToString()

    _write_records(setup, make_record)


def open_tfrecord_png(setup: Setup) -> Epoch:
    """Read records of four encoded planes."""
    import tensorflow as tf

    features = {"planes": tf.io.FixedLenFeature([4], tf.string)}
    return _open_records(setup, lambda record: _decode_planes(tf.io.parse_single_example(record, features)["planes"]))


# Files that are read sample by sample, in threads


def open_png_opencv(setup: Setup) -> Epoch:
    """Decode the planes with OpenCV."""
    import cv2

    cv2.setNumThreads(1)  # the pool's threads are all there shall be
    planes = _list_planes(setup)

    def read(sample: int, slot: Images) -> None:
        cv2.merge([cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in planes[sample]], slot)

    return _read_samples(setup, read)


def open_memmap(setup: Setup) -> Epoch:
    """Copy samples out of a mapped `.npy`; threads are faster than a fancy index, which also takes fresh memory."""
    images = _load_images(setup)
    return _read_samples(setup, lambda sample, slot: np.copyto(slot, images[sample]))


def write_lmdb(setup: Setup) -> None:
    """Write the bytes of each image under its number."""
    import lmdb

    images = _load_images(setup)
    # The map's size is only a bound: the file grows as it is filled.
    with lmdb.open(str(setup.folder / "lmdb"), map_size=2 * images.nbytes + 2**30, sync=False) as environment:
        for sample, image in enumerate(images):
            with environment.begin(write=True) as transaction:
                transaction.put(sample.to_bytes(4, "big"), image.tobytes())


def open_lmdb(setup: Setup) -> Epoch:
    """Copy values out of the map, without the copies that values as `bytes` would be."""
    import lmdb

    environment = lmdb.open(str(setup.folder / "lmdb"), readonly=True, lock=False)
    local = threading.local()  # a transaction belongs to one thread

    def read(sample: int, slot: Images) -> None:
        if not hasattr(local, "transaction"):
            local.transaction = environment.begin(buffers=True)
        value = local.transaction.get(sample.to_bytes(4, "big"))
        np.copyto(slot, np.frombuffer(value, np.uint8).reshape(SHAPE))

    return _read_samples(setup, read)


def write_array_record(setup: Setup) -> None:
    """Write the bytes of each image, one a group as random access wants it, and not compressed once more."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(setup.folder / "images.arrayrecord"), "group_size:1,uncompressed")
    for image in _load_images(setup):
        writer.write(image.tobytes())
    writer.close()


def open_array_record(setup: Setup) -> Epoch:
    """Read one record a call, in threads as Grain does it; a batch a call has half the speed."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    source = ArrayRecordDataSource(str(setup.folder / "images.arrayrecord"))

    def read(sample: int, slot: Images) -> None:
        np.copyto(slot, np.frombuffer(source[sample], np.uint8).reshape(SHAPE))

    return _read_samples(setup, read)


# HDF5 and WebDataset


def write_hdf5(setup: Setup) -> None:
    """Write a chunk a sample."""
    import h5py
    import hdf5plugin

    images = _load_images(setup)
    codec = hdf5plugin.Blosc(cname="lz4hc", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    with h5py.File(setup.folder / "images.h5", "w") as file:
        dataset = file.create_dataset("images", images.shape, np.uint8, chunks=(1, *SHAPE), compression=codec)
        for sample, image in enumerate(images):
            dataset[sample] = image


def open_hdf5(setup: Setup) -> Epoch:
    """Read chunk by chunk in one thread: h5py holds a lock while it reads, and Blosc's own threads made it slower."""
    import h5py
    import hdf5plugin  # noqa: F401  registers the filter

    # Chunks that are read whole and once should leave the cache first, say h5py's documents.
    dataset = h5py.File(setup.folder / "images.h5", rdcc_w0=1.0)["images"].id
    chunk = h5py.h5s.create_simple((1, *SHAPE))

    def read(samples: Indices, batch: Images) -> None:
        # What `read_direct` does, less its selections, a sixth of the time. A fancy index reads 13 samples a second.
        space = dataset.get_space()
        for place, sample in enumerate(samples.tolist()):
            space.select_hyperslab((sample, 0, 0, 0), (1, *SHAPE))
            dataset.read(chunk, space, batch[place : place + 1])

    return _read_batches(setup, read)


def write_webdataset(setup: Setup) -> None:
    """Deal the bytes of the images out to tar files."""
    import webdataset

    images = _load_images(setup)
    for number, path in enumerate(_list_files(setup, "tar")):
        with webdataset.TarWriter(path) as writer:
            for sample in range(number, len(images), N_FILES):
                writer.write({"__key__": f"{sample:06}", "raw": images[sample].tobytes()})


def open_webdataset(setup: Setup) -> Epoch:
    """Read tar files one after the other; the processes that read them side by side are those of torch's loader."""
    import webdataset

    files = _list_files(setup, "tar")
    buffer = _allocate(setup)

    def collate(samples: Sequence[tuple[bytes]]) -> Images:
        for slot, (value,) in zip(buffer, samples, strict=False):
            np.copyto(slot, np.frombuffer(value, np.uint8).reshape(SHAPE))
        return buffer[: len(samples)]

    def run(epoch: int) -> Iterator[Images]:
        seed = setup.seed + epoch
        dataset = webdataset.WebDataset(files, shardshuffle=N_FILES, seed=seed).shuffle(BUFFER, seed=seed)
        yield from dataset.to_tuple("raw").batched(setup.batch_size, collation_fn=collate)

    return run


# Our stores, which are Zarr, through other readers

BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
RUST = "zarrs.ZarrsCodecPipeline"


def _open_zarr(setup: Setup, pipeline: str) -> Any:
    import zarr

    zarr.config.set(
        {
            "codec_pipeline.path": pipeline,
            "codec_pipeline.max_workers": setup.threads,  # of the fused pipeline alone
            "threading.max_workers": setup.threads,
            "async.concurrency": max(10, setup.threads),  # 10 is its default
        }
    )
    return zarr.open_array(_find_images(setup), mode="r")


def _select(images: Any, samples: Indices | slice, batch: Images) -> None:
    """Do what `images.oindex[samples]` does, into memory that is there."""
    from zarr.buffer.cpu import NDBuffer

    everything = (slice(None),) * len(SHAPE)
    images.get_orthogonal_selection((samples, *everything), out=NDBuffer.from_numpy_array(batch))


def open_zarr_in_order(setup: Setup) -> Epoch:
    """Read slices with zarr-python."""
    images = _open_zarr(setup, BATCHED)
    buffer = _allocate(setup)

    def run(_: int) -> Iterator[Images]:
        for first in range(0, len(setup.ids), setup.batch_size):
            batch = buffer[: len(setup.ids) - first]
            _select(images, slice(first, first + len(batch)), batch)
            yield batch

    return run


def open_zarr(setup: Setup, *, pipeline: str) -> Epoch:
    """Read batches with zarr-python; it groups sorted indices by shard."""
    images = _open_zarr(setup, pipeline)
    return _read_batches(setup, lambda samples, batch: _select(images, np.sort(samples), batch))


def open_zarrs(setup: Setup) -> Epoch:
    """Read batches with the Rust pipeline, which leaves a whole selection to zarr-python if two rows share a shard."""
    images = _open_zarr(setup, RUST)

    def read(samples: Indices, batch: Images) -> None:
        samples = np.sort(samples)
        shards = samples // images.shards[0]
        # Of each shard its first sample, then its second, and so on: one selection each.
        turns = np.arange(len(samples)) - np.searchsorted(shards, shards)
        first = 0
        for turn in range(turns.max() + 1):
            chosen = samples[turns == turn]
            _select(images, chosen, batch[first : first + len(chosen)])
            first += len(chosen)

    return _read_batches(setup, read)


def open_annbatch(setup: Setup) -> Epoch:
    """Read with annbatch's loader on the Rust pipeline, as it advises for local files."""
    import annbatch

    images = _open_zarr(setup, RUST)

    def run(epoch: int) -> Iterator[Images]:
        # Chunks of one sample are its way to a full permutation. Two batches a load: larger loads, made for small
        # samples, spend their time on fresh memory.
        loader = annbatch.Loader(
            chunk_size=1,
            preload_nchunks=2 * setup.batch_size,
            batch_size=setup.batch_size,
            shuffle=True,
            rng=np.random.default_rng((setup.seed, epoch)),
            preload_to_gpu=False,
        )
        for batch in loader.add_dataset(images):
            yield batch["X"]

    return run


def open_insitubatch(setup: Setup) -> Epoch:
    """Read with insitubatch, whose unit is the shard: it reads each whole, and shuffles the samples of a few."""
    from insitubatch import InSituDataset, obstore_store, open_geometries, split_by_chunk

    store = obstore_store(_find_images(setup).parent.resolve().as_uri())
    geometries = open_geometries(store, variables=["images"])
    manifest = split_by_chunk(geometries["images"], fractions=(1.0, 0.0, 0.0), contiguous=False)

    def run(epoch: int) -> Iterator[Images]:
        # A new one each epoch: it keeps at least two blocks decoded, which may be all that a benchmark reads, and the
        # second epoch would come out of memory.
        dataset = InSituDataset(
            store,
            manifest,
            geometries,
            batch_size=setup.batch_size,
            block_chunks=max(BUFFER // geometries["images"].sample_chunk_size, setup.threads),
            seed=setup.seed,
        )
        dataset.scheduler_config = replace(dataset.scheduler_config, decode_threads=setup.threads)
        dataset.set_epoch(epoch)
        for batch in dataset.train:
            yield batch.arrays["images"]
        dataset.close()

    return run


def open_tensorstore(setup: Setup, *, codec: str) -> Epoch:
    """Read each batch by one indexed copy into memory that is there."""
    import tensorstore

    context = tensorstore.Context(
        {
            "data_copy_concurrency": {"limit": setup.threads},
            "file_io_concurrency": {"limit": setup.threads},
            # A quarter faster than reads into memory of its own.
            "file_io_mode": {"mode": "memmap"},
            # None: a pool that is to keep the index of every shard keeps decoded samples too, in fresh memory. Measured
            # with 256 shards, that cost more than to read an index, 1 KiB, along with a sample.
            "cache_pool": {"total_bytes_limit": 0},
        }
    )
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{_find_images(setup, codec)}/"},
        "recheck_cached_metadata": False,
        "recheck_cached_data": False,
    }
    images = tensorstore.open(spec, context=context, open=True, read=True).result()

    def start(samples: Indices, batch: Images) -> Sequence[Any]:
        return [tensorstore.array(batch, copy=False).write(images[samples])]

    return _read_ahead(setup, start)


def _row(
    name: str,
    shows: str,
    modules: str,
    opener: Callable[[Setup], Epoch],
    writer: Callable[[Setup], None] | None = None,
    *,
    shuffle: str = "permutation",
) -> Loader:
    return Loader(name=name, shows=shows, shuffle=shuffle, modules=tuple(modules.split()), open=opener, write=writer)


BUFFERED = f"files in any order, buffer of {BUFFER}"
BLOCKS = "within blocks of shards, one a thread and at least 4"
STREAMED = f"in {N_FILES} files that are read front to back"

PEERS: tuple[Loader, ...] = (
    _row("PNG + tf.data", "the files as they came, decoded by TensorFlow", "tensorflow", open_png_tf),
    _row("PNG + OpenCV threads", "the files as they came, decoded by a pool of threads", "cv2", open_png_opencv),
    _row(
        "TFRecord raw", f"raw bytes {STREAMED}", "tensorflow", open_tfrecord_raw, write_tfrecord_raw, shuffle=BUFFERED
    ),
    _row(
        "TFRecord PNG", f"the planes {STREAMED}", "tensorflow", open_tfrecord_png, write_tfrecord_png, shuffle=BUFFERED
    ),
    _row("np.memmap", "raw bytes in one file, copied out of its map by threads", "", open_memmap),
    _row(
        "HDF5 LZ4HC", "a compressed chunk a sample; h5py reads in one thread", "h5py hdf5plugin", open_hdf5, write_hdf5
    ),
    _row("LMDB", "raw bytes in a database, copied out of its map by threads", "lmdb", open_lmdb, write_lmdb),
    _row("ArrayRecord", "raw bytes as records in any order", "array_record", open_array_record, write_array_record),
    _row(
        "WebDataset",
        f"raw bytes {STREAMED}, by one thread",
        "webdataset",
        open_webdataset,
        write_webdataset,
        shuffle=BUFFERED,
    ),
    _row(
        "insitubatch",
        "our shards, decoded whole; none is kept for the next epoch",
        "insitubatch",
        open_insitubatch,
        shuffle=BLOCKS,
    ),
    _row("annbatch", "our shards through a loader that uses zarrs", "annbatch zarrs", open_annbatch),
    _row("zarr-python sequential", "our shards, slice by slice", "zarr", open_zarr_in_order, shuffle="none"),
    _row("zarr-python random", "our shards, indexed as Zarr's users do", "zarr", partial(open_zarr, pipeline=BATCHED)),
    # zarr.core.chunk_utils came with the fused pipeline, in zarr 3.3.
    _row(
        "zarr-python fused random",
        "by its opt-in pipeline",
        "zarr.core.chunk_utils",
        partial(open_zarr, pipeline=FUSED),
    ),
    _row("zarrs", "the same by a pipeline in Rust", "zarrs", open_zarrs),
    _row("TensorStore", "our shards", "tensorstore", partial(open_tensorstore, codec="lz4hc")),
    _row("TensorStore raw", "our shards, not compressed", "tensorstore", partial(open_tensorstore, codec="raw")),
)
