"""Conversion and store: what went in comes out, whoever reads it; what cannot be done is refused."""

import json
import shutil
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tensorstore
import xarray
import zarr

from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import CHANNELS, CLASSES, Sample
from hpa_data.errors import InputError
from hpa_data.format.codecs import CODECS
from hpa_data.sources.options import ImportOptions
from hpa_data.store.create import PartPlan
from hpa_data.store.failures import Failure
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import peak_bytes, write_shards
from hpa_data.system.executor import Parallelism
from hpa_data.tables import read_label_table
from tests.builders import assert_same_bytes, begin, convert, draw_image, list_files, write_sample, write_table


def read_planes(folder: Path, sample_id: str) -> np.ndarray:
    """Read a sample as an independent reader does."""
    return np.stack([iio.imread(folder / f"{sample_id}_{channel}.png") for channel in CHANNELS], axis=-1)


def test_zarr_alone_reads_back_what_the_files_hold(kaggle: Path, store: Store) -> None:
    part = zarr.open_group(store.path, mode="r")["train"]
    table = read_label_table(kaggle / "train.csv")
    assert part["id"][:].tolist() == list(table.ids)
    assert (part["labels"][:] == table.labels).all()
    images = part["images"]
    assert images.chunks == (1, 512, 512, 4)
    assert images.shards == (64, 512, 512, 4)
    for row, name in enumerate(table.ids):
        expected = read_planes(kaggle / "train", name)
        assert (images[row] == expected).all()
        assert part["checksum"][row] == zlib.crc32(expected.tobytes())
    assert (part["status"][:] == 1).all()


def test_the_arrays_have_the_names_types_and_axes_of_the_format(store: Store) -> None:
    part = zarr.open_group(store.path, mode="r")["train"]
    told = {name: (str(array.dtype), array.metadata.dimension_names) for name, array in part.arrays()}
    assert told["images"] == ("uint8", ("sample", "y", "x", "channel"))
    assert told["labels"] == ("uint8", ("sample", "class"))
    assert told["status"] == ("uint8", ("sample",))
    assert told["checksum"] == ("uint32", ("sample",))
    assert "labels" not in zarr.open_group(store.path, mode="r")["test"]
    for name, array in part.arrays():
        codecs = json.loads((store.path / "train" / name / "zarr.json").read_text())["codecs"]
        assert {codec["name"] for codec in codecs} <= {"bytes", "blosc", "sharding_indexed", "vlen-utf8"}, array


def test_xarray_opens_a_part_with_the_names_of_channels_and_classes(store: Store) -> None:
    # Consolidated metadata are no part of the Zarr v3 standard; without this word xarray notes that it looked for them.
    part = xarray.open_zarr(store.path, group="train", consolidated=False)
    assert part["images"].dims == ("sample", "y", "x", "channel")
    assert part["channel"].values.tolist() == list(CHANNELS)
    assert part["labels"].sel({"class": "Nucleoli fibrillar center"}).values.all()
    assert part["class"].values.tolist() == list(CLASSES)


@pytest.mark.parametrize("codec", CODECS)
def test_tensorstore_reads_each_codec(kaggle: Path, tmp_path: Path, codec: str) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test", codec=codec)
    path = str(tmp_path / "a.zarr" / "test" / "images")
    array = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}, read=True).result()
    assert (array[1].read().result() == draw_image(101)).all()


def test_the_manifest_holds_the_statistics_of_the_images(kaggle: Path, store: Store) -> None:
    part = store.part("train")
    images = np.stack([read_planes(kaggle / "train", name) for name in part.ids])
    statistics = part.manifest.statistics
    assert statistics is not None
    assert statistics.n_samples == 12
    assert statistics.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert statistics.std == pytest.approx(images.std(axis=(0, 1, 2)))


