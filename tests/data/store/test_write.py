"""Writing shards: killed and resumed, with failures, to the same bytes."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.format.arrays import SHARD_ARRAYS
from hpa_data.format.manifest import Provenance
from hpa_data.store.failures import Failure, write_failures
from hpa_data.store.store import open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism
from tests.builders import assert_same_bytes, begin, draw_image


class Killed(BaseException):
    """Stands for a signal: no handler of ours catches it."""


@pytest.mark.parametrize("stop_at", [0, 3, 4, 9])
def test_a_conversion_that_was_killed_resumes_to_the_same_bytes(tmp_path: Path, stop_at: int) -> None:
    images = [draw_image(index) for index in range(10)]
    calls: list[int] = []

    def read(index: int) -> Sample:
        calls.append(index)
        return Sample(image=images[index])

    def read_until_killed(index: int) -> Sample:
        if index == stop_at:
            raise Killed
        return read(index)

    one = Parallelism(threads=1)
    ids = [f"s{index}" for index in range(10)]
    write_shards(begin(tmp_path / "uninterrupted", ids, shard_samples=4), range(10), read, workers=one)
    with pytest.raises(Killed):
        write_shards(begin(tmp_path / "killed", ids, shard_samples=4), range(10), read_until_killed, workers=one)
    calls.clear()
    part = begin(tmp_path / "killed", ids, shard_samples=4)
    assert part.manifest.statistics is None
    pending = np.flatnonzero(part.read_status() == 0).tolist()
    assert stop_at in pending
    assert write_shards(part, range(10), read, workers=one) == []
    assert sorted(calls) == pending  # samples of complete shards are not read again
    assert_same_bytes(tmp_path / "uninterrupted", tmp_path / "killed")


@pytest.mark.parametrize("kill_at", [0, 3])
def test_a_resumed_conversion_lists_the_failures_from_before(tmp_path: Path, kill_at: int) -> None:
    def read(index: int, kill_at: int) -> Sample:
        if index == kill_at:
            raise Killed
        if index == 1:
            raise InputError("no such luck", file="b.png")
        return Sample(image=draw_image(index))

    path = tmp_path / "a"
    with pytest.raises(Killed):
        write_shards(begin(path, "abcd", shard_samples=2), range(4), lambda index: read(index, kill_at))
    failures = write_shards(begin(path, "abcd", shard_samples=2), range(4), lambda index: read(index, -1))
    assert failures == [Failure(id="b", file="b.png", reason="no such luck")]
    assert open_store(path).part("train").read_status().tolist() == [1, 2, 1, 1]
    assert (path / "failures.csv").read_text() == "part,id,file,reason\ntrain,b,b.png,no such luck\n"


def test_failures_of_a_part_that_cannot_be_read_stay_listed(tmp_path: Path) -> None:
    def fail(index: int) -> Sample:
        raise InputError("no such luck", file="b.png")

    path = tmp_path / "a"
    write_shards(begin(path, "a"), range(1), fail)
    (path / "train").rename(path / "other")
    other = open_store(path).part("other")
    write_failures(other)
    for name in ("id", "note"):
        (path / "other" / name / "c" / "0").write_bytes(b"damaged")
    write_shards(begin(path, "a"), range(1), fail)
    listed = "part,id,file,reason\nother,a,b.png,no such luck\ntrain,a,b.png,no such luck\n"
    assert (path / "failures.csv").read_text() == listed
    with pytest.raises(InputError, match="other"):
        write_failures(other)
    assert (path / "failures.csv").read_text() == listed


def test_a_failed_sample_is_tried_again_and_its_neighbors_stay(tmp_path: Path) -> None:
    def read(index: int) -> Sample:
        return Sample(image=draw_image(index), note="a note" if index == 0 else "")

    def read_badly(index: int) -> Sample:
        if index == 1:
            raise InputError("no such luck")
        return read(index)

    read_again: list[int] = []

    def read_well(index: int) -> Sample:
        read_again.append(index)
        return read(index)

    write_shards(begin(tmp_path / "uninterrupted", "abc"), range(3), read)
    write_shards(begin(tmp_path / "retried", "abc"), range(3), read_badly)
    assert write_shards(begin(tmp_path / "retried", "abc"), range(3), read_well) == []
    assert read_again == [1]
    assert_same_bytes(tmp_path / "uninterrupted", tmp_path / "retried")


def test_a_failed_sample_in_a_damaged_shard_is_refused_with_a_remedy(tmp_path: Path) -> None:
    def read(index: int) -> Sample:
        if index == 1:
            raise InputError("no such luck")
        return Sample(image=draw_image(index))

    part = begin(tmp_path / "a", "abc")
    write_shards(part, range(3), read)
    part.shard_path(0).write_bytes(b"")
    with pytest.raises(InputError, match="Cannot rewrite some samples of .* is damaged.*hpa verify"):
        write_shards(part, range(3), read)


def test_damage_to_rows_that_are_all_written_again_is_repaired(tmp_path: Path) -> None:
    def fail(index: int) -> Sample:
        raise InputError("no such luck")

    def read(index: int) -> Sample:
        return Sample(image=draw_image(index))

    part = begin(tmp_path / "a", "ab")
    write_shards(part, range(2), fail)
    for name in ("note", "checksum"):
        (part.path / name / "c" / "0").write_bytes(b"damaged")
    write_shards(part, range(2), read)
    write_shards(begin(tmp_path / "b", "ab"), range(2), read)
    assert_same_bytes(tmp_path / "a", tmp_path / "b")


def test_a_note_is_text_of_bounded_length(tmp_path: Path) -> None:
    def read(index: int) -> Sample:
        raise InputError("\udcff" * 5000, file="\udcff/a.png")

    (failure,) = write_shards(begin(tmp_path / "a", "a"), range(1), read)
    assert failure.file == "\\udcff/a.png"
    assert len(failure.reason) == 1000


def test_each_array_of_the_table_is_written_for_each_shard(tmp_path: Path) -> None:
    part = begin(tmp_path / "a", "abc", shard_samples=2)
    write_shards(
        part, range(3), lambda index: Sample(image=draw_image(index), note="a warning", origin="8 bit", filled=("red",))
    )
    for spec in SHARD_ARRAYS:
        expected = set() if spec.name == "note_file" else {"0", "1"}  # no sample has a file to note
        assert {path.name for path in (part.path / spec.name).glob("c/*")} == expected, spec.name


def test_what_the_files_of_a_sample_are_like_is_kept_and_an_augmented_copy_has_none(tmp_path: Path) -> None:
    part = begin(tmp_path / "a", "abc")
    samples = [Sample(image=draw_image(0), origin="8 bit"), Sample(image=draw_image(1), filled=("red", "blue"))]
    write_shards(part, [*samples, "lost"], _read)
    assert part.read_origins() == ["8 bit", "", ""]
    assert part.read_filled() == [(), ("red", "blue"), ()]
    copies = Provenance(parents=("a",), parts=("train",), checksums=(0,), transforms=("[]",))
    part = begin(tmp_path / "b", "a", copies=copies)
    assert (part.read_origins(), part.read_filled()) == (None, None)


def _read(sample: Sample | str) -> Sample:
    if isinstance(sample, str):
        raise InputError("Cannot read it.")
    return sample


def test_a_warning_that_no_longer_applies_is_removed(tmp_path: Path) -> None:
    def read(note: str, index: int) -> Sample:
        return Sample(image=draw_image(index), note=note)

    part = begin(tmp_path / "a", "ab")
    write_shards(part, range(2), partial(read, "another color"))
    assert part.read_notes() == [("another color", "")] * 2
    write_shards(part, range(2), partial(read, ""), rewrite=np.ones(2, np.bool_))
    assert part.read_notes() == [("", "")] * 2
    write_shards(begin(tmp_path / "b", "ab"), range(2), partial(read, ""))
    assert_same_bytes(tmp_path / "a", tmp_path / "b")


def test_a_writer_that_has_lost_its_lock_stops_with_one_line(tmp_path: Path) -> None:
    part = begin(tmp_path / "a.zarr", ["a", "b"], shard_samples=1)

    def read(index: int) -> Sample:
        (tmp_path / "a.zarr" / ".lock").write_text("another process")
        return Sample(image=draw_image(index))

    with pytest.raises(InputError, match="Cannot write to .*a.zarr: its lock is gone, or another process holds it now"):
        write_shards(part, range(2), read, workers=Parallelism(threads=1))
    assert part.read_status().tolist() == [0, 0]
