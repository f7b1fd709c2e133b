"""Reading some channels of the images, by name and in any order."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from tests.builders import build_store

NAMES = ("actin", "DNA", "ER", "RNA", "golgi")
DATASET = Dataset(
    name="cells", channels=tuple(Channel(name=name) for name in NAMES), classes=("a", "b"), height=17, width=24
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 8 samples of 17 x 24 pixels and five channels; not to be changed."""
    labels = np.eye(2, dtype=np.uint8)[np.arange(8) % 2]
    return build_store(tmp_path_factory.mktemp("channels") / "a.zarr", DATASET, labels)


@pytest.fixture(scope="module")
def whole(store: Store) -> np.ndarray:
    with store.reader() as reader:
        return reader.read(range(8)).copy()


@pytest.mark.parametrize("engine", ["mapped", "tensorstore"])
@settings(max_examples=15, deadline=None)
@given(
    channels=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    indices=st.lists(st.integers(0, 7), max_size=6),
    cached=st.integers(0, 4),
)
def test_any_channels_in_any_order_are_those_of_the_whole_images(  # noqa: PLR0917 - fixtures
    store: Store, whole: np.ndarray, engine: str, channels: list[str], indices: list[int], cached: int
) -> None:
    spec = store.part("train").reader_spec()
    if engine == "tensorstore":
        spec = type(spec)(**{**vars(spec), "has_native_layout": False})
    picked = [NAMES.index(name) for name in channels]
    n_bytes = cached * 17 * 24 * len(channels)  # images with these channels alone
    with Reader([spec], threads=2, channels=channels, cache_bytes=n_bytes) as reader:
        assert reader.engine == engine
        assert reader.image_shape == (17, 24, len(channels))
        assert reader.dataset.channel_names == tuple(channels)
        for _ in range(2):  # from the files, and some from the cache
            assert (reader.read(indices) == whole[indices][..., picked]).all()
        assert (reader.read_one(3) == whole[3][..., picked]).all()


def test_a_reader_of_channels_is_the_same_in_another_process(store: Store, whole: np.ndarray) -> None:
    with store.reader(channels=["RNA", "actin"]) as reader, pickle.loads(pickle.dumps(reader)) as other:
        assert (other.read([5]) == whole[[5]][..., [3, 0]]).all()


@pytest.mark.parametrize(
    ("channels", "received"), [(["ER", "green"], "'green'"), (["ER", "ER"], "'ER', 'ER'"), ([], "none"), ([""], "''")]
)
def test_channels_that_the_store_lacks_are_refused_by_name(store: Store, channels: list[str], received: str) -> None:
    with pytest.raises(
        InputError,
        match="channels must be different ones of data set 'cells': actin, DNA, ER, RNA, golgi. Received: "
        f"{received}. Name",
    ):
        store.reader(channels=channels)


def test_damage_of_a_channel_that_is_not_read_is_found(tmp_path: Path) -> None:
    labels = np.eye(2, dtype=np.uint8)[np.arange(8) % 2]
    store = build_store(tmp_path / "a.zarr", DATASET, labels, codec="raw")
    (shard,) = [path for path in (tmp_path / "a.zarr" / "train" / "images" / "c").rglob("*") if path.is_file()]
    content = bytearray(shard.read_bytes())
    content[1] ^= 1  # DNA of the first pixel
    shard.write_bytes(content)
    with store.reader(channels=["ER"]) as reader, pytest.raises(InputError, match="fails its checksum"):
        reader.read([0])
