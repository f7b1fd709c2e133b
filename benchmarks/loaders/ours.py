"""Our own rows of the loader benchmark, and the limits of the machine that all rows are held against."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.loaders.row import Epoch, Images, Limit, Loader, Setup
from hpa_data.format.codecs import CODECS
from hpa_data.reader.batches import BatchSampler, iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.store.store import open_store
from hpa_data.system.memory import BufferPool
from hpa_model.bench.limits import limit_copy, limit_decode, limit_disk

# In place of a codec: the default one, and all samples kept in memory once they were decoded.
CACHED = "cached"


def _open(codec: str, setup: Setup) -> Reader:
    if codec != CACHED:
        return open_store(setup.stores / f"{codec}.zarr").reader(threads=setup.threads)
    store = open_store(setup.stores / "lz4hc.zarr")
    return store.reader(threads=setup.threads, cache_bytes=len(setup.ids) * 2**20)


def open_numpy(codec: str, setup: Setup) -> Epoch:
    """Deliver NumPy batches of our reader."""
    reader = _open(codec, setup)
    order = BatchSampler(np.arange(len(reader)), setup.batch_size, seed=setup.seed)

    def run(epoch: int) -> Iterator[Images]:
        for batch in iter_batches(reader, order, resume_at=(epoch, 0), epochs=epoch + 1):
            yield batch.images

    return run


def open_read(codec: str, setup: Setup) -> Epoch:
    """Ask our reader for one batch after the other, without reading ahead."""
    reader = _open(codec, setup)
    order = BatchSampler(np.arange(len(reader)), setup.batch_size, seed=setup.seed)

    def run(epoch: int) -> Iterator[Images]:
        for step in range(order.n_steps):
            yield reader.read(order.indices(epoch * order.n_steps + step))

    return run


def open_tf_data(codec: str, setup: Setup) -> Epoch:
    """Deliver batches of our reader through `tf.data`, one iterator over all epochs, as the trainer does."""
    from hpa_model.pipeline import dataset

    reader = _open(codec, setup)
    batches = iter(dataset(reader, np.arange(len(reader)), setup.batch_size, seed=setup.seed))
    n_steps = -(-len(reader) // setup.batch_size)

    # An epoch that is given up early ends in the next one's place; none of ours takes long enough for that.
    def run(_: int) -> Iterator[Images]:
        for _ in range(n_steps):
            yield np.asarray(memoryview(next(batches)))

    return run


KINDS = (
    ("NumPy", ("numpy",), open_numpy, "batches as arrays, one read ahead"),
    ("read", ("numpy",), open_read, "reader.read, nothing read ahead"),
    ("tf.data", ("tensorflow",), open_tf_data, "our reader behind TensorFlow's pipeline"),
)
OURS = tuple(
    Loader(
        name=f"hpa {codec}, {label}",
        shows=shows + ", from a cache of decoded samples" * (codec == CACHED),
        shuffle="permutation",
        modules=modules,
        open=partial(function, codec),
    )
    for label, modules, function, shows in KINDS
    for codec in (*CODECS, CACHED)
)


def decode(codec: str, small: bool, setup: Setup) -> Callable[[], int]:
    """Decode alone, into the memory of two batches or, over and over, of one image a thread."""
    n_images = setup.threads if small else 2 * setup.batch_size
    with _open(codec, setup) as reader:
        order = np.random.default_rng(setup.seed).permutation(len(reader))
        return limit_decode(reader, codec, order, threads=setup.threads, n_images=n_images)


def copy_map(setup: Setup) -> Callable[[], int]:
    """Copy from the map of the raw store."""
    reader = _open("raw", setup)
    order = np.random.default_rng(setup.seed).permutation(len(reader))
    images = [reader.encoded_chunk(index).reshape(reader.image_shape) for index in order.tolist()]
    return limit_copy(images, threads=setup.threads, n_images=2 * setup.batch_size)


def copy_memory(setup: Setup) -> Callable[[], int]:
    """Copy from memory that is no file."""
    images = BufferPool().acquire((128, 512, 512, 4))
    images[...] = 1
    return limit_copy(list(images), threads=setup.threads, n_images=2 * setup.batch_size)


def read_disk(codec: str, setup: Setup) -> Callable[[], int]:
    """Read the shards past the page cache."""
    part = open_store(setup.stores / f"{codec}.zarr").part("train")
    paths = [part.shard_path(shard) for shard in range(part.layout.n_shards)]
    return limit_disk(paths, len(setup.ids), threads=setup.threads)


# Into the memory of two batches, as any loader needs that fills one while the other is in use.
LIMITS = (
    *(
        Limit(
            name=f"decode {codec}",
            shows="decode alone, into the memory of two batches",
            open=partial(decode, codec, False),
        )
        for codec in ("lz4hc", "lz4", "zstd")
    ),
    Limit(
        name="decode lz4hc, in cache",
        shows="decode alone, each thread into one image over and over",
        open=partial(decode, "lz4hc", True),
    ),
    Limit(name="copy raw", shows="copy from the mapped raw store into the memory of two batches", open=copy_map),
    Limit(name="memcpy", shows="copy from memory into the memory of two batches", open=copy_memory),
    Limit(name="disk lz4hc", shows="read the shards past the page cache", open=partial(read_disk, "lz4hc")),
    Limit(name="disk raw", shows="read the shards past the page cache", open=partial(read_disk, "raw")),
)
