"""Engines of a reader, held against zarr-python; from afar, in other processes, cached."""

import functools
import gc
import http.server
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import boto3
import numpy as np
import psutil
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from zarr.codecs import BloscCodec, GzipCodec

from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchSampler, iter_batches
from hpa_data.reader.cache import Cache, choose_cache_bytes
from hpa_data.reader.reader import Reader
from hpa_data.reader.tensorstore_engine import TensorStoreImages
from hpa_data.stats.measure import measure_store
from hpa_data.store.create import PartPlan, create_part
from hpa_data.store.store import Store, open_store
from hpa_data.system.memory import find_free_memory
from hpa_data.verify import verify_store
from tests.builders import convert

BUCKET = "hpa-bucket"


@pytest.fixture(scope="module")
def oracle(store: Store) -> np.ndarray:
    """Give the images of both parts as zarr-python reads them."""
    group = zarr.open_group(store.path, mode="r")
    return np.concatenate([group["train"]["images"][:], group["test"]["images"][:]])


def rewrite(store: Store, to: Path, **layout: object) -> Store:
    """Copy a store, the images of ``train`` laid out in another way."""
    shutil.copytree(store.path, to)
    images = zarr.open_group(store.path, mode="r")["train"]["images"]
    shutil.rmtree(to / "train" / "images")
    array = zarr.create_array(
        to / "train" / "images",
        shape=images.shape,
        dtype="uint8",
        dimension_names=images.metadata.dimension_names,
        config={"write_empty_chunks": True},
        **layout,
    )
    array[:] = images[:]
    return open_store(to)


FOREIGN = {
    "no shards": {"chunks": (1, 512, 512, 4), "compressors": BloscCodec(cname="lz4", typesize=4)},
    "gzip": {"chunks": (1, 512, 512, 4), "shards": (64, 512, 512, 4), "compressors": GzipCodec(level=1)},
    "chunks of several samples": {"chunks": (5, 512, 512, 4), "compressors": BloscCodec(cname="zstd", typesize=4)},
    "tiles": {"chunks": (1, 256, 256, 4), "shards": (4, 512, 512, 4), "compressors": None},
}


@pytest.fixture(scope="module", params=FOREIGN)
def foreign(request: pytest.FixtureRequest, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return rewrite(store, tmp_path_factory.mktemp("foreign") / "a.zarr", **FOREIGN[request.param])


def test_our_own_layout_is_mapped(store: Store) -> None:
    with store.reader(["train", "test"]) as reader:
        assert reader.engine == "mapped"


def test_another_layout_is_read_by_tensorstore(foreign: Store, oracle: np.ndarray) -> None:
    with foreign.reader(["train", "test"]) as reader:
        assert reader.engine == "tensorstore"
        rng = np.random.default_rng(1)
        for _ in range(10):
            indices = rng.integers(0, 15, 7)
            assert (reader.read(indices) == oracle[indices]).all()
        assert reader.read([]).shape == (0, 512, 512, 4)
        assert (reader.read_one(13) == oracle[13]).all()


def test_another_layout_is_neither_checked_nor_written(foreign: Store) -> None:
    with pytest.raises(InputError, match="Shards must be laid out as `hpa convert` does it"):
        verify_store(foreign.path, part="train")
    part = foreign.part("train")
    plan = PartPlan(
        path=foreign.path,
        name="train",
        ids=tuple(part.ids),
        labels=part.labels,
        settings={},
        codec="lz4hc",
    )
    with pytest.raises(InputError, match="Shards must be laid out as `hpa convert` does it"):
        create_part(plan)


@pytest.mark.parametrize("codec", ["lz4hc", "lz4", "zstd", "raw"])
def test_both_engines_read_every_codec_alike(kaggle: Path, tmp_path: Path, codec: str) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test", codec=codec)
    expected = zarr.open_group(tmp_path / "a.zarr", mode="r")["test"]["images"][:]
    files = open_store(tmp_path / "a.zarr").part("test").reader_spec()
    foreign = type(files)(**{**vars(files), "has_native_layout": False})
    for reader, engine in ((Reader([files]), "mapped"), (Reader([foreign]), "tensorstore")):
        with reader:
            assert reader.engine == engine
            assert (reader.read([2, 0, 1, 2]) == expected[[2, 0, 1, 2]]).all()


def test_a_lost_shard_is_no_black_image(store: Store, tmp_path: Path) -> None:
    foreign = rewrite(store, tmp_path / "a.zarr", **FOREIGN["no shards"])
    (tmp_path / "a.zarr" / "train" / "images" / "c" / "3" / "0" / "0" / "0").unlink()
    with foreign.reader() as reader:
        assert reader.read([2, 4]).any()
        with pytest.raises(InputError, match="must be there and whole.*part 'train'.*is missing"):
            reader.read([2, 3])


def test_a_damaged_chunk_is_refused_by_tensorstore_too(store: Store, tmp_path: Path) -> None:
    foreign = rewrite(store, tmp_path / "a.zarr", **FOREIGN["no shards"])
    chunk = tmp_path / "a.zarr" / "train" / "images" / "c" / "3" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:1000])
    with foreign.reader() as reader, pytest.raises(InputError, match="must be there and whole"):
        reader.read([3])


