"""Measurements of a user's machine: every row is there, and what is said follows from the figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_model.bench.io import CodecFigures, IoReport, _judge, measure_io
from hpa_model.bench.limits import limit_copy, limit_decode, limit_disk
from hpa_model.bench.step import measure_step
from hpa_model.bench.timing import Workload, describe_timings, measure
from hpa_model.commands.bench import describe_io
from tests.builders import convert, draw_image, write_sample, write_table


@pytest.fixture(scope="module")
def report(store: Store, kaggle: Path) -> IoReport:
    return measure_io(store, png=kaggle / "train", n_samples=8, batch_size=3, rounds=1, min_seconds=0.0)


def test_every_row_is_measured(report: IoReport) -> None:
    assert [row.name for row in report.rows] == ["memcpy", "limit", "NumPy", "tf.data", "disk", "PNG + tf.data"]
    for row in report.rows:
        assert 0 < row.lowest <= row.rate <= row.highest
    assert [row.name for row in report.rows if row.share is not None] == ["NumPy", "tf.data"]
    assert (report.n_samples, report.n_read, report.engine, report.codec) == (12, 8, "mapped", "lz4hc")


def test_every_codec_is_tried(report: IoReport, store: Store) -> None:
    figures = {codec.name: codec for codec in report.codecs}
    assert set(figures) == {"lz4hc", "lz4", "zstd", "raw"}
    assert figures["raw"].sample_bytes == 2**20
    part = store.part("train")
    index_bytes = 64 * 16 + 4
    assert figures["lz4hc"].store_bytes == pytest.approx(part.count_bytes() - index_bytes, rel=0.02)
    assert all(0 < codec.cold <= codec.warm for codec in report.codecs)
    assert "GB in all" in describe_io(report)


def test_a_store_that_is_not_mapped_is_measured_without_its_limits(store: Store) -> None:
    class Foreign(Store):
        def reader(self, *given: object, **named: object) -> Reader:
            files = self.part("train").reader_spec()
            return Reader([type(files)(**{**vars(files), "has_native_layout": False})], threads=1)

        def part(self, name: str) -> Part:
            part = super().part(name)
            return type(part)(**{**_fields(part), "has_native_layout": False})

    done = measure_io(Foreign(path=store.path), n_samples=4, batch_size=2, rounds=1, min_seconds=0.0)
    assert done.engine == "tensorstore"
    assert [row.name for row in done.rows] == ["memcpy", "NumPy", "tf.data"]
    assert all(codec.cold is None for codec in done.codecs)
    assert "TensorStore reads these images" in " ".join(done.verdict)


def _fields(part: object) -> dict[str, object]:
    return {name: getattr(part, name) for name in part.__dataclass_fields__}  # type: ignore[attr-defined]


def say(own: str, share: float, disk: float, free: float) -> str:
    rows = measure([Workload(name=name, description="", run=lambda: 1) for name in ("NumPy", "disk")], rounds=1)
    rates = {"NumPy": 1000.0, "disk": disk}
    told = {row.name: type(row)(**vars(row) | {"rate": rates[row.name], "share": share}) for row in rows}
    codecs = (
        CodecFigures(name="lz4hc", sample_bytes=4e5, store_bytes=40e9, warm=1000 / share, cold=disk),
        CodecFigures(name="raw", sample_bytes=1e6, store_bytes=100e9, warm=9000.0, cold=disk / 2.5),
    )
    return " ".join(_judge(own, told, codecs, int(free)))


def test_what_is_said_follows_from_the_figures() -> None:
    assert "What bounds it is decoding: batches come at 0.95" in say("lz4hc", 0.95, 5000, 200e9)
    assert "What bounds it is delivery: batches come at 0.50" in say("lz4hc", 0.5, 5000, 200e9)
    assert "Codec raw would give up to 9,000 samples/s" in say("lz4hc", 0.95, 5000, 200e9)
    assert "Codec" not in say("lz4hc", 0.95, 400, 10e9)
    assert "more than the 10.0 GB of free memory: each epoch comes from the disk, at 400 images/s" in say(
        "lz4hc", 0.95, 400, 10e9
    )
    assert "What bounds it is memory" in say("raw", 0.9, 5000, 200e9)


def test_a_part_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="part must be in the store"):
        measure_io(store, ("nope",))


def test_a_part_without_readable_samples_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path / "train", "a", draw_image(0))
    for path in (tmp_path / "train").iterdir():
        path.write_bytes(b"no picture")
    write_table(tmp_path / "train.csv", {"a": "0"})
    convert(tmp_path / "train", tmp_path / "a.zarr", labels=tmp_path / "train.csv")
    for measure_it in (measure_io, measure_step):
        with pytest.raises(InputError, match="none was converted. Convert it again"):
            measure_it(open_store(tmp_path / "a.zarr"))


def test_parts_of_different_codecs_are_not_measured_together(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="one")
    convert(kaggle / "test", tmp_path / "a.zarr", part="two", codec="raw")
    with pytest.raises(InputError, match="one codec. Received: lz4hc, raw. Measure one part"):
        measure_io(open_store(tmp_path / "a.zarr"), ("one", "two"))


def test_png_files_that_are_none_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold|no sample|no image|No sample"):
        measure_io(store, png=tmp_path, n_samples=2, rounds=1)


def test_limits_do_all_of_their_work(store: Store) -> None:
    with store.reader() as reader:
        order = np.arange(12)
        assert limit_decode(reader, "lz4hc", order, threads=2, n_images=4)() == 12
        assert limit_decode(reader, "zstd", order, threads=3, n_images=1)() == 12
        images = [reader.read_one(0)] * 5
        assert limit_copy(images, threads=2, n_images=4)() == 5
        # Each is really taken: one of another shape, wherever it is, cannot be copied.
        for place in range(5):
            wrong = [image[:3] if number == place else image for number, image in enumerate(images)]
            with pytest.raises(ValueError, match="broadcast"):
                limit_copy(wrong, threads=2, n_images=4)()
    paths = [store.part("train").shard_path(0)]
    assert limit_disk(paths, 12, threads=1)() == 12
    with pytest.raises(OSError, match="No such file"):
        limit_disk([store.path / "nope"], 1, threads=1)()


def test_rows_are_timed_in_turn_after_a_round_that_does_not_count() -> None:
    calls: list[str] = []
    rows = [
        Workload(name="a", description="first", run=lambda: calls.append("a") or 3, prepare=lambda: calls.append("-")),
        Workload(name="b", description="second", run=lambda: calls.append("b") or 1, limit="a"),
    ]
    done = measure(rows, rounds=2)
    assert "".join(calls) == "-ab" * 3
    assert done[0].share is None
    assert done[1].share is not None
    assert "second" in describe_timings(done)


def test_training_is_measured_fed_and_resident(store: Store) -> None:
    done = measure_step(store, image_size=76, batch_size=4, n_steps=2)
    assert done.precision == "float32"
    assert done.batch_size == 4
    assert done.from_store_rate > 0
    assert done.on_device_rate > 0
    assert 0 <= done.wait_fraction < 1
    with pytest.raises(InputError, match="must have labels"):
        measure_step(store, ("test",))


def test_the_commands_print_what_was_measured(store: Store) -> None:
    run = CliRunner()
    done = run.invoke(cli.app, ["bench", "io", str(store.path), "--samples", "4", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {row["name"] for row in told["rows"]} >= {"limit", "NumPy", "tf.data", "disk"}
    args = ["bench", "step", str(store.path), "--image-size", "76", "--batch-size", "3", "--steps", "1"]
    done = run.invoke(cli.app, args)
    assert done.exit_code == 0, done.output
    assert "images/s" in done.stdout
    done = run.invoke(cli.app, [*args, "--precision", "float7"])
    assert done.exit_code == 2
