"""Metadata that promise more than the files of a store can hold are refused before memory or minutes are spent."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpa_data.errors import InputError
from hpa_data.format.arrays import ARRAYS, check_ids, check_sizes
from hpa_data.store.store import Store, open_store
from tests.web_server import web_server

N = 300_000_000


def change_arrays(part: Path, change: Callable[[str, dict[str, Any]], None]) -> None:
    """Change the metadata of each array of a part."""
    for spec in ARRAYS:
        path = part / spec.name / "zarr.json"
        if path.exists():
            metadata = json.loads(path.read_text())
            change(spec.name, metadata)
            path.write_text(json.dumps(metadata))


def promise_samples(part: Path, rows: int, *, shard_samples: int) -> None:
    """Let the metadata of a part promise many samples, in chunks of so many rows."""
    group = json.loads((part / "zarr.json").read_text())
    group["attributes"]["settings"]["shard_samples"] = shard_samples
    (part / "zarr.json").write_text(json.dumps(group))
    per_shard = {spec.name for spec in ARRAYS if spec.per_shard}

    def change(name: str, metadata: dict[str, Any]) -> None:
        if metadata["dimension_names"][0] == "sample":
            metadata["shape"][0] = N
            metadata["chunk_grid"]["configuration"]["chunk_shape"][0] = shard_samples if name in per_shard else rows

    change_arrays(part, change)


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "hpa.zarr"))


@pytest.mark.parametrize("rows", [16_384, N])
@pytest.mark.parametrize("lose_ids", [False, True])
def test_samples_that_the_ids_cannot_name_are_refused(copy: Path, rows: int, lose_ids: bool) -> None:
    promise_samples(copy / "train", rows, shard_samples=65_536)
    if lose_ids:
        shutil.rmtree(copy / "train" / "id" / "c")
    with pytest.raises(InputError, match=f"metadata promise {N} samples, but its ids have only"):
        open_store(copy).part("train")
    with web_server(copy) as (url, paths), pytest.raises(InputError, match=f"metadata promise {N} samples, but"):
        open_store(url).part("train")
    assert len(paths) < 40  # nothing but metadata was asked for


def test_a_chunk_of_ids_larger_than_the_part_is_refused(copy: Path) -> None:
    def change(name: str, metadata: dict[str, Any]) -> None:
        if name == "id":
            metadata["chunk_grid"]["configuration"]["chunk_shape"][0] = N

    change_arrays(copy / "train", change)
    with pytest.raises(InputError, match=f"a chunk of id has {N} rows"):
        open_store(copy).part("train")


def test_more_labels_than_any_memory_holds_are_refused(store: Store) -> None:
    part = store.part("train")
    with pytest.raises(ValueError, match="12 samples of 1000000000 classes have more than 4294967296 labels"):
        check_sizes(part.arrays, part.layout, n_classes=10**9, id_bytes=100)


def test_ids_in_order_are_not_taken_for_a_promise() -> None:
    check_ids(1_000_000, 345_062)  # what 1e6 ids s000000 to s0f423f have, the best case known
