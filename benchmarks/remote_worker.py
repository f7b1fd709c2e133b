"""A way to read batches at a URL, in a process of its own, for `remote`.

    python -m benchmarks.remote_worker ROW URL STORE BATCH_SIZE IN_FLIGHT

The rows are in `ROWS`. Each iterates over random batches without end. STORE is the folder that is served under the URL.
"""

import asyncio
import itertools
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import numpy.typing as npt

from benchmarks.processes import Answer, serve
from hpa_data.format.codecs import decode_chunk, decode_index
from hpa_data.format.layout import find_shard
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.disk_cache import DiskCache, set_disk_cache
from hpa_data.reader.kvstore import make_concurrency, make_kvstore
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import open_store
from hpa_data.system.memory import BufferPool

Images = npt.NDArray[np.uint8]


def read_numpy(url: str, batch_size: int, _: int) -> Iterator[Images]:
    """Read with our reader."""
    with open_store(url).reader() as reader:
        for batch in iter_batches(reader, BatchSampler(np.arange(len(reader)), batch_size)):
            yield batch.images


def read_disk(url: str, batch_size: int, _: int) -> Iterator[Images]:
    """Read with our reader, through a cache on a disk that a first epoch has filled."""
    with tempfile.TemporaryDirectory() as folder:
        set_disk_cache(DiskCache(Path(folder)))
        with open_store(url).reader() as reader:
            for _batch in iter_batches(reader, BatchSampler(np.arange(len(reader)), batch_size), epochs=1):
                pass
        yield from read_numpy(url, batch_size, 0)


def read_tf_data(url: str, batch_size: int, _: int) -> Iterator[Images]:
    """Read with our reader, through `tf.data`."""
    from hpa_model.pipeline import dataset

    with open_store(url).reader() as reader:
        for batch in dataset(reader, np.arange(len(reader)), batch_size):
            yield np.asarray(memoryview(batch[0] if isinstance(batch, tuple) else batch))


