"""Channels and samples that are far too dim are found and told, with what helps."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hpa_data.convert.execute import convert_files
from hpa_data.convert.intensities import find_dim, find_dim_read, measure_levels
from hpa_data.convert.judge import guess_bits
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.errors import Notice
from hpa_data.sources.measure import Highest
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from hpa_data.store.store import open_store

CHANNELS = HPA_2018.channel_names
SMALL = HPA_2018.resized(48, 48)

Make = Callable[[np.ndarray], np.ndarray]


def full(share: np.ndarray) -> np.ndarray:
    return (share * 65535).astype(np.uint16)


def of_bits(bits: int) -> Make:
    return lambda share: (share * (2**bits - 1)).astype(np.uint16)


def write(folder: Path, n: int, make: Make = full, other: Mapping[tuple[int, str], Make] | None = None) -> None:
    """Write samples of bright spots on dark; `other` makes the planes of some."""
    folder.mkdir(exist_ok=True)
    for number in range(n):
        for index, channel in enumerate(CHANNELS):
            share = np.random.default_rng((number, index)).random((48, 48)) ** 4
            share = np.minimum(share, 0.98)
            share[0, 0] = 0.98
            pixels = (other or {}).get((number, channel), make)(share)
            tifffile.imwrite(folder / f"s{number:02}_{channel}.tif", pixels)


def convert(folder: Path, options: ImportOptions | None = None) -> tuple[Notice, ...]:
    plan = plan_conversion(folder / "files", folder / "store", dataset=SMALL, settings=options)
    convert_files(plan)
    part = open_store(plan.part.path).part("train")
    told = find_dim(part, plan.samples, plan.settings, plan.dataset)
    read = [measure_levels(files, read_sample(files, plan.settings, plan.dataset)) for files in plan.samples]
    before = find_dim_read(read, plan.settings, plan.dataset)
    assert [(notice.what, notice.n, notice.examples) for notice in before] == [
        (notice.what, notice.n, notice.examples) for notice in told
    ]
    assert not any("--overwrite" in notice.remedy for notice in before)
    return told


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("n", [1, 40])
def test_images_of_fewer_bits_than_their_files_are_told_with_the_bits(tmp_path: Path, bits: int, n: int) -> None:
    write(tmp_path / "files", n, of_bits(bits))
    (notice,) = convert(tmp_path)
    highest = int(0.98 * (2**bits - 1))
    assert f"channels red, green, blue, yellow have less than 1/{8 if bits < 14 else 4} of the range" in notice.what
    assert notice.what.endswith(f"(highest value {highest} of 65535: perhaps {bits}-bit images)")
    assert notice.n == min(n, 32)
    assert notice.remedy == f"Convert again with --overwrite and --intensity bits={bits}."


def test_the_remedy_helps(tmp_path: Path) -> None:
    write(tmp_path / "files", 3, of_bits(12))
    assert convert(tmp_path, ImportOptions(intensity="bits=12")) == ()


def test_images_that_use_their_range_are_not_told(tmp_path: Path) -> None:
    write(tmp_path / "files", 20)
    assert convert(tmp_path) == ()


def test_one_channel_of_fewer_bits_is_told_with_a_scaling_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "files", 5, other={(number, "green"): of_bits(12) for number in range(5)})
    (notice,) = convert(tmp_path)
    assert notice.what.startswith("channel green has less than 1/8 of the range in the samples looked at")
    assert notice.remedy == "Convert again with --overwrite and --intensity green=bits=12."


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_one_dim_sample_among_good_ones_is_told(tmp_path: Path, bits: int) -> None:
    write(tmp_path / "files", 20, other={(7, channel): of_bits(bits) for channel in CHANNELS})
    (notice,) = convert(tmp_path)
    assert notice.what.startswith("far dimmer than the others of the part in all its channels (highest value")
    assert (notice.n, notice.examples) == (1, ("s07",))
    assert f"with --intensity bits={bits}" in notice.remedy


def test_one_dim_channel_of_a_sample_is_told(tmp_path: Path) -> None:
    write(tmp_path / "files", 20, other={(3, "blue"): of_bits(12)})
    (notice,) = convert(tmp_path)
    assert notice.what.startswith("far dimmer than the others of the part in channel blue")
    assert (notice.n, notice.examples) == (1, ("s03",))


def test_many_dim_samples_among_good_ones_are_counted(tmp_path: Path) -> None:
    dim = [number for number in range(20) if number % 3]
    write(tmp_path / "files", 20, other={(n, channel): of_bits(12) for n in dim for channel in CHANNELS})
    (notice,) = convert(tmp_path)
    assert notice.n == len(dim)
    assert "bits=12" in notice.remedy


def test_dim_images_of_8_bits_are_told_and_there_are_no_bits_to_blame(tmp_path: Path) -> None:
    write(tmp_path / "files", 4, lambda share: (share * 25).astype(np.uint8))
    (notice,) = convert(tmp_path)
    assert notice.what.endswith("(highest value 24 of 255)")
    assert notice.remedy == "Convert again with --overwrite and --intensity dataset-percentile."


def test_a_black_channel_is_told_and_one_that_is_filled_is_not(tmp_path: Path) -> None:
    write(tmp_path / "files", 4, other={(number, "red"): lambda share: full(share * 0) for number in range(4)})
    for path in (tmp_path / "files").glob("*_yellow.tif"):
        path.unlink()
    (notice,) = convert(tmp_path, ImportOptions(missing="fill"))
    assert notice.what.startswith("channel red has less than 1/8 of the range")
    assert notice.what.endswith(", every pixel of it black")


def test_a_window_that_is_far_too_wide_is_told(tmp_path: Path) -> None:
    write(tmp_path / "files", 4, of_bits(12))
    (notice,) = convert(tmp_path, ImportOptions(intensity="window=0:60000"))
    assert "--intensity dataset-percentile" in notice.remedy


def test_a_channel_that_is_nearly_white_is_told(tmp_path: Path) -> None:
    write(tmp_path / "files", 4, lambda share: full(share * 0.5 + 0.4))
    (notice,) = convert(tmp_path, ImportOptions(intensities={"green": "window=100:9000"}))
    assert notice.what == "channel green is nearly white: its mean is 255 of 255"
    assert "green=dataset-percentile" in notice.remedy


def test_bits_are_guessed_only_where_the_files_have_many_more() -> None:
    assert [guess_bits(Highest(value, 65535)) for value in (200, 1000, 4095, 16383, 16384)] == [8, 10, 12, 14, None]
    assert guess_bits(Highest(0.05, 1)) is None
    assert guess_bits(Highest(4015, 4095)) is None
    assert [guess_bits(Highest(value, 2**32 - 1)) for value in (4015, 64250, 10**6)] == [12, 16, None]


@pytest.mark.realdata
def test_good_images_are_not_told(real_data: Path, tmp_path: Path) -> None:
    plan = plan_conversion(real_data / "kaggle" / "train", tmp_path / "store")
    convert_files(plan)
    part = open_store(plan.part.path).part("train")
    assert find_dim(part, plan.samples, plan.settings, plan.dataset) == ()
