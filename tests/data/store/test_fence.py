"""Late writers: a worker that was suspended goes on as if no time had passed, and must change nothing."""

from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.format.codecs import encode_metadata_chunk
from hpa_data.store.storage import open_storage
from hpa_data.store.write import write_shards
from hpa_data.system.atomic import open_atomic
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import Progress
from tests.builders import assert_same_bytes, begin, draw_image, list_files

ONE = Parallelism(threads=1)


def read(index: int) -> Sample:
    return Sample(image=draw_image(index))


@pytest.mark.parametrize("n_written_before", [0, 1])
def test_a_worker_that_comes_after_another_one_replaces_nothing(tmp_path: Path, n_written_before: int) -> None:
    """Also where the shard had a status before, because one of its samples had failed."""
    fails = [True] * n_written_before
    part = begin(tmp_path / "a.zarr", "ab")

    def read_once(index: int) -> Sample:
        if index == 0 and fails:
            raise InputError("not yet")
        return read(index)

    if n_written_before:
        write_shards(part, range(2), read_once, workers=ONE)
        fails.clear()
    seen: list[tuple[int, list[int]]] = []

    def read_late(index: int) -> Sample:
        if not seen:  # meanwhile another worker does the same task, from start to end
            write_shards(part, range(2), read, workers=ONE)
            seen.append((part.shard_path(0).stat().st_ino, part.read_status().tolist()))
        return read(index)

    write_shards(part, range(2), read_late, workers=ONE)
    assert seen == [(part.shard_path(0).stat().st_ino, [1, 1])]
    write_shards(begin(tmp_path / "b.zarr", "ab"), range(2), read, workers=ONE)
    assert_same_bytes(tmp_path / "a.zarr", tmp_path / "b.zarr")


def test_a_worker_stops_when_its_command_has_ended_the_writing(tmp_path: Path) -> None:
    part = begin(tmp_path / "a.zarr", "a")
    before = list_files(tmp_path / "a.zarr")

    def read_late(index: int) -> Sample:
        part.storage.renew_lock()
        return read(index)

    with part.storage.lock(), pytest.raises(InputError, match="its lock is gone, or another process holds it now"):
        write_shards(part, range(1), read_late, workers=ONE)
    assert list_files(tmp_path / "a.zarr") == before


def test_a_worker_that_is_suspended_right_before_a_rename_has_nothing_to_rename_when_it_wakes(tmp_path: Path) -> None:
    begin(tmp_path / "a.zarr", "a")
    storage = open_storage(tmp_path / "a.zarr")
    path = tmp_path / "a.zarr" / "train" / "status" / "c" / "0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"of the next writer")
    with (
        pytest.raises(FileNotFoundError),
        open_atomic(path, before_replace=lambda: storage.remove_partial("train")) as file,
    ):
        file.write(b"late")
    assert path.read_bytes() == b"of the next writer"


def test_samples_that_a_woken_worker_declared_pending_are_written_again(tmp_path: Path) -> None:
    part = begin(tmp_path / "a.zarr", "ab", shard_samples=1)
    declared: list[int] = []

    def declare(_: int) -> None:
        if not declared:
            declared.append(1)
            part.storage.put("train/status/c/0", encode_metadata_chunk(np.zeros(1, np.uint8), chunk_rows=1))

    progress = Progress(advance=declare)
    rewrite = np.ones(2, np.bool_)
    write_shards(part, range(2), read, workers=ONE, progress=progress, rewrite=rewrite)
    assert part.read_status().tolist() == [1, 1]