def test_neither_workers_nor_place_change_a_byte(kaggle: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        convert(kaggle / "train", tmp_path / name, labels=kaggle / "train.csv", workers=Parallelism(threads=workers))
    assert_same_bytes(tmp_path / "one", tmp_path / "two")


def test_the_store_holds_no_path(kaggle: Path, store: Store) -> None:
    for path in store.path.rglob("zarr.json"):
        assert str(kaggle) not in path.read_text()


class Killed(BaseException):
    """Stands for a signal: no handler of ours catches it."""


@pytest.mark.parametrize("stop_at", [0, 3, 4, 9])
def test_a_conversion_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path, stop_at: int) -> None:
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
    write_shards(begin(tmp_path / "whole", ids, shard_samples=4), range(10), read, workers=one)
    with pytest.raises(Killed):
        write_shards(begin(tmp_path / "killed", ids, shard_samples=4), range(10), read_until_killed, workers=one)
    calls.clear()
    part = begin(tmp_path / "killed", ids, shard_samples=4)
    assert part.manifest.statistics is None
    pending = np.flatnonzero(part.read_status() == 0).tolist()
    assert stop_at in pending
    assert write_shards(part, range(10), read, workers=one) == []
    assert sorted(calls) == pending  # whole shards that were written are not read again
    assert_same_bytes(tmp_path / "whole", tmp_path / "killed")


