"""The benchmarks run, on a few samples: their results are worth something only while they run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.coverage import measure_coverage
from benchmarks.growth import ROWS
from benchmarks.loaders.results import COLORS, Result, find_limit
from benchmarks.no_skill import UNIFORM_FREQUENCY

ROOT = Path(__file__).parents[1]


def run(module: str, *arguments: object) -> str:
    """Run a benchmark in a new process; return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def list_rows(table: str) -> list[str]:
    """List the first cells of a table, without its head."""
    return [line.split("  ")[0] for line in table.splitlines()][1:]


@pytest.mark.slow  # a whole workflow
def test_the_end_to_end_benchmark_prints_every_step(kaggle: Path) -> None:
    assert list_rows(run("end_to_end", kaggle / "test", "--rounds", 1, "--reads", 40)) == [
        *("PNG decode", "convert lz4hc", "convert lz4", "decode lz4hc"),
        *("reader lz4hc", "tf.data lz4hc", "reader raw", "tf.data raw"),
    ]


@pytest.mark.slow
def test_the_conversion_benchmark_prints_every_codec_and_alternative(kaggle: Path) -> None:
    assert list_rows(run("convert", kaggle / "test", "--rounds", 1)) == [
        *("decode hpa", "decode imagecodecs", "decode OpenCV", "decode Pillow", "decode imageio"),
        *("limit lz4hc", "convert lz4hc", "limit lz4", "convert lz4"),
        *("limit zstd", "convert zstd", "limit raw", "convert raw"),
        *("TensorStore", "zarr loop", "dask_image"),
    ]


@pytest.mark.slow
def test_the_cold_benchmark_prints_limits_rows_and_ratios(kaggle: Path) -> None:
    printed = run("cold", kaggle / "test", "--rounds", 1, "--ahead-mib", 8)
    for name in ("disk raw, 64 at a time", "decode lz4hc", "cold TensorStore", "cold lz4hc, 8 MiB ahead"):
        assert f"\n{name}  " in printed
    for ratio in ("cold lz4hc, tf.data / the smaller of disk and decoding", "cold raw, NumPy / the disk"):
        assert f"\n{ratio}  " in printed


@pytest.mark.slow
def test_the_gpu_benchmark_measures_each_phase_and_lists_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    networks = ("--network", "gapnet-pl:4", "--network", "unknown:4")
    tables = run("gpu", tmp_path, "--samples", 8, "--image-size", 64, "--steps", 2, *networks)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert tables.strip() == (tmp_path / "gpu.md").read_text().strip()
    n_counts = sum(line.startswith("reading, raw") for line in found["phases"])
    assert [name for name in found["phases"] if not name.startswith("reading")] == [
        *("synthetic samples", "conversion, lz4hc", "conversion, raw", "steps, gapnet-pl 4", "hpa train"),
    ]
    assert n_counts >= 1
    assert "jax" in found["machine"]["device"]
    (fault,) = found["faults"]
    assert fault.startswith("steps, unknown 4: hpa bench step ")
    assert len(found["phases"]["hpa train"]["epoch_rates"]) == 3
    assert [line.count("|") for line in tables.splitlines() if line.startswith("| `gapnet-pl`")] == [8]


@pytest.mark.slow
def test_the_benchmark_of_the_png_decoder_compares_each_codec_with_libpng_and_its_limits(kaggle: Path) -> None:
    table = run("png_decoder", kaggle / "test", "--rounds", 1, "--repeat", 1, "--codecs", "raw").splitlines()
    assert list_rows("\n".join(table[:6])) == [
        *("decode, libpng", "decode, compiled", "limit raw", "raw, libpng", "raw, compiled"),
    ]
    assert [line.split(":")[0] for line in table[6:]] == ["raw", "start"]


