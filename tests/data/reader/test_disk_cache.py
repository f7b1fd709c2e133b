"""A cache on a disk: right pixels whatever it holds, few requests, within its bound, shared."""

import errno
import fcntl
import os
import random
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.reader import disk_cache
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.cache_folder import PART, delete_part, list_parts
from hpa_data.reader.disk_cache import DiskCache, set_disk_cache
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store, open_store
from hpa_data.system.mapping import CHECK_S
from tests.builders import build_store
from tests.web_server import Handler, web_server

N = 80
DATASET = Dataset(name="small", channels=(Channel(name="a"), Channel(name="b")), classes=("x",), height=16, width=16)


class Served:
    """A store behind a web server, which lists the ranges of images that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.ranges: list[str] = []
        self.local = build_store(folder / "a.zarr", DATASET, np.zeros((N, 1)))
        with self.local.reader() as reader:
            self.pixels = reader.read(np.arange(N))
        self.url = ""
        self.store: Store

    def __call__(self, handler: Handler) -> bool:
        if "/images/c/" in handler.path:
            self.ranges.append(handler.headers["Range"])
        return False

    def check(self, reader: Reader) -> int:
        """Read an epoch, compare it, and return how many chunks were asked for."""
        self.ranges.clear()
        for batch in iter_batches(reader, BatchSampler(np.arange(N), 7, seed=1), epochs=1):
            assert (batch.images == self.pixels[batch.indices]).all()
        return sum(not each.startswith("bytes=-") for each in self.ranges)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    with web_server(made.local.path, made) as (url, _):
        made.url, made.store = url, open_store(url)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    set_disk_cache(DiskCache(tmp_path / "cache"))
    yield tmp_path / "cache"
    set_disk_cache(None)


def list_files(folder: Path) -> list[Path]:
    """List the files with chunks."""
    return sorted(path for path in folder.glob("*/*") if path.name != PART)


def test_a_second_epoch_and_a_second_reader_ask_for_no_chunk(served: Served, folder: Path) -> None:
    with served.store.reader() as reader:
        assert served.check(reader) == N
        assert served.check(reader) == 0
    with served.store.reader(channels=["b"]) as reader:
        served.ranges.clear()
        assert (reader.read([3, 70]) == served.pixels[[3, 70]][..., 1:]).all()
        assert all(each.startswith("bytes=-") for each in served.ranges)
    (part,) = list_parts(folder)
    assert (part.name, part.store, part.is_used) == ("train", served.url, False)
    assert 0 < part.n_bytes < 2**20


@pytest.mark.parametrize("verify", ["first", "never"])
def test_flipped_bytes_in_the_cache_reach_no_batch(served: Served, folder: Path, verify: str) -> None:
    with served.store.reader() as reader:
        served.check(reader)
    rng = random.Random(len(verify))
    for _ in range(6):
        for path in list_files(folder):
            content = bytearray(path.read_bytes())
            used = np.flatnonzero(np.frombuffer(content, np.uint8)).tolist()
            for place in rng.sample(used, 8):
                content[place] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
        with served.store.reader(verify=verify) as reader:  # type: ignore[arg-type]
            assert served.check(reader) > 0
        with served.store.reader(verify=verify) as reader:  # type: ignore[arg-type]
            assert served.check(reader) == 0


def test_a_chunk_in_the_cache_that_is_no_image_is_fetched_again(served: Served, folder: Path) -> None:
    with served.store.reader() as reader:
        served.check(reader)
        chunks = reader._engine._chunks  # type: ignore[attr-defined]
        for row in (3, 70):
            damaged = np.array(chunks.find(row))
            damaged[-20:] ^= 255
            assert chunks.forget(row)
            chunks.keep(row, damaged)  # with the checksum of these bytes, as if the server had sent them
    with served.store.reader() as reader:
        reader.read([0])
        served.ranges.clear()
        for rows in ([3, 4], [70, 71], [3, 70]):  # the second time with an index that comes then
            assert (reader.read(rows) == served.pixels[rows]).all()
        assert len(served.ranges) == 3
        assert served.check(reader) == 0


@pytest.mark.parametrize("torn", ["cut", "emptied", "a folder", "of zeros"])
def test_a_torn_file_is_filled_anew(served: Served, folder: Path, torn: str) -> None:
    with served.store.reader() as reader:
        served.check(reader)
    for path in list_files(folder):
        content = path.read_bytes()
        path.unlink()
        if torn == "a folder":
            path.mkdir()
        else:
            path.write_bytes(
                {"cut": content[: len(content) // 2], "emptied": b"", "of zeros": bytes(len(content))}[torn]
            )
    with served.store.reader() as reader:
        served.check(reader)
        assert served.check(reader) == (N if torn == "a folder" else 0)


def test_a_file_that_is_cut_while_it_is_read_ends_nothing(served: Served, folder: Path) -> None:
    with served.store.reader() as reader:
        served.check(reader)
        for path in list_files(folder):
            os.truncate(path, 10)
        time.sleep(2 * CHECK_S)
        served.check(reader)


def test_a_full_disk_is_no_error(served: Served, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with served.store.reader() as reader:
        reader.read([0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            served.check(reader)
            n_asked = served.check(reader)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < n_asked < N
    assert caplog.text.count("takes nothing more: File too large. Reading goes on without it") == 1


def test_a_write_that_fails_leaves_no_record(served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, n_written = os.pwrite, iter(range(20))

    def fail(file: int, content: "bytes | memoryview", place: int) -> int:
        if next(n_written, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, content[: max(1, len(content) // 2)], place)  # never all of it

    monkeypatch.setattr(os, "pwrite", fail)
    with served.store.reader() as reader:
        served.check(reader)
    monkeypatch.undo()
    set_disk_cache(DiskCache(folder))
    with served.store.reader() as reader:
        assert served.check(reader) > N - 20
        assert served.check(reader) == 0


def test_a_bound_is_kept_and_what_is_unused_goes_first(served: Served, folder: Path, tmp_path: Path) -> None:
    with served.store.reader() as reader:
        served.check(reader)
    (part,) = list_parts(folder)
    # A second version of the part does not fit beside the first, which is deleted once nobody uses it.
    spec = replace(served.store.part("train").reader_spec(), fingerprint="another")
    set_disk_cache(DiskCache(folder, part.n_bytes * 3 // 2))
    with served.store.reader() as user:
        user.read([0])
        with Reader([spec]) as reader:
            served.check(reader)
            assert served.check(reader) > 0
            assert len(list_parts(folder)) == 2
    with Reader([spec]) as reader:
        served.check(reader)
        assert served.check(reader) == 0
    (left,) = list_parts(folder)
    assert left.folder != part.folder
    assert sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file()) <= part.n_bytes * 3 // 2


def test_two_readers_fill_one_folder_at_once(served: Served, folder: Path) -> None:
    def read() -> None:
        with served.store.reader() as reader:
            for seed in range(2):
                for batch in iter_batches(reader, BatchSampler(np.arange(N), 5, seed=seed), epochs=1):
                    if not (batch.images == served.pixels[batch.indices]).all():
                        wrong.append(seed)
        done.append(1)

    wrong: list[int] = []
    done: list[int] = []
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, wrong) == ([1, 1, 1], [])


def test_a_part_that_is_used_is_not_deleted_and_a_lock_that_was_left_behind_holds_nothing_up(
    served: Served, folder: Path
) -> None:
    with served.store.reader() as reader:
        served.check(reader)
        (part,) = list_parts(folder)
        assert part.is_used
        assert not delete_part(part)
        assert served.check(reader) == 0
    (part,) = list_parts(folder)
    assert not part.is_used
    assert delete_part(part)
    assert delete_part(part)  # as by another process before
    assert list_parts(folder) == []
    with served.store.reader() as reader:
        assert served.check(reader) == N


def test_a_part_that_is_being_deleted_is_read_without_the_cache(
    served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with served.store.reader():
        pass
    monkeypatch.setattr(disk_cache, "WAIT_S", 0.05)
    (path,) = folder.glob(f"*/{PART}")
    with path.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with served.store.reader() as reader:
            served.check(reader)
    assert "is being deleted from it" in caplog.text


def test_a_folder_that_is_no_cache_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="Cannot keep a cache in .*: it holds something else. Pass a new folder"):
        DiskCache(tmp_path)
    with pytest.raises(InputError, match="Cannot list the cache .*: it has no hpa-cache.json"):
        list_parts(tmp_path)
    with pytest.raises(InputError, match="Cannot keep a cache in .*: Not a directory"):
        DiskCache(tmp_path / "mine.txt" / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_in_a_cache_that_is_not_ours_is_neither_listed_nor_deleted(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "file").touch()
    (folder / ("a" * 32)).symlink_to(folder / "other")
    assert list_parts(folder) == []


@pytest.mark.parametrize("max_bytes", [1, 6000])
def test_a_bound_that_hardly_anything_fits_in_holds_nothing_up(served: Served, folder: Path, max_bytes: int) -> None:
    set_disk_cache(DiskCache(folder, max_bytes))
    with served.store.reader() as reader:
        for _ in range(2):
            assert served.check(reader) > N // 2


def test_a_folder_that_is_deleted_by_hand_while_it_is_used_ends_nothing(
    served: Served, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served.store.reader() as reader:
        reader.read(np.arange(0, N, 2))
        shutil.rmtree(folder)
        served.check(reader)
    with served.store.reader() as reader:
        served.check(reader)
    assert caplog.text.count("takes nothing more: No such file or directory") == 1