def test_a_part_whose_making_was_killed_is_made_anew(kaggle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    left_over = zarr.open_group(path, mode="a").create_group(".test.new")
    left_over.create_array("id", shape=(99,), dtype="uint8")
    convert(kaggle / "test", path, part="test")
    assert open_store(path).part("test").ids == ["new-0", "new-1", "new-2"]
    assert sorted(entry.name for entry in path.iterdir()) == ["test", "zarr.json"]


def test_what_is_not_ours_is_not_deleted(kaggle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="a")
    group.create_array("train", shape=(3,), dtype="uint8")[:] = 7
    with pytest.raises(InputError, match=r"an array or group has that name.*--overwrite"):
        convert(kaggle / "test", path)
    assert (group["train"][:] == 7).all()
    convert(kaggle / "test", path, overwrite=True)
    assert len(open_store(path).part("train").ids) == 3


@pytest.mark.parametrize("kill_at", [0, 3])
def test_a_conversion_that_goes_on_lists_the_failures_of_before(tmp_path: Path, kill_at: int) -> None:
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


def test_a_failed_sample_is_tried_again_and_its_neighbours_stay(tmp_path: Path) -> None:
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

    write_shards(begin(tmp_path / "whole", "abc"), range(3), read)
    write_shards(begin(tmp_path / "mended", "abc"), range(3), read_badly)
    assert write_shards(begin(tmp_path / "mended", "abc"), range(3), read_well) == []
    assert read_again == [1]
    assert_same_bytes(tmp_path / "whole", tmp_path / "mended")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("zarr.json", "not JSON", r"Cannot open the store .*Check the path\."),
        ("train/zarr.json", "not JSON", "Cannot open part 'train' of .*--overwrite"),
        ("train/images/zarr.json", None, "Cannot open part 'train' of .*images.*--overwrite"),
        ("train/status/zarr.json", None, "Cannot open part 'train' of .*status is missing.*--overwrite"),
        ("train/id/c/0", "garbage", "Cannot read id of part 'train' in .*--overwrite"),
        ("train/id/c/0", None, "ids, labels or settings are not those that it was created with.*--overwrite"),
        ("train/labels/c/0/0", None, "ids, labels or settings are not those that it was created with.*--overwrite"),
        ("train/labels/zarr.json", None, "ids, labels or settings are not those that it was created with.*--overwrite"),
    ],
)
def test_damaged_metadata_are_refused_in_one_line(
    kaggle: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    ids = [f"new-{index}" for index in range(3)]
    table = write_table(tmp_path / "labels.csv", dict.fromkeys(ids, "3"))
    convert(kaggle / "test", tmp_path / "a.zarr", labels=table)
    path = tmp_path / "a.zarr" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        open_store(tmp_path / "a.zarr").part("train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("threads", "size"), [(1, 512), (2, 512), (2, 1024)])
def test_a_conversion_takes_no_more_memory_than_is_said(tmp_path: Path, threads: int, size: int) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    for index in range(16):
        for channel in CHANNELS:
            noise = rng.integers(0, 256, (size, size), np.uint8)  # does not compress
            iio.imwrite(tmp_path / "source" / f"s{index:02}_{channel}.png", noise)
    plan = plan_conversion(tmp_path / "source", tmp_path / "a.zarr", codec="lz4")
    plan = replace(plan, part=replace(plan.part, shard_samples=4))
    workers = Parallelism(threads=threads)
    layout = plan.part.layout
    convert(tmp_path / "source", tmp_path / "first.zarr")  # imports modules, which are not what is measured
    tracemalloc.start()
    try:
        convert_files(plan, workers=workers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bound = peak_bytes(layout, workers, file_bytes=size**2)
    # At least one image and its chunk; beside the bound, what zarr and Dask keep for themselves.
    assert 2 * layout.image_bytes < peak <= bound + 2**20


def test_a_bad_file_costs_one_sample_and_is_listed(kaggle: Path, tmp_path: Path) -> None:
    source = tmp_path / "test"
    shutil.copytree(kaggle / "test", source)
    (source / "new-1_blue.png").write_bytes(b"not a picture")
    done = convert(source, tmp_path / "a.zarr", part="test")
    assert (done.n_samples, done.n_ok) == (3, 2)
    assert [failure.id for failure in done.failures] == ["new-1"]
    assert "new-1_blue.png" in done.failures[0].reason
    part = open_store(tmp_path / "a.zarr").part("test")
    assert part.read_status().tolist() == [1, 2, 1]
    assert part.manifest.statistics is not None
    assert part.manifest.statistics.n_samples == 2


def test_a_black_image_is_not_a_missing_one(tmp_path: Path) -> None:
    write_sample(tmp_path / "source", "black", np.zeros((512, 512, 4), np.uint8))
    convert(tmp_path / "source", tmp_path / "a.zarr")
    part = open_store(tmp_path / "a.zarr").part("train")
    assert part.read_status().tolist() == [1]
    assert (open_store(tmp_path / "a.zarr").reader().read([0]) == 0).all()


def test_samples_without_a_row_are_left_out_and_told(kaggle: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "some.csv", {"sample-03": "0", "sample-01": "1"})
    done = convert(kaggle / "train", tmp_path / "a.zarr", labels=table)
    assert open_store(tmp_path / "a.zarr").part("train").ids == ["sample-03", "sample-01"]
    assert len(done.unlabelled) == 10


def test_the_same_command_again_changes_nothing(kaggle: Path, tmp_path: Path) -> None:
    done = convert(kaggle / "test", tmp_path / "a.zarr")
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "before")
    assert convert(kaggle / "test", tmp_path / "a.zarr") == done
    assert_same_bytes(tmp_path / "a.zarr", tmp_path / "before")


def test_a_part_with_other_settings_is_refused_unless_overwritten(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr")
    for change in ({"codec": "raw"}, {"settings": ImportOptions(missing="fill")}):
        with pytest.raises(InputError, match=r"was created with .*=.*, and this command has .*=.*--overwrite"):
            convert(kaggle / "test", tmp_path / "a.zarr", **change)  # type: ignore[arg-type]
    convert(kaggle / "test", tmp_path / "a.zarr", overwrite=True, codec="raw")
    assert open_store(tmp_path / "a.zarr").part("train").manifest.settings["codec"] == "raw"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec": "raw"}, "was created with codec='lz4', and this command has codec='raw'"),
        ({"shard_samples": 8}, "was created with shard_samples=64, and this command has shard_samples=8"),
        ({"ids": "ac"}, "was created with other samples or labels"),
    ],
)
def test_a_part_begun_with_other_settings_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    begin(tmp_path / "a.zarr", "ab")
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "a.zarr", **({"ids": "ab"} | change))


def test_rows_without_files_are_refused_before_anything_is_written(kaggle: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "more.csv", {"sample-03": "0", "ghost": "1", "spook": "1"})
    with pytest.raises(InputError, match="no files for 'ghost' and 1 more ids of"):
        convert(kaggle / "train", tmp_path / "a.zarr", labels=table)
    assert not (tmp_path / "a.zarr").exists()


