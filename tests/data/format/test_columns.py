from typing import Any

import numcodecs.blosc
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec
from zarr.storage import MemoryStore

from hpa_data.format.arrays import METADATA_ARRAYS, create_array
from hpa_data.format.codecs import get_codec
from hpa_data.format.columns import read_column
from hpa_data.format.layout import Layout


def read_objects(objects: dict[str, Any], array: zarr.Array[Any]) -> dict[str, bytes]:
    start = f"{array.basename}/"
    return {key.removeprefix(start): bytes(value.to_bytes()) for key, value in objects.items() if key.startswith(start)}


def draw_values(rng: np.random.Generator, array: zarr.Array[Any], dtype: str) -> npt.NDArray[Any]:
    """Draw values of which some chunks are all zeros or empty, so that they are not written."""
    shown = rng.random(array.shape) < rng.choice([0, 0.01, 1])
    numbers = rng.integers(0, 256, array.shape)
    if dtype == "string":
        return np.where(shown, np.char.mod("é %d", numbers), "").astype(object)
    return (numbers * shown).astype(dtype)


@settings(deadline=None, max_examples=8)
@given(data=st.data(), n_samples=st.integers(1, 40), shard_samples=st.integers(1, 16))
def test_every_array_is_read_as_zarr_python_does(data: st.DataObject, n_samples: int, shard_samples: int) -> None:
    layout = Layout(n_samples=n_samples, image_shape=(2, 2, 3), shard_samples=shard_samples)
    objects: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(objects))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    for spec in METADATA_ARRAYS:
        array = create_array(group, spec, layout, codec=get_codec("raw"), n_classes=5)
        array[:] = draw_values(rng, array, spec.dtype)
        for key in list(objects):
            if f"{spec.name}/c/" in key and rng.random() < 0.2:
                del objects[key]
        found = read_column(array, read_objects(objects, array).get)
        assert found.shape == array.shape
        assert found.tolist() == np.asarray(array[:]).tolist()
        if spec.dtype != "string":
            assert found.dtype == array.dtype


@pytest.mark.parametrize(
    "settings",
    [
        {"compressors": None},
        {"serializer": BytesCodec(endian="big")},
        {"fill_value": 7},
        {"chunks": (4, 1)},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"shards": (8, 2)},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_an_array_of_another_form_is_read_too(settings: dict[str, Any]) -> None:
    objects: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(objects))
    given = {"chunks": (4, 2), "compressors": BloscCodec(cname="zstd"), "dtype": "uint32"} | settings
    array = group.create_array("a", shape=(10, 2), **given)
    array[:4] = np.arange(8).reshape(4, 2)
    assert read_column(array, read_objects(objects, array).get).tolist() == array[:].tolist()  # type: ignore[index, union-attr]


@pytest.mark.parametrize("name", ["sums", "note"])
def test_a_damaged_chunk_is_an_error(name: str) -> None:
    objects: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(objects))
    spec = next(spec for spec in METADATA_ARRAYS if spec.name == name)
    layout = Layout(n_samples=4, image_shape=(2, 2, 3), shard_samples=4)
    array = create_array(group, spec, layout, codec=get_codec("raw"), n_classes=5)
    array[:] = np.full(array.shape, "a note" if name == "note" else 7, object if name == "note" else np.uint64)
    chunks = read_objects(objects, array)
    key = next(key for key in chunks if key.startswith("c/"))
    content = chunks[key]
    for damaged in (b"", content[:10], content[:-1], content + b"0", b"\xff" * len(content)):
        with pytest.raises((ValueError, RuntimeError)):
            read_column(array, {key: damaged}.get)


@pytest.mark.parametrize(
    ("decoded", "message"),
    [
        (bytes(100 * 2**20), "a chunk unpacks to 104857600 bytes, more than"),
        ((4 * 10**9).to_bytes(4, "little") + bytes(100), "a chunk of 4 texts states another number"),
    ],
)
def test_texts_that_unpack_to_more_than_the_metadata_allow_take_no_memory(decoded: bytes, message: str) -> None:
    layout = Layout(n_samples=4, image_shape=(2, 2, 3), shard_samples=4)
    spec = next(spec for spec in METADATA_ARRAYS if spec.name == "id")
    array = create_array(zarr.create_group(MemoryStore()), spec, layout, codec=get_codec("raw"), n_classes=5)
    with pytest.raises(ValueError, match=message):
        read_column(array, {"c/0": numcodecs.blosc.compress(decoded, b"zstd", 5, numcodecs.blosc.NOSHUFFLE)}.get)
