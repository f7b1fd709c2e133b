"""The storage of a store in a folder: objects are complete or absent, and what is not ours stays."""

import contextlib
import pickle
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.storage import LocalStorage, open_storage
from hpa_data.system.atomic import open_atomic
from tests.builders import list_files


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "a.zarr")
    storage.put("zarr.json", b"{}")
    return storage


def test_an_object_comes_back_and_is_replaced_and_deleted(storage: LocalStorage) -> None:
    for content in (b"one", b"another"):
        storage.put("train/status/c/0", content)
        assert storage.get("train/status/c/0") == content == storage.view("train/status/c/0", max_bytes=100).tobytes()
        assert storage.size("train/status/c/0") == storage.size("train") == len(content)
    storage.delete("train/status/c/0")
    assert not storage.exists("train/status/c/0")
    assert storage.size("train") == storage.size("nowhere") == 0
    storage.delete("train/status/c/0")
    with pytest.raises(FileNotFoundError):
        storage.get("train/status/c/0")


def test_a_large_object_appears_once_it_is_complete(storage: LocalStorage) -> None:
    with storage.open_writer("train/images/c/0") as file:
        file.write(bytes(10_000))
        assert not storage.exists("train/images/c/0")
    assert storage.size("train/images/c/0") == 10_000
    with contextlib.suppress(KeyError), storage.open_writer("train/images/c/0") as file:
        file.write(b"x")
        raise KeyError
    assert storage.size("train/images/c/0") == 10_000
    assert list_files(storage.folder) == ["train/images/c/0", "zarr.json"]


def test_a_part_replaces_another_as_a_whole(storage: LocalStorage) -> None:
    storage.create_part("train", {"id/c/0": b"old", "note": b"x", "zarr.json": b"{}"})
    storage.create_part("train", {"id/c/0": b"new", "zarr.json": b"{}"})
    assert list_files(storage.folder) == ["train/id/c/0", "train/zarr.json", "zarr.json"]
    assert storage.get("train/id/c/0") == b"new"
    assert storage.list_names() == ["train"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(storage: LocalStorage) -> None:
    storage.create_part("train", {"id/c/0": b"x", "zarr.json": b"{}"})
    kept = list_files(storage.folder)
    for name in ("train/images/c/0/0/0/.0.12-34.part", f"train/zarr.json.{'0' * 32}.partial", ".zarr.json.12-34.part"):
        storage.put(name, b"half")
    storage.put(".train.new/id/zarr.json", b"half")
    storage.put(".train.old/id/zarr.json", b"old")
    storage.put(".test.new/id/zarr.json", b"of another part")
    storage.remove_partial("train")
    assert list_files(storage.folder) == sorted([*kept, ".test.new/id/zarr.json"])


def test_the_partial_files_of_atomic_writes_are_known_by_their_names(storage: LocalStorage) -> None:
    with open_atomic(storage.folder / "object") as file:
        file.write(b"half")
        (partial,) = set(list_files(storage.folder)) - {"zarr.json"}
    storage.put(partial, b"left by a killed process")
    storage.remove_partial("train")
    assert list_files(storage.folder) == ["object", "zarr.json"]


def test_nothing_is_removed_from_a_folder_that_is_not_a_store(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put(".train.old/letter.txt", b"dear")
    storage.remove_partial("train")
    assert list_files(tmp_path) == [".train.old/letter.txt"]


@pytest.mark.parametrize("name", ["letters", "train"])
def test_a_part_is_not_written_over_files_that_zarr_did_not_write(storage: LocalStorage, name: str) -> None:
    storage.put(f"{name}/dear.txt", b"")
    with pytest.raises(InputError, match=f"{name} was not created by Zarr, and is never deleted"):
        storage.check_target(name)
    storage.check_target("other")


def test_a_part_is_not_written_through_a_link(storage: LocalStorage, tmp_path: Path) -> None:
    storage.create_part("train", {"zarr.json": b"{}"})
    (storage.folder / "linked").symlink_to(storage.folder / "train")
    with pytest.raises(InputError, match="linked was not created by Zarr"):
        storage.check_target("linked")


def test_the_lock_changes_each_time_that_it_is_taken(storage: LocalStorage) -> None:
    holders = set()
    for _ in range(3):
        with storage.lock():
            holders.add(storage.read_lock())
    assert len(holders) == 3
    assert storage.read_lock() == ""


def test_a_storage_goes_to_worker_processes(storage: LocalStorage) -> None:
    assert pickle.loads(pickle.dumps(open_storage(storage.folder))) == storage
