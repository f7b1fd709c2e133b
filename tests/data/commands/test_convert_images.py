"""`hpa convert` with files of any size and depth: what is stored, and what helps where it is not certain."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hpa_data.dataset import HPA_2018
from hpa_data.store.store import open_store
from tests.builders import Hpa

CHANNELS = HPA_2018.channel_names


def write(folder: Path, shape: tuple[int, int], *, n: int = 3, top: int = 255, dtype: type = np.uint8) -> np.ndarray:
    """Write samples; return their images, (N, Y, X, C)."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    images = np.array(rng.random((n, *shape, 4)) * (top + 1), dtype)
    for number, image in enumerate(images):
        for index, channel in enumerate(CHANNELS):
            tifffile.imwrite(folder / f"s{number}_{channel}.tif", image[..., index])
    return images


def read(store: Path) -> np.ndarray:
    part = open_store(store).part("train")
    with open_store(store).reader() as reader:
        return reader.read(np.arange(part.layout.n_samples))


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        ("--image-size 150 --fit pad", (150, 150)),
        ("--image-size 150 --fit crop", (150, 150)),
        ("--image-size 150 --fit stretch", (150, 150)),
        ("--image-size 150x100", (150, 100)),
        ("--image-size 300x200", (300, 200)),
        ("--image-size native", (300, 200)),
        ("--image-size 600x400 --upscale", (600, 400)),
        ("--image-size 400 --fit pad", (400, 400)),
    ],
)
def test_planes_of_300_by_200_become_any_size(tmp_path: Path, hpa: Hpa, words: str, shape: tuple[int, int]) -> None:
    pixels = write(tmp_path / "files", (300, 200))
    ended = hpa("convert", tmp_path / "files", tmp_path / "a.zarr", *words.split())
    assert ended.status == 0, ended.err + ended.out
    images = read(tmp_path / "a.zarr")
    assert images.shape == (3, *shape, 4)
    if shape == (300, 200):
        assert (images == pixels).all()
    if shape == (400, 400):
        assert (images[:, 50:350, 100:300] == pixels).all()
    if shape == (150, 100):
        assert np.abs(images - pixels.reshape(3, 150, 2, 100, 2, 4).mean(axis=(2, 4))).max() < 0.501


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "",
            "not the aspect ratio of the images, 512 x 512. Pass --fit pad (black borders), --fit crop (edges cut off)",
        ),
        ("--fit crop", "fewer than the images, 512 x 512. Pass --upscale to enlarge it, --fit pad"),
        ("--image-size 600x400", "fewer than the images, 600 x 400. Pass --upscale"),
    ],
)
def test_planes_that_do_not_fit_fail_with_the_options_that_help(
    tmp_path: Path, hpa: Hpa, words: str, message: str
) -> None:
    write(tmp_path / "files", (300, 200))
    ended = hpa("convert", tmp_path / "files", tmp_path / "a.zarr", *words.split())
    assert ended.status == 1
    assert message in ended.out


def test_a_file_of_another_size_than_the_others_fails_with_the_native_size(tmp_path: Path, hpa: Hpa) -> None:
    write(tmp_path / "files", (64, 64), n=5)
    for channel in CHANNELS:
        tifffile.imwrite(tmp_path / "files" / f"s0_{channel}.tif", np.zeros((60, 70), np.uint8))
    ended = hpa("convert", tmp_path / "files", tmp_path / "a.zarr", "--image-size", "native")
    assert ended.status == 1
    assert "part train: 4 of 5 samples ok" in ended.out
    assert "s0_red.tif: it has 60 x 70 pixels" in ended.out
    assert "must have the size of the images, 64 x 64" in ended.out
    assert open_store(tmp_path / "a.zarr").part("train").layout.image_shape == (64, 64, 4)
    # The size is kept, whatever becomes of the files.
    for path in (tmp_path / "files").glob("s[1-4]_*.tif"):
        tifffile.imwrite(path, np.zeros((60, 70), np.uint8))
    assert "4 of 5 samples ok" in hpa("convert", tmp_path / "files", tmp_path / "a.zarr", "--image-size", "native").out


