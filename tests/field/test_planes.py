"""Axes, names and order of planes, alpha, orientation."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.builders import Hpa, hpa_process
from tests.field.pictures import CHANNELS, assert_planes, draw_plane, draw_stack, save, tint, write_png

NUMBERS = ("--naming", "stack", "--channels", "red=0,green=1,blue=2,yellow=3")
STAINS = ("--naming", "stack", "--channels", "red=TRITC,green=FITC,blue=dapi,yellow=Cy5")
NAMES = {"red": "TRITC", "green": "FITC", "blue": "DAPI", "yellow": "Cy5"}


def _write_ome(path: Path, sample: str, order: str, names: dict[str, str] | None = None) -> None:
    """Write an OME-TIFF of the channels whose first letters are given."""
    channels = [next(name for name in CHANNELS if name.startswith(letter)) for letter in order]
    metadata = {"axes": "CYX", "Channel": {"Name": [names[name] if names else name for name in channels]}}
    save(path, draw_stack(sample, channels), ome=True, metadata=metadata)


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_slices_and_time_points_are_not_channels(tmp_path: Path, hpa: Hpa, axes: str) -> None:
    for sample in "ab":
        save(tmp_path / "train" / f"{sample}.tif", draw_stack(sample), imagej=True, metadata={"axes": axes})
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *NUMBERS)
    assert ended.status in {1, 2}
    assert ("--z" if axes == "ZYX" else "--time") in ended.out + ended.err


def test_planes_are_found_by_the_names_in_their_file(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        _write_ome(tmp_path / "train" / f"{sample}.ome.tif", sample, "brgy"[::-1])
    assert hpa("convert", tmp_path / "train", tmp_path / "s", "--naming", "stack").status == 0
    assert_planes(tmp_path / "s")


def test_planes_are_found_by_names_of_stains(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        _write_ome(tmp_path / "train" / f"{sample}.ome.tif", sample, "bgry", NAMES)
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *STAINS)
    assert ended.status == 0, ended.err
    assert_planes(tmp_path / "s")
    assert "TRITC" in ended.out


def test_labels_of_imagej_slices_are_names(tmp_path: Path, hpa: Hpa) -> None:
    order = ("blue", "green", "red", "yellow")
    labels = [f"c:{number}/4 - {NAMES[channel]}" for number, channel in enumerate(order, start=1)]
    for sample in "ab":
        metadata = {"axes": "CYX", "Labels": labels}
        save(tmp_path / "train" / f"{sample}.tif", draw_stack(sample, order), imagej=True, metadata=metadata)
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *STAINS)
    assert ended.status == 0, ended.out + ended.err
    assert_planes(tmp_path / "s")


def test_a_plane_that_no_file_has_is_refused_even_with_filling(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        _write_ome(tmp_path / "train" / f"{sample}.ome.tif", sample, "bgry", NAMES)
    wrong = ("--naming", "stack", "--channels", "red=TRITC,green=FITC,blue=DAPPI,yellow=Cy5", "--missing", "fill")
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *wrong)
    assert ended.status == 2
    assert "DAPPI" in ended.err
    assert "DAPI" in ended.err.replace("DAPPI", "")
    assert not (tmp_path / "s").exists()


def test_a_number_that_means_another_plane_in_some_files_is_an_error(tmp_path: Path, hpa: Hpa) -> None:
    for sample, order in (("a", "rgby"), ("b", "bgry"), ("c", "rgby")):
        _write_ome(tmp_path / "train" / f"{sample}.ome.tif", sample, order, NAMES)
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *NUMBERS)
    assert ended.status in {1, 2}
    assert "DAPI" in ended.out + ended.err
    assert "TRITC" in ended.out + ended.err


def test_one_plane_is_not_given_to_two_channels(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        _write_ome(tmp_path / "train" / f"{sample}.ome.tif", sample, "rgby")
    words = ("--naming", "stack", "--channels", "red=0,green=1,blue=1,yellow=3")
    assert hpa("convert", tmp_path / "train", tmp_path / "s", *words).status == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_four_planes_that_tifffile_calls_rgb_and_alpha_are_read_by_number(
    tmp_path: Path, hpa: Hpa, dtype: type[np.generic]
) -> None:
    for sample in "ab":
        factor = 1 if dtype is np.uint8 else 257
        pixels = draw_stack(sample).astype(dtype) * dtype(factor)
        kind = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": (1,)}
        save(tmp_path / "train" / f"{sample}.tif", pixels, **kind)
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *NUMBERS)
    assert ended.status == 0, ended.out + ended.err
    assert_planes(tmp_path / "s")


def test_four_planes_of_an_rgba_png_are_read_by_number(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        save(tmp_path / "train" / f"{sample}.png", np.ascontiguousarray(np.moveaxis(draw_stack(sample), 0, 2)))
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *NUMBERS)
    assert ended.status == 0, ended.out + ended.err
    assert_planes(tmp_path / "s")


@pytest.mark.parametrize(("code", "stored"), [(6, 1), (3, 2), (8, 3)])
def test_the_orientation_in_exif_is_applied(tmp_path: Path, hpa: Hpa, code: int, stored: int) -> None:
    for sample in "ab":
        for channel in CHANNELS:
            pixels, exif = tint(draw_plane(sample, channel), channel), Image.Exif()
            if channel == "blue":
                pixels = np.ascontiguousarray(np.rot90(pixels, stored))
                exif[274] = code
            path = tmp_path / "train" / f"{sample}_{channel}.jpg"
            save(path, pixels, quality=97, subsampling=0, exif=exif)
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", "--naming", "hpav18")
    assert ended.status == 0, ended.out + ended.err
    assert_planes(tmp_path / "s", tolerance=4)


def test_the_orientation_of_a_tiff_is_applied(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        for channel in CHANNELS:
            plane = np.ascontiguousarray(np.rot90(draw_plane(sample, channel), 1)) if channel == "red" else None
            tags = [(274, "H", 1, 6, True)] if channel == "red" else []
            pixels = draw_plane(sample, channel) if plane is None else plane
            save(tmp_path / "train" / f"{sample}_{channel}.tif", pixels, extratags=tags)
    assert hpa("convert", tmp_path / "train", tmp_path / "s").status == 0
    assert_planes(tmp_path / "s")


def test_a_color_profile_in_a_gray_png_changes_nothing_and_prints_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    body = b"icc\0\0" + zlib.compress(profile)
    for sample in "ab":
        for channel in CHANNELS:
            write_png(tmp_path / "train" / f"{sample}_{channel}.png", draw_plane(sample, channel), (b"iCCP", body))
    ended = hpa_process("convert", tmp_path / "train", tmp_path / "s")
    assert ended.status == 0
    assert ended.err == ""
    assert_planes(tmp_path / "s", tolerance=0)
