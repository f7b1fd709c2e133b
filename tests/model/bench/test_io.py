"""The benchmark of reading: every workload is measured, and the conclusions follow from the rates."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_model.bench.io import CodecEstimate, IoReport, find_bottleneck, find_faster_codec, measure_io
from tests.builders import build_store, convert, convert_unreadable, rewrite_images


@pytest.fixture(scope="module")
def report(store: Store, kaggle: Path) -> IoReport:
    return measure_io(store, images=kaggle / "train", n_samples=8, batch_size=3, rounds=1, min_seconds=0.0)


def test_every_workload_is_measured(report: IoReport) -> None:
    assert [row.name for row in report.rows] == ["memcpy", "limit", "NumPy", "tf.data", "disk", "PNG + tf.data"]
    assert all(row.lowest <= row.rate <= row.highest for row in report.rows)
    assert [row.name for row in report.rows if row.fraction is not None] == ["NumPy", "tf.data"]
    assert (report.n_samples, report.n_read, report.engine, report.codec) == (12, 8, "mapped", "lz4hc")


def test_every_codec_is_tried(report: IoReport, store: Store) -> None:
    codecs = {codec.name: codec for codec in report.codecs}
    assert set(codecs) == {"lz4hc", "lz4", "zstd", "raw"}
    assert codecs["raw"].sample_bytes == 2**20
    part = store.part("train")
    index_bytes = 64 * 16 + 4
    assert codecs["lz4hc"].store_bytes == pytest.approx(part.count_bytes() - index_bytes, rel=0.02)
    assert all(codec.cold is not None and codec.cold <= codec.warm for codec in report.codecs)


def test_a_store_that_tensorstore_reads_is_measured_without_limits(store: Store, tmp_path: Path) -> None:
    foreign = rewrite_images(store, tmp_path / "a.zarr", chunks=(1, 512, 512, 4), compressors=None)
    report = measure_io(foreign, n_samples=4, batch_size=2, rounds=1, min_seconds=0.0)
    assert report.engine == "tensorstore"
    assert [row.name for row in report.rows] == ["memcpy", "NumPy", "tf.data"]
    assert all(codec.cold is None for codec in report.codecs)
    assert report.bottleneck is None


@pytest.mark.parametrize(
    ("codec", "fraction", "bottleneck"),
    [
        ("lz4hc", 0.95, "decoding"),
        ("lz4hc", 0.5, "delivery"),
        ("raw", 0.9, "memory"),
        ("raw", 0.5, "delivery"),
        ("lz4hc", None, None),
    ],
)
def test_the_bottleneck_follows_from_the_fraction_of_the_limit(
    codec: str, fraction: float | None, bottleneck: str | None
) -> None:
    assert find_bottleneck(codec, fraction) == bottleneck


@pytest.mark.parametrize(
    ("raw_rate", "disk_rate", "free_bytes", "faster"),
    [
        (9000, 500, 200e9, "raw"),  # both fit into memory
        (1100, 500, 200e9, None),  # not worth a conversion
        (9000, 500, 50e9, None),  # raw does not fit and would be read from disk
        (9000, 5000, 50e9, "raw"),  # nor does it here, but the disk is fast
    ],
)
def test_a_codec_is_faster_only_if_its_store_is_cached_or_the_disk_is_fast(
    raw_rate: float, disk_rate: float, free_bytes: float, faster: str | None
) -> None:
    codecs = (
        CodecEstimate(name="lz4hc", sample_bytes=4e5, store_bytes=40e9, warm=1000, cold=min(1000, 2.5 * disk_rate)),
        CodecEstimate(name="raw", sample_bytes=1e6, store_bytes=100e9, warm=raw_rate, cold=min(raw_rate, disk_rate)),
    )
    assert find_faster_codec("lz4hc", codecs, int(free_bytes)) == faster


def test_a_part_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="part must be in the store"):
        measure_io(store, ("nope",))


def test_a_part_without_readable_samples_is_refused(tmp_path: Path) -> None:
    store = convert_unreadable(tmp_path)
    with pytest.raises(InputError, match="no sample of train was converted"):
        measure_io(store)


def test_parts_of_different_codecs_are_not_measured_together(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="one")
    convert(kaggle / "test", tmp_path / "a.zarr", part="two", codec="raw")
    with pytest.raises(InputError, match="parts must have the same codec. Received: lz4hc, raw"):
        measure_io(open_store(tmp_path / "a.zarr"), ("one", "two"))


def test_a_folder_without_planes_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold files named"):
        measure_io(store, images=tmp_path, n_samples=2, rounds=1)


def test_planes_and_batches_of_any_data_set_are_measured(tmp_path: Path) -> None:
    channels = tuple(Channel(name=f"w{number}") for number in range(6))
    dataset = Dataset(name="mine", channels=channels, classes=("one",), height=33, width=70)
    store = build_store(tmp_path / "a.zarr", dataset, [[1], [1], [0], [1]])
    for n, channel in ((n, channel) for n in range(4) for channel in dataset.channel_names):
        assert cv2.imwrite(str(tmp_path / f"s{n}_{channel}.png"), np.full((33, 70), n, np.uint8))
    options = {"images": tmp_path, "n_samples": 4, "batch_size": 2, "rounds": 1, "min_seconds": 0.0}
    report = measure_io(store, **options)  # type: ignore[arg-type]
    assert [row.name for row in report.rows] == ["memcpy", "limit", "NumPy", "tf.data", "disk", "PNG + tf.data"]
    assert {codec.name: codec.sample_bytes for codec in report.codecs}["raw"] == 33 * 70 * 6

    assert cv2.imwrite(str(tmp_path / "s0_w0.png"), np.zeros((32, 70), np.uint8))
    with pytest.raises(InputError, match="must be a folder with PNG files of one size"):
        measure_io(store, **options)  # type: ignore[arg-type]
