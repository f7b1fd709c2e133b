"""Loaders to compare with: other readers of our stores, which are Zarr."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.loaders.reading import (
    BUFFER,
    SHAPE,
    Indices,
    allocate,
    find_images,
    read_ahead,
    read_batches,
)
from benchmarks.loaders.row import Epoch, Images, Loader, Setup

BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
RUST = "zarrs.ZarrsCodecPipeline"


def _open_zarr(setup: Setup, pipeline: str) -> Any:
    import zarr

    zarr.config.set(
        {
            "codec_pipeline.path": pipeline,
            "codec_pipeline.max_workers": setup.threads,  # of the fused pipeline only
            "threading.max_workers": setup.threads,
            "async.concurrency": max(10, setup.threads),  # 10 is the default
        }
    )
    return zarr.open_array(find_images(setup), mode="r")


def _select(images: Any, samples: Indices | slice, batch: Images) -> None:
    """Do what `images.oindex[samples]` does, into a given batch."""
    from zarr.buffer.cpu import NDBuffer

    everything = (slice(None),) * len(SHAPE)
    images.get_orthogonal_selection((samples, *everything), out=NDBuffer.from_numpy_array(batch))


def open_zarr_in_order(setup: Setup) -> Epoch:
    """Read slices with zarr-python."""
    images = _open_zarr(setup, BATCHED)
    buffer = allocate(setup)

    def run(_: int) -> Iterator[Images]:
        for first in range(0, len(setup.ids), setup.batch_size):
            batch = buffer[: len(setup.ids) - first]
            _select(images, slice(first, first + len(batch)), batch)
            yield batch

    return run


def open_zarr(setup: Setup, *, pipeline: str) -> Epoch:
    """Read batches with zarr-python; it groups sorted indices by shard."""
    images = _open_zarr(setup, pipeline)
    return read_batches(setup, lambda samples, batch: _select(images, np.sort(samples), batch))


def open_zarrs(setup: Setup) -> Epoch:
    """Read batches with the Rust pipeline, which leaves a selection to zarr-python if two samples share a shard."""
    images = _open_zarr(setup, RUST)

    def read(samples: Indices, batch: Images) -> None:
        samples = np.sort(samples)
        shards = samples // images.shards[0]
        # One selection for the first sample of each shard, one for the second, and so on.
        ranks = np.arange(len(samples)) - np.searchsorted(shards, shards)
        first = 0
        for rank in range(ranks.max() + 1):
            chosen = samples[ranks == rank]
            _select(images, chosen, batch[first : first + len(chosen)])
            first += len(chosen)

    return read_batches(setup, read)


def open_annbatch(setup: Setup) -> Epoch:
    """Read with annbatch's loader on the Rust pipeline, which its documentation recommends for local files."""
    import annbatch

    images = _open_zarr(setup, RUST)

    def run(epoch: int) -> Iterator[Images]:
        # Chunks of one sample give a full permutation. Two batches per load: larger loads, made for small samples,
        # spend their time allocating memory.
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
    """Read with insitubatch, which reads whole shards, and shuffles the samples of a few."""
    from insitubatch import InSituDataset, obstore_store, open_geometries, split_by_chunk

    store = obstore_store(find_images(setup).parent.resolve().as_uri())
    geometries = open_geometries(store, variables=["images"])
    manifest = split_by_chunk(geometries["images"], fractions=(1.0, 0.0, 0.0), contiguous=False)

    def run(epoch: int) -> Iterator[Images]:
        # A new one for each epoch: it keeps at least two blocks decoded, which may be all that a benchmark reads, and
        # the second epoch would come from memory.
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
    """Read each batch with one indexed copy into a given batch."""
    import tensorstore

    context = tensorstore.Context(
        {
            "data_copy_concurrency": {"limit": setup.threads},
            "file_io_concurrency": {"limit": setup.threads},
            # A quarter faster than reading into memory of its own.
            "file_io_mode": {"mode": "memmap"},
            # None: a pool for the index of every shard would keep decoded samples too, in newly allocated memory.
            # Measured with 256 shards, that cost more than reading an index, 1 KiB, with each sample.
            "cache_pool": {"total_bytes_limit": 0},
        }
    )
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{find_images(setup, codec)}/"},
        "recheck_cached_metadata": False,
        "recheck_cached_data": False,
    }
    images = tensorstore.open(spec, context=context, open=True, read=True).result()

    def start(samples: Indices, batch: Images) -> Sequence[Any]:
        return [tensorstore.array(batch, copy=False).write(images[samples])]

    return read_ahead(setup, start)


LOADERS = (
    Loader(
        name="insitubatch",
        description="whole shards, decoded; none is kept for the next epoch",
        shuffle="within blocks of shards, one per thread and at least 4",
        modules=("insitubatch",),
        open=open_insitubatch,
    ),
    Loader(
        name="annbatch",
        description="a loader that uses zarrs",
        modules=("annbatch", "zarrs"),
        open=open_annbatch,
    ),
    Loader(
        name="zarr-python sequential",
        description="slice by slice",
        shuffle="none",
        modules=("zarr",),
        open=open_zarr_in_order,
    ),
    Loader(
        name="zarr-python random",
        description="orthogonal indexing, as in Zarr's documentation",
        modules=("zarr",),
        open=partial(open_zarr, pipeline=BATCHED),
    ),
    # zarr.core.chunk_utils came with the fused pipeline, in zarr 3.3.
    Loader(
        name="zarr-python fused random",
        description="the same with its opt-in fused pipeline",
        modules=("zarr.core.chunk_utils",),
        open=partial(open_zarr, pipeline=FUSED),
    ),
    Loader(
        name="zarrs",
        description="the same with a pipeline in Rust",
        modules=("zarrs",),
        open=open_zarrs,
    ),
    Loader(
        name="TensorStore",
        description="one indexed read per batch",
        modules=("tensorstore",),
        open=partial(open_tensorstore, codec="lz4hc"),
    ),
    Loader(
        name="TensorStore raw",
        description="the same from a store without compression",
        modules=("tensorstore",),
        open=partial(open_tensorstore, codec="raw"),
    ),
)
