"""Stores at a URL in native layout: which requests are made, how many at once, and what is kept of them."""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.format.codecs import decode_shard_index
from hpa_data.reader import chunks, connections
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.chunks import Chunks
from hpa_data.reader.pace import FIRST_IN_FLIGHT
from hpa_data.reader.ranges_engine import RangeImages
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store, open_store
from tests.builders import build_store
from tests.web_server import Handler, web_server

N = 96
DATASET = Dataset(name="small", channels=(Channel(name="a"), Channel(name="b")), classes=("x",), height=16, width=16)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Write samples in two shards."""
    return build_store(tmp_path_factory.mktemp("small") / "a.zarr", DATASET, np.zeros((N, 1)))


@pytest.fixture(scope="module")
def pixels(small: Store) -> np.ndarray:
    with small.reader() as reader:
        return reader.read(np.arange(N))


class Log:
    """Serves as web_server says, and keeps which ranges of images were asked for, and how many at once."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.ranges: list[tuple[str, str]] = []
        self.most_at_once = self._at_once = 0
        self._latency_s = latency_s
        self._lock = threading.Lock()

    def __call__(self, handler: Handler) -> bool:
        if "/images/c/" not in handler.path:
            return False
        with self._lock:
            self.ranges.append((handler.path, handler.headers["Range"]))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self._latency_s)
        with self._lock:
            self._at_once -= 1
        return False


@pytest.fixture(scope="module")
def served(small: Store) -> Iterator[Store]:
    with web_server(small.path) as (url, _):
        yield open_store(url)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FIRST_PAUSE_S", 0.01)


def chunks_of(reader: Reader) -> Chunks:
    engine = reader._engine
    assert isinstance(engine, RangeImages)
    return engine._chunks


def test_a_pass_asks_for_each_sample_once_and_for_each_index_once(small: Store, pixels: np.ndarray) -> None:
    log = Log()
    with web_server(small.path, log) as (url, _), open_store(url).reader() as reader:
        assert reader.engine == "ranges"
        for batch in iter_batches(reader, BatchSampler(np.arange(N), 10, seed=1), epochs=1):
            assert (batch.images == pixels[batch.indices]).all()
    assert max(Counter(log.ranges).values()) == 1
    asked = sorted(tuple(map(int, spec[6:].split("-"))) for path, spec in log.ranges if spec[6] != "-")
    shards = [np.fromfile(small.part("train").shard_path(shard), np.uint8) for shard in (0, 1)]
    bounds = np.concatenate([decode_shard_index(shard, shard_samples=64) for shard in shards])[:N].astype(int)
    assert asked == sorted((first, stop - 1) for first, stop in bounds.tolist())
    assert len(log.ranges) == N + 2


def test_more_requests_are_in_flight_where_answers_take_long(small: Store) -> None:
    log = Log(latency_s=0.5)  # long beside what a busy machine takes for a request
    with web_server(small.path, log) as (url, _), open_store(url).reader(threads=2) as reader:
        for _ in iter_batches(reader, BatchSampler(np.arange(N), 4, seed=1), epochs=6):
            if log.most_at_once > 40:  # on a busy machine not in the first epoch
                break
    assert log.most_at_once > 40