@pytest.mark.slow
def test_the_benchmark_of_the_default_codec_prints_what_each_codec_costs_and_gives(kaggle: Path) -> None:
    lines = run("default_codec", kaggle / "test", "--rounds", 1, "--repeat", 1).splitlines()
    assert [line.split()[0] for line in lines] == ["lz4hc", "lz4"]
    assert all(name in lines[0] for name in ("convert", "kB a sample", "cold", "warm"))


@pytest.mark.slow
def test_the_leak_benchmark_prints_what_was_looked_for() -> None:
    row = "external, default"
    table = run("leak", "--samples", 6, "--epochs", 1, "--folds", 2, "--rows", row)
    assert table.splitlines()[1].removeprefix(row).split()[:2] == ["near", "6"]


def test_the_benchmark_of_balanced_epochs_prints_each_way_to_balance() -> None:
    rows = run("sampling", "--samples", 99, "--rounds", 1).splitlines()[1:]
    assert [row.split("  ")[1].strip() for row in (line.strip() for line in rows)] == [
        *("none", "sqrt", "balanced", "balanced, mix of 2"),
    ]


def test_the_benchmark_of_the_no_skill_band_prints_a_coverage_for_each_score() -> None:
    table = run("no_skill", "--rows", 40, "--data-sets", 1)
    assert "macro_f1_within_fold" in table
    assert "fold: macro_roc_auc" in table


def test_the_benchmark_of_intervals_prints_a_coverage_for_each_way() -> None:
    table = run("coverage", "--rows", 60, "--data-sets", 1, "--groups")
    assert [line.split()[0] for line in table.splitlines()] == ["equal", "Kaggle's"]
    assert table.count("and groups ignored") == 2


@pytest.mark.slow
def test_intervals_hold_what_is_to_be_expected_in_92_to_98_of_100_data_sets() -> None:
    frequency = np.full(28, UNIFORM_FREQUENCY)
    assert 0.92 <= measure_coverage(784, frequency, 500, grouped=False)["as hpa evaluate"] <= 0.98


def test_the_augmentation_benchmark_prints_every_codec(kaggle: Path) -> None:
    arguments = ("--rounds", 1, "--copies", 4, "--codecs", "lz4hc", "raw")
    rows = ["limit lz4hc", "augment lz4hc", "limit raw", "augment raw"]
    assert list_rows(run("augment", kaggle / "test", *arguments)) == rows


@pytest.mark.slow
def test_the_loader_benchmark_checks_every_image_and_names_what_is_absent(kaggle: Path, tmp_path: Path) -> None:
    names = ["decode lz4hc", "hpa lz4hc, NumPy", "hpa lz4hc, JAX", "np.memmap", "insitubatch"]
    files = ("--json", tmp_path / "a.json", "--chart", tmp_path / "a.png")
    run("loaders.run", kaggle / "test", "--rounds", 1, "--cold", "--rows", *names, *files)
    rows = {row["name"]: row for row in json.loads((tmp_path / "a.json").read_text())["rows"]}
    assert list(rows) == names
    absent = rows.pop("insitubatch")["state"]
    assert absent == "ok" or absent.startswith("absent: no insitubatch")
    for row in rows.values():
        assert (row["state"], len(row["rates"])) == ("ok", 1)
    chart = cv2.imread(str(tmp_path / "a.png"))
    for color in COLORS.values():
        rgb = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
        assert (chart == np.array(rgb[::-1])).all(axis=-1).any(), f"no bar is {color}"


def test_our_rows_are_compared_with_the_limit_of_their_codec() -> None:
    results = [
        Result(name=name, description="", shuffle=shuffle)
        for name, shuffle in (
            *(("decode lz4hc", ""), ("copy raw", ""), ("hpa lz4hc, NumPy", "permutation")),
            *(("hpa raw, tf.data", "permutation"), ("np.memmap", "permutation")),
        )
    ]
    limits = [find_limit(result, results) for result in results]
    assert [limit and limit.name for limit in limits] == [None, None, "decode lz4hc", "copy raw", None]


