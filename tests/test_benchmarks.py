"""The benchmark runs, small: a benchmark that does not run proves nothing."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_main_job_s_benchmark_prints_every_row(kaggle: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.end_to_end", kaggle / "test", "--rounds", "1", "--reads", "40"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows[0] == "row"
    assert {"PNG decode", "convert lz4hc", "decode lz4hc", "reader lz4hc", "tf.data raw"} <= set(rows)


def test_the_benchmark_of_conversion_prints_every_row(kaggle: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.convert", kaggle / "test", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"decode imageio", "limit raw", "convert lz4hc", "convert zstd", "zarr loop", "dask_image"} <= set(rows)


def test_the_benchmark_of_copies_prints_every_row(kaggle: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.augment", kaggle / "test", "--rounds", "1", "--copies", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"limit lz4hc", "augment lz4hc", "limit raw", "augment raw"} <= set(rows)


def test_the_benchmark_of_loaders_delivers_every_image_and_names_what_is_absent(kaggle: Path, tmp_path: Path) -> None:
    rows = ["decode lz4hc", "hpa lz4hc, NumPy", "np.memmap", "insitubatch"]
    command = [
        sys.executable,
        "-m",
        "benchmarks.loaders.run",
        kaggle / "test",
        "--rounds",
        "1",
        "--cold",
        "--rows",
        *rows,
    ]
    command += ["--json", tmp_path / "a.json", "--chart", tmp_path / "a.png"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    told = {row["name"]: row for row in json.loads((tmp_path / "a.json").read_text())["rows"]}
    assert list(told) == [row for row in told if row in rows]
    assert len(told) == len(rows)
    for name, row in told.items():
        if name != "insitubatch":
            assert row["state"] == "ok", name
            assert row["rates"][0] > 0
    assert told["insitubatch"]["state"] == "ok" or told["insitubatch"]["state"].startswith("absent: no insitubatch")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_the_benchmark_of_opening_tells_times_and_memory() -> None:
    command = [sys.executable, "-m", "benchmarks.open_large_store", "--samples", "2000", "--epochs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "2000 samples in 32 shards: opened in" in done.stdout