def test_overwriting_never_deletes_what_zarr_has_not_made(kaggle: Path, tmp_path: Path) -> None:
    """The store is the folder above the source, and the part's name that of the source."""
    shutil.copytree(kaggle / "test", tmp_path / "kaggle" / "train")
    with pytest.raises(InputError, match="Cannot write a store to .* holds something else"):
        convert(tmp_path / "kaggle" / "train", tmp_path / "kaggle", overwrite=True)
    zarr.open_group(tmp_path / "kaggle", mode="a")
    with pytest.raises(InputError, match="train was not created by Zarr"):
        convert(tmp_path / "kaggle" / "train", tmp_path / "kaggle", overwrite=True)
    assert len(list((tmp_path / "kaggle" / "train").iterdir())) == 12


def test_real_files_through_processes_give_the_same_store(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "train", tmp_path / "threads", labels=kaggle / "train.csv")
    convert(kaggle / "train", tmp_path / "processes", labels=kaggle / "train.csv", workers=Parallelism(processes=2))
    assert_same_bytes(tmp_path / "threads", tmp_path / "processes")


def test_a_failed_sample_in_a_damaged_shard_says_what_helps(tmp_path: Path) -> None:
    def read(index: int) -> Sample:
        if index == 1:
            raise InputError("no such luck")
        return Sample(image=draw_image(index))

    part = begin(tmp_path / "a", "abc")
    write_shards(part, range(3), read)
    part.shard_path(0).write_bytes(b"")
    with pytest.raises(InputError, match="Cannot rewrite some samples of .* is damaged.*hpa verify"):
        write_shards(part, range(3), read)


def test_a_note_is_text_of_bounded_length(tmp_path: Path) -> None:
    def read(index: int) -> Sample:
        raise InputError("\udcff" * 5000, file="\udcff/a.png")

    (failure,) = write_shards(begin(tmp_path / "a", "a"), range(1), read)
    assert failure.file == "\\udcff/a.png"
    assert len(failure.reason) == 1000


def test_a_folder_of_something_else_is_no_place_for_a_store(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(InputError, match="Cannot write a store to .* holds something else"):
        convert(kaggle / "test", tmp_path / "letters")
    with pytest.raises(InputError, match="A store must be a new folder or a store"):  # from the lock
        convert(kaggle / "test", tmp_path / "letters" / "dear.txt")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b"])
def test_a_part_must_have_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="part must be up to 50 letters"):
        PartPlan(path=tmp_path / "a.zarr", name=name, ids=("a",), labels=None, settings={})


def test_what_is_not_there_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="part='extra'; .* has test, train"):
        store.part("extra")
    with pytest.raises(InputError, match="it is not a folder written by `hpa convert`"):
        open_store(tmp_path / "nowhere")


def test_a_whole_conversion_leaves_no_unfinished_file(store: Store) -> None:
    names = {Path(name).name for name in list_files(store.path)}
    assert not [name for name in names if name.startswith(".") or "part" in name]
    assert sorted(entry.name for entry in store.path.iterdir()) == ["test", "train", "zarr.json"]
    assert json.loads((store.path / "train" / "zarr.json").read_text())["attributes"]["statistics"]["n_samples"] == 12


@pytest.mark.realdata
def test_the_real_samples_come_back_bit_for_bit(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "kaggle"
    done = convert(source / "train", tmp_path / "real.zarr", labels=source / "train.csv")
    assert (done.n_samples, done.n_ok, done.failures) == (60, 60, ())
    part = zarr.open_group(tmp_path / "real.zarr", mode="r")["train"]
    table = read_label_table(source / "train.csv")
    assert part["id"][:].tolist() == list(table.ids)
    assert (part["labels"][:] == table.labels).all()
    images = part["images"][:]
    for row, name in enumerate(table.ids):
        assert (images[row] == read_planes(source / "train", name)).all()
