"""The two engines, compared with zarr-python: mapped shards, and TensorStore for every other layout."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec

from hpa_data.errors import InputError
from hpa_data.reader.engine import Verify
from hpa_data.reader.reader import Reader
from hpa_data.store.create import PartPlan, create_part
from hpa_data.store.store import Store, open_store
from hpa_data.verify.check import verify_store
from tests.builders import convert, rewrite_images

FOREIGN = {
    "no shards": {"chunks": (1, 512, 512, 4), "compressors": BloscCodec(cname="lz4", typesize=4)},
    "gzip": {"chunks": (1, 512, 512, 4), "shards": (64, 512, 512, 4), "compressors": GzipCodec(level=1)},
    "chunks of several samples": {"chunks": (5, 512, 512, 4), "compressors": BloscCodec(cname="zstd", typesize=4)},
    "tiles": {"chunks": (1, 256, 256, 4), "shards": (4, 512, 512, 4), "compressors": None},
}


@pytest.fixture(scope="module", params=FOREIGN)
def foreign(request: pytest.FixtureRequest, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return rewrite_images(store, tmp_path_factory.mktemp("foreign") / "a.zarr", **FOREIGN[request.param])


def test_shards_of_the_native_layout_are_mapped(store: Store) -> None:
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


def test_another_layout_is_neither_verified_nor_written(foreign: Store) -> None:
    with pytest.raises(InputError, match="their chunks or codecs are not those of `hpa convert`"):
        verify_store(foreign.path, parts=["train"])
    part = foreign.part("train")
    plan = PartPlan(
        path=foreign.path,
        name="train",
        ids=tuple(part.ids),
        labels=part.labels,
        settings={},
        codec="lz4hc",
    )
    with pytest.raises(InputError, match="their chunks or codecs are not those of `hpa convert`"):
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


def test_a_missing_chunk_is_an_error_and_no_black_image(store: Store, tmp_path: Path) -> None:
    foreign = rewrite_images(store, tmp_path / "a.zarr", **FOREIGN["no shards"])
    (tmp_path / "a.zarr" / "train" / "images" / "c" / "3" / "0" / "0" / "0").unlink()
    with foreign.reader() as reader:
        assert reader.read([2, 4]).any()
        with pytest.raises(
            InputError,
            match="Cannot read samples of part 'train': their bytes in .* are missing or damaged.*is missing",
        ):
            reader.read([2, 3])


def test_a_damaged_chunk_is_refused_by_tensorstore_too(store: Store, tmp_path: Path) -> None:
    foreign = rewrite_images(store, tmp_path / "a.zarr", **FOREIGN["no shards"])
    chunk = tmp_path / "a.zarr" / "train" / "images" / "c" / "3" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:1000])
    with foreign.reader() as reader, pytest.raises(InputError, match="Cannot read samples of part 'train'"):
        reader.read([3])


def test_a_chunk_that_decodes_to_less_is_refused(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    shard = tmp_path / "a.zarr" / "test" / "images" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[4:8] = (512 * 512).to_bytes(4, "little")  # the header of the first chunk claims a quarter of its size
    shard.write_bytes(content)
    with open_store(tmp_path / "a.zarr").reader(["test"]) as reader:
        with pytest.raises(InputError, match="Cannot read sample 'new-0' of part 'test'.* are damaged"):
            reader.read([1, 0])
        assert reader.read([1]).any()


@pytest.mark.parametrize("verify", ["always", "first", "never"])
def test_images_are_the_same_where_they_are_copied_past_the_cache(
    verify: Verify, store: Store, oracle: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.x86_non_temporal_threshold=524288")
    with store.reader(["train", "test"], threads=2, verify=verify) as reader:
        for _ in range(2):
            assert (reader.read([3, 0, 14, 3]) == oracle[[3, 0, 14, 3]]).all()
        assert (reader.read_one(5) == oracle[5]).all()


def test_a_slow_read_of_a_local_file_is_waited_for(
    foreign: Store, oracle: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpa_data.reader.remote.POLL_S", 1e-6)
    with foreign.reader(["train", "test"]) as reader:
        assert (reader.read([4, 1]) == oracle[[4, 1]]).all()
