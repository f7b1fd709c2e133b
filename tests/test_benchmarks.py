"""The benchmark runs, small: a benchmark that does not run proves nothing."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_main_job_s_benchmark_prints_every_row(kaggle: Path) -> None:
    command = [sys.executable, BENCHMARKS / "main_job.py", kaggle / "test", "--rounds", "1", "--reads", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows[0] == "row"
    assert {"PNG decode", "convert lz4hc", "decode lz4hc", "reader lz4hc", "tf.data raw"} <= set(rows)


def test_the_benchmark_of_conversion_prints_every_row(kaggle: Path) -> None:
    command = [sys.executable, BENCHMARKS / "convert.py", kaggle / "test", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"decode imageio", "limit raw", "convert lz4hc", "convert zstd", "zarr loop", "dask_image"} <= set(rows)


def test_the_benchmark_of_copies_prints_every_row(kaggle: Path) -> None:
    command = [sys.executable, BENCHMARKS / "augment.py", kaggle / "test", "--rounds", "1", "--copies", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"limit lz4hc", "augment lz4hc", "limit raw", "augment raw"} <= set(rows)