def test_bits_and_windows_of_single_channels(tmp_path: Path, hpa: Hpa) -> None:
    pixels = write(tmp_path / "files", (64, 64), top=4095, dtype=np.uint16).astype(np.float64)
    words = "--image-size native --intensity bits=12 --intensity green=window=200:4000 --intensity blue=minmax"
    ended = hpa("convert", tmp_path / "files", tmp_path / "a.zarr", *words.split())
    assert ended.status == 0, ended.err + ended.out
    images = read(tmp_path / "a.zarr")
    blue = pixels[..., 2]
    low, high = (getattr(blue, name)(axis=(1, 2), keepdims=True) for name in ("min", "max"))
    for index, wanted in (
        (0, pixels[..., 0] * 255 / 4095),
        (1, (pixels[..., 1] - 200) * 255 / 3800),
        (2, (blue - low) * 255 / (high - low)),
        (3, pixels[..., 3] * 255 / 4095),
    ):
        assert np.abs(images[..., index] - wanted.clip(0, 255)).max() < 0.501


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--intensity bits=12 --intensity full", "intensity must be given once for all channels. Received: intensity="),
        ("--intensity grn=full", "a channel of the data set: red, green, blue, yellow. Received: intensity='grn=full'"),
        ("--intensity percentile=5", "two percentiles from 0 to 100"),
        ("--image-size 10,20", "image_size must be a number, two numbers with x between them, or native"),
        ("--image-size native --upscale", "native must not be combined with fit or upscale"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, hpa: Hpa, words: str, message: str) -> None:
    write(tmp_path / "files", (64, 64), n=1)
    ended = hpa("convert", tmp_path / "files", tmp_path / "a.zarr", *words.split())
    assert ended.status == 2
    assert message in ended.err
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_12_bit_images_are_told_with_the_option_that_helps(tmp_path: Path, hpa: Hpa, dry_run: bool) -> None:
    write(tmp_path / "files", (64, 64), top=4095, dtype=np.uint16)
    words = ["convert", tmp_path / "files", tmp_path / "a.zarr", "--image-size", "64"]
    ended = hpa(*words, *["--dry-run"] * dry_run)
    assert ended.status == 0, ended.err
    assert "Warning: channels red, green, blue, yellow have less than 1/8 of the range" in ended.out
    assert (
        f"of 65535: perhaps 12-bit images), 3 samples, for example s0. {'Pass' if dry_run else 'Convert'}" in ended.out
    )
    assert "Warning" not in hpa(*words, "--overwrite", "--intensity", "bits=12").out


def test_the_windows_that_were_measured_are_shown(tmp_path: Path, hpa: Hpa) -> None:
    write(tmp_path / "files", (64, 64), top=4095, dtype=np.uint16)
    words = "--image-size native --intensity dataset-percentile=0,100"
    ended = hpa("convert", tmp_path / "files", tmp_path / "a.zarr", *words.split())
    assert "dataset-percentile=0,100 (0 to 4095)" in ended.out


def test_planes_of_floating_point_numbers_are_read_from_0_to_1_and_else_refused(tmp_path: Path, hpa: Hpa) -> None:
    pixels = write(tmp_path / "ones", (64, 64), top=0, dtype=np.float32)
    ended = hpa("convert", tmp_path / "ones", tmp_path / "a.zarr", "--image-size", "64")
    assert ended.status == 0, ended.out
    assert np.abs(read(tmp_path / "a.zarr") - pixels * 255).max() < 0.501
    write(tmp_path / "more", (64, 64), top=4000, dtype=np.float32)
    ended = hpa("convert", tmp_path / "more", tmp_path / "b.zarr", "--image-size", "64")
    assert ended.status == 1
    assert "only 0 to 1 has a meaning of its own. Pass --intensity bits=12, or minmax or percentile." in ended.out