def read_tensorstore(url: str, batch_size: int, in_flight: int) -> Iterator[Images]:
    """Read with TensorStore's driver for Zarr, in as many batches as fill its requests, straight from the server."""
    import tensorstore as ts

    spec = make_kvstore(f"{url}/train/images")
    context = ts.Context(make_concurrency(spec["driver"], in_flight) | {"cache_pool": {"total_bytes_limit": 2**26}})
    array = ts.open({"driver": "zarr3", "kvstore": spec}, context=context, open=True, read=True).result()
    sampler, buffers = BatchSampler(np.arange(array.shape[0]), batch_size), BufferPool()

    def start(step: int) -> tuple[Images, Any]:
        indices = sampler.indices(step)
        batch = buffers.acquire((len(indices), *array.shape[1:]))
        return batch, ts.array(batch, copy=False).write(array[indices])

    steps = itertools.count()
    pending = deque(start(next(steps)) for _ in range(-(-in_flight // batch_size) + 1))
    while True:
        batch, future = pending.popleft()
        future.result()
        yield batch
        del batch
        pending.append(start(next(steps)))


def open_obstore(url: str) -> Any:
    """Open the store of a URL."""
    import obstore.store

    if not url.startswith("s3:"):
        return obstore.store.HTTPStore.from_url(url, client_options={"allow_http": True})
    parts = urlsplit(url)
    return obstore.store.S3Store(
        parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        region="us-east-1",
        skip_signature=True,
        client_options={"allow_http": True},
    )


def read_obstore(url: str, batch_size: int, in_flight: int) -> Iterator[Images]:
    """Read ranges with obstore, one for each sample, and decode them in a thread per core."""
    spec = open_store(url).part("train").reader_spec()
    layout, store = spec.layout, open_obstore(f"{url}/train/images")
    sampler, buffers = BatchSampler(np.arange(layout.n_samples), batch_size), BufferPool()
    pool, loop = ThreadPoolExecutor(os.cpu_count()), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    indexes: dict[int, npt.NDArray[np.uint64]] = {}

    async def read_index(shard: int) -> None:
        content = await store.get_async(
            find_shard("", shard).as_posix(), options={"range": {"suffix": layout.index_bytes}}
        )
        index = np.frombuffer(await content.bytes_async(), np.uint8)
        indexes[shard] = decode_index(index, n_bytes=layout.task_bytes, shard_samples=layout.shard_samples)

    async def read_sample(sample: int, out: Images, gate: asyncio.Semaphore) -> None:
        shard, place = divmod(sample, layout.shard_samples)
        first, stop = indexes[shard][place].tolist()
        async with gate:
            content = await store.get_range_async(find_shard("", shard).as_posix(), start=first, end=stop)
        chunk = np.frombuffer(content, np.uint8)
        await loop.run_in_executor(pool, decode_chunk, chunk, out, spec.codec)

    async def read_batch(indices: list[int], batch: Images, gate: asyncio.Semaphore) -> None:
        await asyncio.gather(*(read_sample(sample, out, gate) for sample, out in zip(indices, batch, strict=True)))

    async def prepare() -> asyncio.Semaphore:
        await asyncio.gather(*(read_index(shard) for shard in range(layout.n_shards)))
        return asyncio.Semaphore(in_flight)

    def start(step: int, gate: asyncio.Semaphore) -> tuple[Images, "Future[None]"]:
        indices = sampler.indices(step)
        batch = buffers.acquire((len(indices), *layout.image_shape))
        return batch, asyncio.run_coroutine_threadsafe(read_batch(indices.tolist(), batch, gate), loop)

    gate = asyncio.run_coroutine_threadsafe(prepare(), loop).result()
    steps = itertools.count()
    pending = deque(start(next(steps), gate) for _ in range(-(-in_flight // batch_size) + 1))
    while True:
        batch, future = pending.popleft()
        future.result()
        yield batch
        del batch
        pending.append(start(next(steps), gate))


ROWS: dict[str, Callable[[str, int, int], Iterator[Images]]] = {
    "hpa-NumPy": read_numpy,
    "hpa-tf.data": read_tf_data,
    "TensorStore": read_tensorstore,
    "obstore": read_obstore,
    "hpa-disk": read_disk,
    "hpa-local": read_numpy,
}


def read_memory(name: str) -> int:
    """Return a size of this process, as the system calls it, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


class Row:
    """A row, opened by the first command."""

    def __init__(self, name: str, url: str, batch_size: int, in_flight: int) -> None:
        self._open = partial(ROWS[name], url, batch_size, in_flight)
        self._n_untimed = 2 * in_flight
        self._batches: Iterator[Images] | None = None
        self._bytes_before = 0

    def time(self, seconds: str) -> Answer:
        """Read batches for some time."""
        began = time.perf_counter()
        if self._batches is None:
            self._bytes_before = read_memory("RssAnon")
            self._batches = self._open()
            next(self._batches)
        first_s = time.perf_counter() - began
        n_left = self._n_untimed  # what came while other rows had their turn
        while n_left > 0:
            n_left -= len(next(self._batches))
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
        n_samples, began, before = 0, time.perf_counter(), os.times()
        while time.perf_counter() - began < float(seconds):
            images = next(self._batches)
            int(images[:, 0, 0, 0].sum())  # every image is really there
            n_samples += len(images)
            del images
        cpu_s = sum(os.times()[:2]) - sum(before[:2])
        rate = n_samples / (time.perf_counter() - began)
        growth = read_memory("RssAnon") - self._bytes_before
        peak = read_memory("VmHWM")
        return {"rate": rate, "first_s": first_s, "cpu_ms": 1e3 * cpu_s / n_samples, "VmHWM": peak, "growth": growth}


def main() -> None:
    """Serve the commands."""
    name, url, store, batch_size, in_flight = sys.argv[1:]
    row = Row(name, store if name == "hpa-local" else url, int(batch_size), int(in_flight))
    serve({"time": row.time})


if __name__ == "__main__":
    main()
