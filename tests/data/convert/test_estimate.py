"""What a conversion would do is estimated, and nothing is written for it."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from hpa_data.convert.estimate import estimate_conversion
from hpa_data.convert.plan import plan_conversion
from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from hpa_data.system.executor import Parallelism
from tests.builders import convert, draw_image, write_sample


def test_an_estimate_agrees_with_the_conversion(kaggle: Path, tmp_path: Path) -> None:
    plan = plan_conversion(kaggle / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv")
    estimate = estimate_conversion(plan, n_sampled=4)
    assert not (tmp_path / "a.zarr").exists()
    assert (estimate.n_samples, estimate.n_pending, estimate.n_sampled) == (12, 12, 4)
    assert estimate.formats == {"PNG 512 x 512, 8 bit, 1 plane": 4}
    done = convert(kaggle / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv")
    assert abs(estimate.n_bytes - done.n_bytes) <= 2 * estimate.error_bytes + 12 * 64
    again = estimate_conversion(plan)
    assert (again.n_pending, again.n_bytes, again.seconds) == (0, 0, 0)


def test_reading_every_sample_leaves_no_error_and_reading_one_says_nothing(kaggle: Path, tmp_path: Path) -> None:
    plan = plan_conversion(kaggle / "train", tmp_path / "a.zarr")
    assert estimate_conversion(plan).error_bytes == 0
    estimate = estimate_conversion(plan, n_sampled=1)
    assert estimate.error_bytes > estimate.n_bytes


def test_samples_that_would_fail_are_listed(tmp_path: Path) -> None:
    for index in range(3):
        write_sample(tmp_path / "source", f"s{index}", draw_image(index))
    (tmp_path / "source" / "s1_red.png").write_bytes(b"x")
    (tmp_path / "source" / "s2_red.png").unlink()
    estimate = estimate_conversion(plan_conversion(tmp_path / "source", tmp_path / "a.zarr"))
    assert [failure.id for failure in estimate.failures] == ["s1", "s2"]
    assert estimate.n_missing_channel == 1
    assert estimate.formats["not readable"] == 1


def test_the_memory_bound_grows_with_the_threads(kaggle: Path, tmp_path: Path) -> None:
    plan = plan_conversion(kaggle / "test", tmp_path / "a.zarr")
    one, many = (estimate_conversion(plan, workers=Parallelism(threads=n)).memory_bytes for n in (1, 8))
    assert one < many < 8 * one


def test_a_disk_that_cannot_hold_the_part_is_refused(
    kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system is asked for the free space: no small disk exists here (see tests/slow/test_kill_conversion.py)."""
    usage = namedtuple("usage", ["free"])
    n_bytes = estimate_conversion(plan_conversion(kaggle / "test", tmp_path / "a.zarr")).n_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=n_bytes - 1000))
    with pytest.raises(InputError, match=r"Cannot write part 'train': it takes about .* MB free"):
        convert(kaggle / "test", tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=n_bytes + 1000))
    convert(kaggle / "test", tmp_path / "a.zarr")
    # A part that is deleted first counts as free.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=1000))
    convert(kaggle / "test", tmp_path / "a.zarr", overwrite=True)
    assert open_store(tmp_path / "a.zarr").part("train").count_readable() == 3
