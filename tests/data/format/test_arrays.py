"""The table of arrays: created arrays agree with it, and native layouts are recognized."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from hpa_data.format.arrays import (
    ARRAYS,
    IMAGES,
    SHARD_ARRAYS,
    ArraySpec,
    check_arrays,
    create_array,
    encode_group,
    has_native_layout,
)
from hpa_data.format.codecs import CODECS, get_codec
from hpa_data.format.layout import Layout

LAYOUT = Layout(n_samples=9, image_shape=(16, 16, 4), shard_samples=4)
FIXTURE = Path(__file__).parents[2] / "fixtures" / "v0_1_0" / "store.zarr"


def create_images(codec: str = "lz4hc", change: Callable[[dict[str, Any]], None] | None = None) -> zarr.Array[Any]:
    """Create an array of images, and open it again with other metadata."""
    files: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(files))
    create_array(group, IMAGES, LAYOUT, codec=get_codec(codec), n_classes=28)
    if change is not None:
        metadata = json.loads(files["images/zarr.json"].to_bytes())
        change(metadata)
        files["images/zarr.json"] = type(files["images/zarr.json"]).from_bytes(json.dumps(metadata).encode())
    array: Any = zarr.open_group(MemoryStore(files), mode="r")["images"]
    return array


def test_status_is_the_last_array_written_for_a_shard() -> None:
    assert SHARD_ARRAYS[-1].name == "status"
    assert len({spec.name for spec in ARRAYS}) == len(ARRAYS)


def test_created_arrays_pass_the_check_and_a_missing_one_does_not() -> None:
    group = zarr.create_group(MemoryStore())
    for spec in ARRAYS:
        create_array(group, spec, LAYOUT, codec=get_codec("raw"), n_classes=28)
    check_arrays(group, LAYOUT, n_classes=28)
    del group["parent"]
    check_arrays(group, LAYOUT, n_classes=28)
    del group["checksum"]
    with pytest.raises(ValueError, match="checksum is missing"):
        check_arrays(group, LAYOUT, n_classes=28)


@pytest.mark.parametrize("spec", ARRAYS, ids=[spec.name for spec in ARRAYS])
@pytest.mark.parametrize("change", ["type", "length"])
def test_an_array_of_another_type_or_length_is_refused_by_name(spec: ArraySpec, change: str) -> None:
    group = zarr.create_group(MemoryStore())
    for other in ARRAYS:
        wrong = other
        if other is spec and change == "length":
            sizes = spec.shape(LAYOUT, n_classes=28)
            group.create_array(spec.name, shape=(sizes[0] + 1, *sizes[1:]), chunks=(4, *sizes[1:]), dtype="uint8")
            continue
        if other is spec:
            wrong = replace(spec, dtype="uint32" if spec.dtype == "string" else "string")
        create_array(group, wrong, LAYOUT, codec=get_codec("raw"), n_classes=28)
    with pytest.raises(ValueError, match=f"^{spec.name} does not have the type, shape or chunks"):
        check_arrays(group, LAYOUT, n_classes=28)


def sharding(metadata: dict[str, Any]) -> dict[str, Any]:
    configuration: dict[str, Any] = metadata["codecs"][0]["configuration"]
    return configuration


# The same layout in other words, as another version or library writes it.
SAME: dict[str, Callable[[dict[str, Any]], None]] = {
    "no index location": lambda metadata: sharding(metadata).pop("index_location"),
    "no separator": lambda metadata: metadata["chunk_key_encoding"].pop("configuration"),
    "no storage transformers": lambda metadata: metadata.pop("storage_transformers"),
    "byte order of single bytes": lambda metadata: sharding(metadata)["codecs"][0].update(
        configuration={"endian": "little"}
    ),
    "other level": lambda metadata: sharding(metadata)["codecs"][1]["configuration"].update(clevel=9, blocksize=0),
    "attributes": lambda metadata: metadata.update(attributes={"unit": "gray level"}),
}
OTHER: dict[str, Callable[[dict[str, Any]], None]] = {
    "index at the start": lambda metadata: sharding(metadata).update(index_location="start"),
    "separator": lambda metadata: metadata["chunk_key_encoding"].update(configuration={"separator": "."}),
    "index without checksum": lambda metadata: sharding(metadata)["index_codecs"].pop(),
    "more samples per chunk": lambda metadata: sharding(metadata).update(chunk_shape=[2, 16, 16, 4]),
    "fewer samples per shard": lambda metadata: metadata["chunk_grid"]["configuration"].update(
        chunk_shape=[2, 16, 16, 4]
    ),
    "no compression": lambda metadata: sharding(metadata)["codecs"].pop(),
    "no shards": lambda metadata: metadata.update(codecs=[{"name": "bytes"}]),
}


@pytest.mark.parametrize("codec", CODECS)
def test_created_images_have_the_native_layout(codec: str) -> None:
    assert has_native_layout(create_images(codec), LAYOUT, get_codec(codec))
    assert has_native_layout(create_images(codec), LAYOUT, get_codec("raw")) == (codec == "raw")


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_equivalent_metadata_are_recognized(change: Callable[[dict[str, Any]], None]) -> None:
    assert has_native_layout(create_images(change=change), LAYOUT, get_codec("lz4hc"))


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_another_layout_is_not_native(change: Callable[[dict[str, Any]], None]) -> None:
    assert not has_native_layout(create_images(change=change), LAYOUT, get_codec("lz4hc"))


@pytest.mark.parametrize("part", ["train", "test", "augmented"])
def test_parts_of_version_0_1_0_have_the_native_layout(part: str) -> None:
    group: Any = zarr.open_group(FIXTURE / part, mode="r")
    settings = group.attrs["settings"]
    layout = Layout(
        n_samples=group["id"].shape[0], image_shape=group["images"].shape[1:], shard_samples=settings["shard_samples"]
    )
    assert has_native_layout(group["images"], layout, get_codec(settings["codec"]))


def test_a_group_has_the_bytes_that_zarr_writes(tmp_path: Path) -> None:
    attributes = {"a": [1.5, "ä"], "b": None}
    zarr.open_group(tmp_path, mode="w").attrs.put(attributes)
    assert encode_group(attributes) == (tmp_path / "zarr.json").read_bytes()
    assert np.array_equal(list(zarr.open_group(tmp_path, mode="r").attrs), ["a", "b"])
