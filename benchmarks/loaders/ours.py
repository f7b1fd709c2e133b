"""Our rows of the loader benchmark, and the limits of the machine that rows are compared with."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.loaders.row import Epoch, Images, Limit, Loader, Setup
from hpa_data.format.codecs import CODECS
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import open_store
from hpa_data.system.memory import BufferPool
from hpa_model.bench.limits import limit_copy, limit_decode, limit_disk

# In place of a codec: the default one, with all samples kept in memory once they are decoded.
CACHED = "cached"


def _open(codec: str, setup: Setup) -> Reader:
    if codec != CACHED:
        return open_store(setup.stores / f"{codec}.zarr").reader(threads=setup.threads)
    store = open_store(setup.stores / "lz4hc.zarr")
    return store.reader(threads=setup.threads, cache_bytes=len(setup.ids) * 2**20)


def open_numpy(codec: str, setup: Setup) -> Epoch:
    """Iterate over NumPy batches of our reader."""
    reader = _open(codec, setup)
    sampler = BatchSampler(np.arange(len(reader)), setup.batch_size, seed=setup.seed)

    def run(epoch: int) -> Iterator[Images]:
        for batch in iter_batches(reader, sampler, resume_at=(epoch, 0), epochs=epoch + 1):
            yield batch.images

    return run


def open_read(codec: str, setup: Setup) -> Epoch:
    """Read one batch after the other, without reading ahead."""
    reader = _open(codec, setup)
    sampler = BatchSampler(np.arange(len(reader)), setup.batch_size, seed=setup.seed)

    def run(epoch: int) -> Iterator[Images]:
        for step in range(sampler.n_steps):
            yield reader.read(sampler.indices(sampler.global_step(epoch, step)))

    return run


def open_tf_data(codec: str, setup: Setup) -> Epoch:
    """Iterate over batches of our reader through `tf.data`, one iterator over all epochs, as the trainer does."""
    from hpa_model.pipeline import dataset

    reader = _open(codec, setup)
    batches = iter(dataset(reader, np.arange(len(reader)), setup.batch_size, seed=setup.seed))
    n_steps = -(-len(reader) // setup.batch_size)

    # An epoch that is stopped early would continue in the next; none of ours takes long enough for that.
    def run(_: int) -> Iterator[Images]:
        for _ in range(n_steps):
            yield np.asarray(memoryview(next(batches)))

    return run


def open_torch(codec: str, setup: Setup) -> Epoch:
    """Iterate over tensors, through PyTorch's `DataLoader`."""
    from torch.utils.data import DataLoader

    from hpa_data.reader.torch import dataset

    reader = _open(codec, setup)
    sampler = BatchSampler(np.arange(len(reader)), setup.batch_size, seed=setup.seed)

    def run(epoch: int) -> Iterator[Images]:
        batches = dataset(reader, sampler, resume_at=(epoch, 0), epochs=epoch + 1)
        for images in DataLoader(batches, batch_size=None):
            yield images.numpy()
            del images

    return run


def open_jax(codec: str, setup: Setup) -> Epoch:
    """Iterate over arrays of JAX."""
    from hpa_data.reader.jax import batches

    reader = _open(codec, setup)
    sampler = BatchSampler(np.arange(len(reader)), setup.batch_size, seed=setup.seed)

    def run(epoch: int) -> Iterator[Images]:
        for images in batches(reader, sampler, resume_at=(epoch, 0), epochs=epoch + 1):
            yield np.asarray(images)
            del images

    return run


KINDS = (
    ("NumPy", ("numpy",), open_numpy, "batches as arrays, one read ahead"),
    ("read", ("numpy",), open_read, "reader.read, nothing read ahead"),
    ("tf.data", ("tensorflow",), open_tf_data, "our reader through TensorFlow's pipeline"),
)
OURS = tuple(
    Loader(
        name=f"hpa {codec}, {label}",
        description=description + ", from a cache of decoded samples" * (codec == CACHED),
        modules=modules,
        open=partial(function, codec),
    )
    for label, modules, function, description in KINDS
    for codec in (*CODECS, CACHED)
) + tuple(
    Loader(
        name=f"hpa lz4hc, {label}",
        description=f"the batches of NumPy as {label}",
        modules=(label.lower(),),
        open=partial(function, "lz4hc"),
    )
    for label, function in (("torch", open_torch), ("JAX", open_jax))
)


def decode(codec: str, small: bool, setup: Setup) -> Callable[[], int]:
    """Decode only, into the memory of two batches, or of one image per thread."""
    n_images = setup.threads if small else 2 * setup.batch_size
    with _open(codec, setup) as reader:
        order = np.random.default_rng(setup.seed).permutation(len(reader))
        return limit_decode(reader, codec, order, threads=setup.threads, n_images=n_images)


def copy_map(setup: Setup) -> Callable[[], int]:
    """Copy from the memory-mapped raw store."""
    reader = _open("raw", setup)
    order = np.random.default_rng(setup.seed).permutation(len(reader))
    chunks = [reader.encoded_chunk(index) for index in order.tolist()]
    images = [chunk.reshape(reader.image_shape) for chunk in chunks if chunk is not None]
    return limit_copy(images, threads=setup.threads, n_images=2 * setup.batch_size)


def copy_memory(setup: Setup) -> Callable[[], int]:
    """Copy from memory that is not a mapped file."""
    images = BufferPool().acquire((128, 512, 512, 4))
    images[...] = 1
    return limit_copy(list(images), threads=setup.threads, n_images=2 * setup.batch_size)


def read_disk(codec: str, setup: Setup) -> Callable[[], int]:
    """Read the shards, bypassing the page cache."""
    part = open_store(setup.stores / f"{codec}.zarr").part("train")
    paths = [part.shard_path(shard) for shard in range(part.layout.n_shards)]
    return limit_disk(paths, len(setup.ids), threads=setup.threads)


# Into the memory of two batches, which any loader needs that fills one while the other is in use.
LIMITS = (
    *(
        Limit(
            name=f"decode {codec}",
            description="decode only, into the memory of two batches",
            open=partial(decode, codec, False),
        )
        for codec in ("lz4hc", "lz4", "zstd")
    ),
    Limit(
        name="decode lz4hc, in cache",
        description="decode only, each thread into the same image every time",
        open=partial(decode, "lz4hc", True),
    ),
    Limit(name="copy raw", description="copy from the mapped raw store into the memory of two batches", open=copy_map),
    Limit(name="memcpy", description="copy from memory into the memory of two batches", open=copy_memory),
    Limit(name="disk lz4hc", description="read the shards, bypassing the page cache", open=partial(read_disk, "lz4hc")),
    Limit(name="disk raw", description="read the shards, bypassing the page cache", open=partial(read_disk, "raw")),
)
