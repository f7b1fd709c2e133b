"""Images are compared with their checksums on their way into batches."""

import pickle
import random
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.format.options import CodecName
from hpa_data.reader.engine import Verify
from hpa_data.store.store import Store, open_store
from tests.builders import Hpa, build_store, convert, rewrite_images
from tests.flips import flip_shards, open_engine

DATASET = HPA_2018.resized(32, 32)
ENGINES = ("mapped", "ranges", "tensorstore")


def make_store(folder: Path, codec: CodecName = "raw", n: int = 6) -> Store:
    labels = np.zeros((n, len(DATASET.classes)), np.uint8)
    labels[:, 0] = 1
    return build_store(folder / "a.zarr", DATASET, labels, codec=codec)


def find_shard_file(store: Store, part: str = "train") -> Path:
    return store.path / part / "images" / "c" / "0" / "0" / "0" / "0"


def change(store: Store, sample: int = 2) -> None:
    """Change a pixel of a sample of a raw store in its file, in place: who has mapped it sees that."""
    with find_shard_file(store).open("r+b") as file:
        file.seek(sample * 32 * 32 * 4 + 100)
        (value,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([value ^ 1]))


@pytest.fixture(params=ENGINES)
def reader_of(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    return make_store(tmp_path), request.param


@pytest.mark.parametrize("verify", ["always", "first", "never"])
def test_a_changed_image_is_an_error_when_it_is_compared(reader_of: tuple[Store, str], verify: Verify) -> None:
    store, engine = reader_of
    with open_engine(store, engine, verify=verify) as reader:
        assert reader.engine == engine
        before = reader.read([2, 0])
        change(store)
        if verify == "always":
            with pytest.raises(InputError, match=r"Cannot read sample 's-002' of part 'train'.*fails its checksum"):
                reader.read([0, 2])
            with pytest.raises(InputError, match="checksum"):
                reader.read([2])
        else:
            assert (reader.read([2]) != before[:1]).sum() == 1  # what was compared is trusted
        assert (reader.read([0]) == before[1]).all()
    with open_engine(store, engine, verify=verify) as reader:
        if verify == "never":
            assert (reader.read([2]) != before[:1]).sum() == 1
        else:
            for _ in range(2):
                with pytest.raises(InputError, match="checksum"):
                    reader.read([2])


def test_an_image_is_compared_by_every_thread_that_reads_it_first(reader_of: tuple[Store, str]) -> None:
    store, engine = reader_of
    change(store)
    with open_engine(store, engine, threads=4) as reader, ThreadPoolExecutor(8) as pool:
        failures = [pool.submit(reader.read, [2, 0, 1]).exception() for _ in range(16)]
        assert all(isinstance(error, InputError) for error in failures)
        assert len(reader.read([0, 1])) == 2


def test_how_to_compare_goes_along_into_another_process(reader_of: tuple[Store, str]) -> None:
    store, engine = reader_of
    with open_engine(store, engine, verify="never") as reader, pickle.loads(pickle.dumps(reader)) as other:
        change(store)
        assert len(other.read([2])) == 1


def test_an_image_is_compared_before_it_is_cached(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with store.reader(cache_bytes=2**20, verify="always") as reader:
        before = reader.read([2, 1])
        change(store)
        assert (reader.read([2, 1]) == before).all()
    with store.reader(cache_bytes=2**20, verify="always") as reader:
        for _ in range(2):
            with pytest.raises(InputError, match="checksum"):
                reader.read([2, 1])


@pytest.mark.parametrize("verify", ["", "First", None, True])
def test_another_word_is_refused(tmp_path: Path, verify: Verify) -> None:
    with pytest.raises(InputError, match=r"verify must be one of always, first, never\. Received: verify=.*Choose one"):
        make_store(tmp_path).reader(verify=verify)


@pytest.mark.parametrize("engine", ["mapped", "tensorstore"])  # a store at a URL is mended elsewhere
def test_the_command_that_the_error_names_mends_the_sample(engine: str, kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    place = tmp_path / "my stores"
    place.mkdir()
    convert(kaggle / "test", place / "a.zarr", part="test", codec="raw")
    store = open_store(place / "a.zarr")
    with store.reader(["test"]) as reader:
        before = reader.read([0, 1, 2]).copy()
    shard = find_shard_file(store, "test")
    content = bytearray(shard.read_bytes())
    content[2**20 + 5] ^= 4
    shard.write_bytes(content)
    with open_engine(store, engine, part="test") as reader, pytest.raises(InputError) as error:
        reader.read([0, 1])
    text = str(error.value)
    assert f"Cannot read sample 'new-1' of part 'test': its bytes in {shard} are damaged: the image fails" in text
    command = text.partition("`")[2].partition("`")[0].replace("FOLDER", shlex.quote(str(kaggle / "test")))
    assert hpa(*shlex.split(command)[1:]).status == 0
    with store.reader(["test"], verify="always") as reader:
        assert (reader.read([0, 1, 2]) == before).all()


def test_of_another_layout_the_part_is_to_be_converted_again(tmp_path: Path) -> None:
    store = rewrite_images(make_store(tmp_path), tmp_path / "b.zarr", chunks=(1, 32, 32, 4), compressors=None)
    chunk = store.path / "train" / "images" / "c" / "2" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[7] ^= 1
    chunk.write_bytes(content)
    with store.reader() as reader, pytest.raises(InputError, match=r"'s-002'.*in .*images are damaged.*Convert"):
        reader.read([1, 2])


@pytest.mark.parametrize("engine", [*ENGINES, "past the page cache"])
@pytest.mark.parametrize("codec", ["raw", "lz4hc"])
def test_no_changed_byte_of_a_shard_reaches_a_batch_in_silence(engine: str, codec: CodecName, tmp_path: Path) -> None:
    store = make_store(tmp_path, codec)
    counts = flip_shards(store, engine, n_flips=25, rng=random.Random(1))
    assert counts["silent"] == 0
    assert counts["refused"] > 15
