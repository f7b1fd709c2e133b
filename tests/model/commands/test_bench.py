"""The text of `hpa bench`."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import cli
from hpa_data.store.store import Store
from hpa_model.bench.io import CodecEstimate, IoReport
from hpa_model.bench.timing import Measurement
from hpa_model.commands.bench import describe_io, explain_io

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
    assert "There is no limit to compare with: TensorStore reads these images." in list(explain_io(report))
    assert "disk" not in " ".join(explain_io(report))


def test_the_commands_print_what_was_measured(store: Store) -> None:
    run = CliRunner()
    done = run.invoke(cli.app, ["bench", "io", str(store.path), "--samples", "4", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [row["name"] for row in report["rows"]] == ["memcpy", "limit", "NumPy", "tf.data", "disk"]
    args = ["bench", "step", str(store.path), "--image-size", "76", "--batch-size", "3", "--steps", "1"]
    done = run.invoke(cli.app, args)
    assert done.exit_code == 0, done.output
    assert "images/s" in done.stdout
    done = run.invoke(cli.app, [*args, "--precision", "float7"])
    assert done.exit_code == 2
