"""Conversion: the store holds exactly what the files hold, with any kind of workers."""

import json
import shutil
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import zarr

from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import peak_bytes
from hpa_data.system.executor import Parallelism
from hpa_data.tables import read_label_table
from tests.builders import assert_same_bytes, convert, list_files, write_sample, write_table


def read_planes(folder: Path, sample_id: str) -> np.ndarray:
    """Read a sample as an independent reader does."""
    return np.stack([iio.imread(folder / f"{sample_id}_{channel}.png") for channel in HPA_2018.channel_names], axis=-1)


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


def test_the_manifest_holds_the_statistics_of_the_images(kaggle: Path, store: Store) -> None:
    part = store.part("train")
    images = np.stack([read_planes(kaggle / "train", name) for name in part.ids])
    statistics = part.manifest.statistics
    assert statistics is not None
    assert statistics.n_samples == 12
    assert statistics.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert statistics.std == pytest.approx(images.std(axis=(0, 1, 2)))


def test_neither_the_number_of_threads_nor_the_path_changes_a_byte(kaggle: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        convert(kaggle / "train", tmp_path / name, labels=kaggle / "train.csv", workers=Parallelism(threads=workers))
    assert_same_bytes(tmp_path / "one", tmp_path / "two")


def test_real_files_through_processes_give_the_same_store(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "train", tmp_path / "threads", labels=kaggle / "train.csv")
    convert(kaggle / "train", tmp_path / "processes", labels=kaggle / "train.csv", workers=Parallelism(processes=2))
    assert_same_bytes(tmp_path / "threads", tmp_path / "processes")


def test_the_store_holds_no_path(kaggle: Path, store: Store) -> None:
    for path in store.path.rglob("zarr.json"):
        assert str(kaggle) not in path.read_text()


def test_a_bad_file_costs_one_sample_and_is_listed(kaggle: Path, tmp_path: Path) -> None:
    source = tmp_path / "test"
    shutil.copytree(kaggle / "test", source)
    (source / "new-1_blue.png").write_bytes(b"not an image")
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


def test_samples_without_a_row_in_the_table_are_left_out_and_reported(kaggle: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "some.csv", {"sample-03": "0", "sample-01": "1"})
    done = convert(kaggle / "train", tmp_path / "a.zarr", labels=table)
    assert open_store(tmp_path / "a.zarr").part("train").ids == ["sample-03", "sample-01"]
    assert len(done.unlabeled) == 10


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
    ("threads", "size", "options"),
    [
        (1, 512, ImportOptions()),
        (2, 512, ImportOptions()),
        (2, 1024, ImportOptions()),
        (2, 1024, ImportOptions(intensity="dataset-percentile")),
        (2, 512, ImportOptions(intensity="percentile")),
        (1, 1024, ImportOptions(native=True, intensity="minmax")),
        (2, 128, ImportOptions(upscale=True)),
        (2, 128, ImportOptions(fit="pad")),
    ],
)
def test_a_conversion_takes_no_more_memory_than_estimated(
    tmp_path: Path, threads: int, size: int, options: ImportOptions
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    (tmp_path / "few").mkdir()
    for index in range(16):
        for channel in HPA_2018.channel_names:
            noise = rng.integers(0, 256, (size, size), np.uint8)  # does not compress
            path = tmp_path / "source" / f"s{index:02}_{channel}.png"
            iio.imwrite(path, noise, compress_level=0)
            if index < 2:
                (tmp_path / "few" / path.name).hardlink_to(path)
    plan = plan_conversion(tmp_path / "source", tmp_path / "a.zarr", settings=options, codec="lz4")
    plan = replace(plan, part=replace(plan.part, shard_samples=4))
    workers = Parallelism(threads=threads)
    layout = plan.part.layout
    convert(tmp_path / "few", tmp_path / "first.zarr", settings=options)  # imports what is not measured
    tracemalloc.start()
    try:
        convert_files(plan, workers=workers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bound = peak_bytes(layout, workers, file_bytes=size**2)
    # At least one image and its chunk; beside the bound, what zarr and Dask keep for themselves.
    least = 2 * layout.image_bytes if size >= layout.image_shape[0] else layout.image_bytes
    assert least < peak <= bound + 2**20


def test_a_complete_conversion_leaves_no_partial_file(store: Store) -> None:
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