def test_a_chunk_that_decodes_to_less_is_refused(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    shard = tmp_path / "a.zarr" / "test" / "images" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[4:8] = (512 * 512).to_bytes(4, "little")  # the first chunk says that it holds a quarter
    shard.write_bytes(content)
    with open_store(tmp_path / "a.zarr").reader(["test"]) as reader:
        with pytest.raises(InputError, match="sample 'new-0' of part 'test', damaged in"):
            reader.read([1, 0])
        assert reader.read([1]).any()


# From afar


@pytest.fixture(scope="module")
def s3_url(store: Store) -> Iterator[str]:
    """Serve the store by a server that speaks S3."""
    given = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nobody's own settings.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=given["AWS_ENDPOINT_URL"])
        client.create_bucket(Bucket=BUCKET)
        for path in sorted(store.path.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"data/hpa.zarr/{path.relative_to(store.path)}")
        yield f"s3://{BUCKET}/data/hpa.zarr"
    server.stop()


def test_a_store_on_s3_gives_the_same_bytes(s3_url: str, store: Store, oracle: np.ndarray) -> None:
    remote = open_store(s3_url)
    assert remote.parts() == ["test", "train"]
    assert remote.part("train").manifest == store.part("train").manifest
    with remote.reader(["train", "test"]) as reader, store.reader(["train", "test"]) as local:
        assert reader.engine == "tensorstore"
        assert reader.ids == local.ids
        assert (reader.status == local.status).all()
        indices = np.random.default_rng(0).permutation(15)
        assert (reader.read(indices) == oracle[indices]).all()
    with remote.reader() as reader, store.reader() as local:
        order = BatchSampler(np.arange(12), 5, seed=4)
        for far, near in zip(iter_batches(reader, order, epochs=1), iter_batches(local, order, epochs=1), strict=True):
            assert (far.images == near.images).all()
            assert np.array_equal(far.labels, near.labels)  # type: ignore[arg-type]


def test_a_store_on_s3_is_measured_as_a_local_one(s3_url: str, store: Store) -> None:
    far, near = (measure_store(open_store(place)) for place in (s3_url, str(store.path)))
    assert far.store == s3_url
    assert far.parts == near.parts
    assert [repr(one) for one in far.intensities] == [repr(one) for one in near.intensities]
    assert repr(far.labels) == repr(near.labels)


def test_a_store_at_a_url_is_not_written_to(s3_url: str) -> None:
    with pytest.raises(InputError, match="A store to write to must be a folder. Received: s3://"):
        plan_augmentation(open_store(s3_url), min_count=5)
    with pytest.raises(InputError, match="A store to write to must be a folder. Received: s3://"):
        verify_store(s3_url)


def test_a_folder_made_for_what_was_fetched_goes_with_the_store(s3_url: str) -> None:
    remote = open_store(s3_url)
    part, folder = remote.part("train"), remote.path
    del remote
    ids = part.ids
    assert ids[0] == "sample-11"
    assert folder.exists()
    del part
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"s3://{BUCKET}/nothing", "must be written by `hpa convert`.*without zarr.json"),
        ("s3://no-such-bucket/a", "must be written by `hpa convert`.*without zarr.json"),
        ("ftp://host/a", "A URL must begin with one of s3://"),
        ("s3://", "A URL must name a place"),
        ("http://127.0.0.1:9/a.zarr", "A store at a URL must be readable"),
    ],
)
def test_a_url_without_a_store_is_refused(s3_url: str, url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_store(url)


def test_a_part_that_is_not_at_the_url_is_refused(s3_url: str) -> None:
    for name in ("nope", "../train", "train/images"):
        with pytest.raises(InputError, match="part must be in the store.*has test, train"):
            open_store(s3_url).part(name)


@pytest.fixture(scope="module")
def http_url(store: Store) -> Iterator[str]:
    """Serve the store by a plain web server."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def list_directory(self, path: object) -> None:
            self.send_error(403)

    handler = functools.partial(Handler, directory=str(store.path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{store.path.name}"
        server.shutdown()


def test_a_store_behind_a_web_server_is_read_though_its_parts_are_not_listed(http_url: str, store: Store) -> None:
    remote = open_store(http_url)
    with pytest.raises(InputError, match="must be named if its server does not list them"):
        remote.parts()
    with remote.reader() as reader, store.reader() as local:
        assert reader.ids == local.ids


# In other processes, and with a cache


def read_there(reader: Reader, indices: list[int]) -> bytes:
    return reader.read(indices).tobytes()


def test_a_reader_works_in_a_process_that_it_was_sent_to(store: Store, oracle: np.ndarray) -> None:
    with store.reader(threads=2) as reader, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(read_there, reader, [3, 1]).result() == oracle[[3, 1]].tobytes()


def test_a_reader_works_after_a_fork(store: Store, oracle: np.ndarray) -> None:
    with store.reader(threads=2) as reader:
        reader.read([0, 1])
        child = os.fork()
        if child == 0:
            os._exit(0 if (reader.read([3, 1]) == oracle[[3, 1]]).all() else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("cache_bytes", [0, 5 * 2**20])
def test_processes_do_not_share_their_batches_after_a_fork(store: Store, oracle: np.ndarray, cache_bytes: int) -> None:
    with store.reader(threads=2, cache_bytes=cache_bytes) as reader:
        reader.read([0, 1])  # leaves memory to be used again, by both
        child = os.fork()
        for _ in range(20):
            order = [4, 5] if child == 0 else [2, 3]
            if not (reader.read(order) == oracle[order]).all():
                os._exit(1)
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (reader.read(range(12)) == oracle[:12]).all()


def test_a_batch_from_before_a_fork_is_refused_after_it(store: Store) -> None:
    with store.reader(threads=2) as reader:
        begun = reader.start([0, 1])
        child = os.fork()
        if child == 0:
            with pytest.raises(ValueError, match="before a fork"):
                begun.result()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        begun.result()


def test_tensorstore_after_a_fork_is_refused(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    with open_store(tmp_path / "a.zarr").reader(["test"]) as mapped:
        remake = mapped.__reduce__()[1][0]
    engine = TensorStoreImages(remake, threads=1)
    child = os.fork()
    if child == 0:
        with pytest.raises(InputError, match="opened anew after a fork"):
            engine.read_one(0, np.empty((512, 512, 4), np.uint8))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def read_unless_closed(reader: Reader) -> bool:
    """Read a batch; False if the reader says that it is closed."""
    try:
        return reader.read([0, 1]).shape == (2, 512, 512, 4)
    except ValueError as fault:
        return "must be open" not in str(fault)


def test_closing_while_batches_are_begun_hangs_nowhere(store: Store) -> None:
    for _ in range(20):
        reader = store.reader(threads=2)
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(read_unless_closed, reader) for _ in range(6)]
            reader.close()
            assert all(future.result(timeout=60) in {True, False} for future in reading)
        assert not read_unless_closed(reader)


def test_a_failed_read_gives_its_memory_back_at_once(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    shard = tmp_path / "a.zarr" / "test" / "images" / "c" / "0" / "0" / "0" / "0"
    with open_store(tmp_path / "a.zarr").reader(["test"], threads=1) as reader:
        shard.write_bytes(bytes(shard.stat().st_size))  # in place: the map sees it
        gc.disable()
        try:
            for _ in range(5):
                with pytest.raises(InputError, match="damaged"):
                    reader.read([0, 1])
            assert len(reader._buffers._free) == 1
        finally:
            gc.enable()


def test_a_closed_reader_says_so(store: Store) -> None:
    reader = store.reader()
    reader.close()
    reader.close()
    for use in (reader.read, reader.start):
        with pytest.raises(ValueError, match="A reader must be open"):
            use([0])
    with pytest.raises(ValueError, match="A reader must be open"):
        reader.read_one(0)


def test_no_threads_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="threads must be from 1 to 1024"):
        store.reader(threads=0)


@pytest.mark.parametrize("capacity", [0, 1, 5, 15, 100])
@settings(deadline=None, max_examples=8)
@given(batches=st.lists(st.lists(st.integers(0, 14), max_size=9), min_size=1, max_size=8))
def test_a_cache_changes_no_pixel(store: Store, oracle: np.ndarray, capacity: int, batches: list[list[int]]) -> None:
    with store.reader(["train", "test"], threads=2, cache_bytes=capacity * 2**20) as reader:
        for indices in batches * 2:
            assert (reader.read(indices) == oracle[indices]).all()


def test_what_is_cached_is_not_read_again(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    shard = tmp_path / "a.zarr" / "test" / "images" / "c" / "0" / "0" / "0" / "0"
    with open_store(tmp_path / "a.zarr").reader(["test"], cache_bytes=2 * 2**20) as reader:
        before = reader.read([0, 1, 2]).copy()
        shard.write_bytes(bytes(shard.stat().st_size))  # in place: the map sees it
        assert (reader.read([1, 0]) == before[[1, 0]]).all()
        with pytest.raises(InputError, match="damaged"):
            reader.read([2])


def test_a_cache_is_safe_in_several_threads() -> None:
    cache = Cache(50, (4, 4, 1), 30 * 16, threads=2)
    images = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 1), np.uint8)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            samples = rng.integers(0, 50, 7)
            batch = np.full((7, 4, 4, 1), 255, np.uint8)
            absent, copying = cache.start(samples, batch)
            for job in copying:
                job.result()
            batch[absent] = images[samples[absent]]
            assert (batch == images[samples]).all()
            cache.insert(samples, batch, absent)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    kept = np.zeros((50, 4, 4, 1), np.uint8)
    absent, copying = cache.start(np.arange(50), kept)
    for job in copying:
        job.result()
    assert len(absent) == 20
    kept[absent] = images[absent]
    assert (kept == images).all()


def test_a_cache_must_fit_into_free_memory() -> None:
    free = find_free_memory()
    assert 2**20 < free < 2**50
    assert choose_cache_bytes(None, 1000) == 1000
    assert choose_cache_bytes(500, 1000) == 500
    assert choose_cache_bytes(2**60, 1000) == 1000  # more than all samples need
    assert choose_cache_bytes(None, 2**60) < free * 0.7
    with pytest.raises(InputError, match="A cache must fit into free memory"):
        choose_cache_bytes(2**60, 2**60)


def test_memory_stays_flat_over_epochs(store: Store) -> None:
    with store.reader(["train", "test"], threads=2) as reader:
        order = BatchSampler(np.arange(15), 4)
        sizes = []
        for epoch in range(20):
            for batch in iter_batches(reader, order, start=(epoch, 0), epochs=epoch + 1):
                assert batch.images.any()
            sizes.append(psutil.Process().memory_info().rss)
        assert max(sizes[2:]) - sizes[2] < 4 * 2**20  # less than a batch
