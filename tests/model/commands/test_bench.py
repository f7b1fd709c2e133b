"""`hpa bench io` and `hpa bench step`: what they print and refuse."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_model.bench.io import CodecEstimate, IoReport
from hpa_model.bench.timing import Measurement
from hpa_model.commands.bench import describe_io, explain_io
from tests.builders import Hpa, assert_refused

RATE = 1000.0


def make_row(name: str, rate: float, fraction: float | None = None) -> Measurement:
    return Measurement(name=name, description="", rate=rate, lowest=rate, highest=rate, cpu_s=1.0, fraction=fraction)


@pytest.fixture
def report() -> IoReport:
    """Give what a store of 40 GB on a fast disk might be measured as, with much memory."""
    return IoReport(
        store="a.zarr",
        engine="mapped",
        codec="lz4hc",
        n_samples=100_000,
        n_read=256,
        batch_size=20,
        threads=2,
        rows=(make_row("NumPy", RATE, 0.95), make_row("disk", 5000)),
        codecs=(
            CodecEstimate(name="lz4hc", sample_bytes=4e5, store_bytes=40e9, warm=RATE, cold=RATE),
            CodecEstimate(name="raw", sample_bytes=1e6, store_bytes=100e9, warm=9000, cold=2000),
        ),
        free_bytes=int(200e9),
        bottleneck="decoding",
        faster_codec="raw",
    )


def test_the_bottleneck_and_the_faster_codec_are_named(report: IoReport) -> None:
    text = " ".join(explain_io(report))
    assert "A trainer can be fed 1,000 images/s (NumPy) from the page cache." in text
    assert "The bottleneck is decoding: batches come at 0.95 of its limit." in text
    assert "The 40.0 GB fit into free memory: only the first epoch is read from disk." in text
    assert "it is not the bottleneck" in text
    assert "Codec raw would give up to 9,000 samples/s instead of 1,000, in 100.0 GB instead of 40.0." in text
    assert text in " ".join(describe_io(report).splitlines())


def test_a_store_larger_than_memory_is_as_fast_as_the_disk(report: IoReport) -> None:
    rows = (make_row("NumPy", RATE, 0.5), make_row("disk", 400))
    report = replace(report, rows=rows, free_bytes=int(10e9), bottleneck="delivery", faster_codec=None)
    text = " ".join(explain_io(report))
    assert "Delivery is the bottleneck: batches come at 0.50 of the limit." in text
    assert "do not fit into the 10.0 GB of free memory: every epoch is read from disk, at 400 samples/s at most" in text
    assert "The disk gives at most 400 samples/s: it is the bottleneck." in text
    assert "Codec" not in text


def test_a_store_that_tensorstore_reads_has_no_limit_and_no_disk(report: IoReport) -> None:
    report = replace(report, rows=(make_row("NumPy", RATE),), bottleneck=None, faster_codec=None)
    assert "There is no limit to compare with: the images are at a URL, or chunked or encoded differently." in list(
        explain_io(report)
    )
    assert "disk" not in " ".join(explain_io(report))


def test_reading_is_measured_beside_the_files(store: Store, kaggle: Path, hpa: Hpa) -> None:
    words = ("bench", "io", store.path, "--png", kaggle / "train", "--samples", 4, "--batch-size", 2, "--rounds", 1)
    ended = hpa(*words)
    assert ended.status == 0, ended.err
    assert f"{store.path}: 12 samples, codec lz4hc, read by engine " in ended.out
    for codec in ("lz4hc", "lz4", "zstd", "raw"):
        assert f"\n{codec} " in ended.out


def test_training_steps_are_measured_with_and_without_the_store(store: Store, hpa: Hpa) -> None:
    words = ("bench", "step", store.path, "--image-size", 76, "--batch-size", 2, "--steps", 1, "--json")
    report = json.loads(hpa(*words).out)
    assert (report["model"], report["n_steps"], report["precision"]) == ("gapnet", 1, "float32")
    assert 0 <= report["wait_fraction"] <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("io {kaggle}", "it is not a folder written by `hpa convert`"),
        ("io {store} --part extra", "part must be in the store"),
        ("io {store} --images {empty}", "must hold files named"),
    ],
)
def test_what_cannot_be_measured_gets_one_line_and_status_2(  # noqa: PLR0917 - fixtures
    words: str, message: str, store: Store, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    paths = {"kaggle": kaggle, "store": store.path, "empty": tmp_path}
    assert_refused(hpa("bench", *words.format(**paths).split()), message)