def test_the_benchmark_of_a_large_store_prints_times_and_memory() -> None:
    text = run("open_large_store", "--samples", 2000, "--epochs", 2)
    assert "2000 samples in 32 shards: opened in" in text
    assert "Resident MB after each of 2 epochs of 1,000: " in text


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_the_benchmark_of_the_page_prints_the_first_grid_requests_and_filters() -> None:
    pytest.importorskip("playwright.sync_api")
    text = run("browse", "--samples", 500, "--scrolls", 3)
    assert text.startswith("500 samples\n")
    for words in (
        "page opened to first grid ",
        " lists of samples while scrolling: median ",
        "relation=missed: grid after ",
    ):
        assert words in text


@pytest.mark.slow  # seven processes
def test_the_benchmark_of_growth_measures_rows_for_every_number_of_samples() -> None:
    rows = [*ROWS][1:2] + [*ROWS][-1:]
    table = run("growth", "--samples", 20, 100, "--rows", *rows)
    assert [row.strip() for row in list_rows(table)] == rows * 2
    assert [line.split()[-4] for line in table.splitlines()[1:]] == ["20"] * 2 + ["100"] * 2


def test_the_benchmark_of_small_images_checks_them_and_prints_every_row() -> None:
    assert list_rows(run("small_images", "--samples", 100, "--size", 20, "--batch", 32, "--rounds", 1)) == [
        *("hpa raw, read", "hpa raw, NumPy", "hpa lz4hc, read", "hpa lz4hc, NumPy", "np.memmap"),
    ]


def test_two_versions_are_compared_in_alternation(kaggle: Path, tmp_path: Path) -> None:
    workloads = ["numpy-lz4hc", "read-raw", "convert-lz4"]
    settings = ("--restarts", 1, "--rounds", 2, "--seconds", 0, "--json", tmp_path / "a.json")
    table = run("compare_versions", ROOT, ROOT, kaggle / "test", *settings, "--workloads", *workloads)
    assert list_rows(table) == workloads
    rates = json.loads((tmp_path / "a.json").read_text())["samples_per_s"]
    assert {len(rates[name][version]) for name in workloads for version in ("old", "new")} == {2}


@pytest.mark.slow  # it measures four ways
def test_the_benchmark_of_symmetries_prints_every_way() -> None:
    sizes = ["--model", "gapnet-pl", "--pixels", "32", "--image-size", "16", "--batch", "2", "--steps", "1"]
    text = run("symmetries", *sizes, "--rounds", "1")
    assert [line[:20].strip() for line in text.splitlines()] == [
        "not turned",
        "turned, then resized",
        "resized, then turned",
    ]


@pytest.mark.slow  # it traces a graph for each operation
def test_the_benchmark_of_augmentation_on_the_device_prints_every_policy_and_operation() -> None:
    sizes = ["--model", "gapnet-pl", "--pixels", "32", "--image-size", "16", "--batch", "2", "--steps", "1"]
    lines = run("device_augment", *sizes, "--rounds", "1").splitlines()
    assert lines[0].startswith("gapnet-pl at 16 x 16 on tensorflow")
    assert sum(line.startswith("step, ") for line in lines) == 5
    assert sum(line.startswith("alone, ") for line in lines) == 4 + 14


@pytest.mark.slow  # each row is a process
def test_the_remote_benchmark_prints_each_row_by_http_and_by_s3(kaggle: Path) -> None:
    rows = ("hpa-NumPy", "TensorStore")
    arguments = ("--rounds", 1, "--seconds", 0.1, "--latencies", 5, "--repeat", 3, "--batch-size", 4, "--in-flight", 8)
    table = run("remote", kaggle / "test", *arguments, "--rows", *rows).splitlines()[3:]
    assert [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in table] == [
        (kind, "5", row) for kind in ("http", "s3") for row in rows
    ]
    assert not any("nothing" in line for line in table)