def test_an_overloaded_server_is_asked_for_less_at_once(small: Store, pixels: np.ndarray) -> None:
    log, refused = Log(latency_s=0.02), iter(range(30))

    def misbehave(handler: Handler) -> bool:
        return log(handler) or (
            "/images/c/" in handler.path and next(refused, None) is not None and handler.answer(503)
        )

    with web_server(small.path, misbehave) as (url, _), open_store(url).reader() as reader:
        for batch in iter_batches(reader, BatchSampler(np.arange(N), 4, seed=1), epochs=1):
            assert (batch.images == pixels[batch.indices]).all()
        assert chunks_of(reader)._choose_in_flight() < FIRST_IN_FLIGHT


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_announced_the_samples_are_those_that_are_requested(
    served: Store, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    most = data.draw(st.sampled_from([0, 3000, 2**20]), "bytes ahead")
    monkeypatch.setattr(chunks, "AHEAD_BYTES", most)
    samples = st.lists(st.integers(0, N - 1), max_size=12)
    with served.reader(channels=["b"]) as reader:
        aheads = [reader._engine.look_ahead() for _ in range(3)]
        pending = []
        for _ in range(data.draw(st.integers(1, 8), "moves")):
            for ahead in data.draw(st.lists(st.sampled_from(aheads)), "announced"):
                assert ahead is not None
                ahead.expect(np.array(data.draw(samples), np.int64))
                assert ahead.n_bytes <= most  # type: ignore[attr-defined]
            wanted = data.draw(samples)
            pending.append((wanted, reader.read_async(wanted)))
        for wanted, batch in pending:
            assert (batch.result() == pixels[wanted][..., 1:]).all()
        books = chunks_of(reader)
        books.close()
        ends_s = time.monotonic() + 20
        while books._n_in_flight:
            assert time.monotonic() < ends_s
            time.sleep(0.001)
        assert books._chunks == {}
        assert [ahead.n_bytes for ahead in aheads] == [0, 0, 0]  # type: ignore[union-attr]


def test_a_sample_that_could_not_be_fetched_ahead_is_fetched_when_it_is_requested(
    small: Store, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = [True]

    def misbehave(handler: Handler) -> bool:
        return "/images/c/" in handler.path and down[0] and handler.answer(404)

    with web_server(small.path, misbehave) as (url, _), open_store(url).reader() as reader:
        ahead = reader.look_ahead()
        assert ahead is not None
        ahead.expect(np.arange(8))
        while chunks_of(reader)._n_in_flight:
            time.sleep(0.001)
        down[0] = False
        assert (reader.read([3, 2]) == pixels[[3, 2]]).all()


@pytest.mark.parametrize("what", ["index", "chunk"])
def test_damaged_bytes_are_named(small: Store, what: str) -> None:
    def damage(handler: Handler) -> bool:
        spec = handler.headers.get("Range", "")
        if "/images/c/0/" not in handler.path or spec.startswith("bytes=-") != (what == "index"):
            return False
        size = (small.path / handler.path[1:]).stat().st_size
        first, last = (int(value or -1) for value in spec[6:].split("-"))
        first, last = (size - last, size - 1) if first < 0 else (first, last)
        content = bytearray((small.path / handler.path[1:]).read_bytes()[first : last + 1])
        content[-1] ^= 1
        return handler.answer(206, bytes(content), {"Content-Range": f"bytes {first}-{last}/{size}"})

    message = {
        "index": r"samples of part 'train': their bytes in .* are missing or damaged: c/0/0/0/0: its index fails the",
        "chunk": r"sample 's-003' of part 'train': its bytes in .* are damaged",
    }
    with (
        web_server(small.path, damage) as (url, _),
        open_store(url).reader() as reader,
        pytest.raises(InputError, match=message[what]),
    ):
        reader.read([3])


def test_a_closed_reader_and_a_forked_process_are_refused(served: Store) -> None:
    with served.reader() as reader:
        reader.read([0])
        engine = reader._engine
        child = os.fork()
        if not child:
            try:
                reader.read([0])
            except InputError:
                os._exit(3)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    with pytest.raises(InputError, match="the reader is closed"):
        engine.read_one(0, np.empty((16, 16, 2), np.uint8))


@pytest.mark.parametrize("user", ["key", ""])
def test_images_on_s3_are_read_with_a_signature_or_without_one(
    small: Store, pixels: np.ndarray, user: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []

    def check(handler: Handler) -> bool:
        authorization = handler.headers.get("Authorization", "")
        if "/images/c/" in handler.path and user:
            names = re.search("SignedHeaders=([^,]*)", authorization)[1].split(";")  # type: ignore[index]
            request = AWSRequest("GET", f"http://{host}{handler.path}", {name: handler.headers[name] for name in names})
            request.context["timestamp"] = handler.headers["x-amz-date"]
            auth = S3SigV4Auth(Credentials("key", "secret"), "s3", "eu-west-3")
            expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
            seen.append(f"Signature={expected}" in authorization)
        elif "/images/c/" in handler.path:
            seen.append(not authorization)
        return False

    settings = {"AWS_REGION": "eu-west-3", "AWS_EC2_METADATA_DISABLED": "true"}
    signed = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in (settings | (signed if user else {"AWS_SKIP_SIGNATURE": "true"})).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "hpa-bucket").mkdir()
    (tmp_path / "hpa-bucket" / "a b.zarr").symlink_to(small.path)
    with web_server(tmp_path, check) as (url, _):
        host = url.removeprefix("http://")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with open_store("s3://hpa-bucket/a b.zarr").reader() as reader:
            assert (reader.read([70, 2]) == pixels[[70, 2]]).all()
    assert len(seen) == 4
    assert all(seen)


def test_credentials_that_must_be_fetched_are_left_to_tensorstore(
    small: Store, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hpa_data.reader.ranges.find_credentials", lambda: None)
    for name, value in (("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-3")):
        monkeypatch.setenv(name, value)
    (tmp_path / "hpa-bucket").mkdir()
    (tmp_path / "hpa-bucket" / "a.zarr").symlink_to(small.path)
    with web_server(tmp_path) as (url, paths):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with open_store("s3://hpa-bucket/a.zarr").reader() as reader:
            for batch in iter_batches(reader, BatchSampler(np.arange(N), 10, seed=1), epochs=1):
                assert (batch.images == pixels[batch.indices]).all()
    assert sum("/images/c/" in path for path in paths) == N + 2
