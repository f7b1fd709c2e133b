"""Which sample and channel a file holds, by its name."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import get_args

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import FILLED, HPA_2018, OK
from hpa_data.errors import InputError
from hpa_data.sources.naming import find_samples, missing_channels, parse_channels
from hpa_data.sources.options import ImportOptions, Naming
from hpa_data.sources.samples import read_sample
from hpa_data.sources.schemes import NAMING_SCHEMES
from hpa_data.store.store import open_store
from tests.builders import convert, draw_image, write_sample, write_table
from tests.data.sources.encoded import write_hpav18

HPAV18 = ImportOptions(source="hpav18")


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_hpav18_samples_are_found_nested_and_flat(tmp_path: Path, extension: str) -> None:
    image = draw_image(0)
    write_hpav18(tmp_path / "nested" / "30741", "si27_A6_1_cr12", image, extension=extension)
    write_hpav18(tmp_path / "flat", "30741_si27_A6_1_cr12", image, extension=extension)
    for folder in ("nested", "flat"):
        (sample,) = find_samples(tmp_path / folder, HPAV18)
        assert sample.id == "30741_si27_A6_1_cr12"
        read = read_sample(sample, HPAV18)
        assert (read.status, read.note) == (OK, "")
        assert np.abs(read.image.astype(int) - image).mean() < 2  # JPEG's own losses


def test_a_color_under_a_wrong_name_is_noted(tmp_path: Path) -> None:
    write_hpav18(tmp_path / "1", "p_A1_1", draw_image(0))
    write_hpav18(tmp_path / "1", "p_A1_2", draw_image(1))
    red, blue = (tmp_path / "1" / f"p_A1_1_{color}.jpg" for color in ("red", "blue"))
    red.rename(tmp_path / "x")
    blue.rename(red)
    (tmp_path / "x").rename(blue)
    done = convert(tmp_path, tmp_path / "a.zarr", settings=HPAV18)
    assert done.n_ok == 2
    assert len(done.warnings) == 1
    assert "1/p_A1_1_red.jpg: another colour than red is stronger; 1/p_A1_1_blue.jpg: another" in done.warnings[0]


def test_a_color_under_a_wrong_name_is_noted_for_filled_samples_too(tmp_path: Path) -> None:
    write_hpav18(tmp_path / "1", "p_A1_1", draw_image(0))
    red, blue = (tmp_path / "1" / f"p_A1_1_{color}.jpg" for color in ("red", "blue"))
    red.write_bytes(blue.read_bytes())
    (tmp_path / "1" / "p_A1_1_yellow.jpg").unlink()
    done = convert(tmp_path, tmp_path / "a.zarr", settings=ImportOptions(source="hpav18", missing="fill"))
    assert (done.n_filled, len(done.warnings)) == (1, 1)


def test_a_stack_without_a_channel_is_filled_on_request(tmp_path: Path) -> None:
    stack = np.full((3, 512, 512), 7, np.uint8)
    tifffile.imwrite(tmp_path / "s1.tif", stack, photometric="minisblack")
    for missing, status in (("fill", [FILLED]), ("fail", [2])):
        channels = parse_channels("red=0,green=1,blue=2,yellow=3")
        settings = ImportOptions(source="stack", channels=channels, missing=missing)
        convert(tmp_path, tmp_path / f"{missing}.zarr", settings=settings)
        assert open_store(tmp_path / f"{missing}.zarr").part("train").read_status().tolist() == status
    assert open_store(tmp_path / "fill.zarr").reader().read([0])[0, 0, 0].tolist() == [7, 7, 7, 0]


def test_a_folder_name_that_is_not_utf_8_fails_no_more_than_its_samples(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system allows only UTF-8 names")
    write_hpav18(tmp_path / "1", "p_A1_1", draw_image(0))
    (folder / "b_red.jpg").write_bytes(b"x")
    done = convert(tmp_path, tmp_path / "a.zarr", settings=HPAV18)
    assert (done.n_ok, [failure.id for failure in done.failures]) == (1, ["b"])


def test_planes_of_a_stack_are_found_by_index_or_by_the_names_in_the_file(tmp_path: Path) -> None:
    stack = np.stack([np.full((600, 600), 257 * value, np.uint16) for value in range(7)])
    names = ["g", "b", "r", "y", "e", "f", "h"]
    tifffile.imwrite(tmp_path / "s1.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": names}})
    for text in ("red=2,green=0,blue=1,yellow=3", "red=R,green=g,blue=B,yellow=y"):
        settings = ImportOptions(source="stack", channels=parse_channels(text))
        (sample,) = find_samples(tmp_path, settings)
        assert sample.id == "s1"
        assert read_sample(sample, settings).image[0, 0].tolist() == [2, 0, 1, 3]
    unnamed = ImportOptions(source="stack")
    with pytest.raises(
        InputError, match=r"Cannot find channel 'red' in s1\.ome\.tif, which has 7 planes: g, b, .*Pass --channels"
    ):
        read_sample(find_samples(tmp_path, unnamed)[0], unnamed)
    for key, plane in (("7", "7"), ("DAPI", "'DAPI'")):
        wrong = ImportOptions(source="stack", channels=parse_channels(f"red=2,green=0,yellow=3,blue={key}"))
        with pytest.raises(InputError, match=f"Cannot find plane {plane}, channel 'blue', in s1.*, which has 7 planes"):
            read_sample(find_samples(tmp_path, wrong)[0], wrong)


def test_a_color_composite_lacks_yellow(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "30741"
    folder.mkdir(parents=True)
    Image.fromarray(draw_image(0)[..., :3]).save(folder / "800_A6_1_blue_red_green.png")
    fill = ImportOptions(source="stack", missing="fill")
    (sample,) = find_samples(tmp_path / "source", fill)
    assert (sample.id, missing_channels(sample, HPA_2018)) == ("30741_800_A6_1", ["yellow"])
    read = read_sample(sample, fill)
    assert read.status == FILLED
    assert (read.image[..., :3] == draw_image(0)[..., :3]).all()
    assert not read.image[..., 3].any()


def test_a_missing_channel_fails_is_filled_or_skipped(kaggle: Path, tmp_path: Path) -> None:
    for index in range(3):
        write_sample(tmp_path / "source", f"s{index}", draw_image(index))
    (tmp_path / "source" / "s1_yellow.png").unlink()
    table = write_table(tmp_path / "t.csv", {"s1": "1", "s0": "0", "s2": "2"})
    found = {}
    for missing in ("fail", "fill", "skip"):
        settings = ImportOptions(missing=missing)
        done = convert(tmp_path / "source", tmp_path / missing, labels=table, settings=settings)
        part = open_store(tmp_path / missing).part("train")
        found[missing] = (part.ids, part.read_status().tolist(), done.skipped, len(done.failures), done.n_filled)
    assert found == {
        "fail": (["s1", "s0", "s2"], [2, 1, 1], (), 1, 0),
        "fill": (["s1", "s0", "s2"], [3, 1, 1], (), 0, 1),
        "skip": (["s0", "s2"], [1, 1], ("s1",), 0, 0),
    }
    images = open_store(tmp_path / "fill").reader().read([0])
    assert (images[0, ..., :3] == draw_image(1)[..., :3]).all()
    assert not images[0, ..., 3].any()


def test_a_part_without_samples_after_skipping_is_refused(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a_red.png", np.zeros((512, 512), np.uint8))
    with pytest.raises(InputError, match="each of its 1 samples lacks a channel"):
        plan_conversion(tmp_path, tmp_path / "a.zarr", settings=ImportOptions(missing="skip"))


def test_metadata_that_macos_leaves_beside_files_is_skipped(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    (tmp_path / "._a_red.png").write_bytes(b"x")
    assert [sample.id for sample in find_samples(tmp_path)] == ["a"]


def test_unusual_names_are_ids(tmp_path: Path) -> None:
    names = ["a\nb", "x..", "c:d", "-f", "'; drop", "\t"]
    for name in names:
        write_sample(tmp_path / "source", name, draw_image(0))
    done = convert(tmp_path / "source", tmp_path / "a.zarr")
    assert done.n_ok == len(names)
    assert open_store(tmp_path / "a.zarr").part("train").ids == sorted(names)


@pytest.mark.parametrize("text", ["", "red", "red=", "red=1,red=2"])
def test_channels_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="channels must be a list like red=2"):
        parse_channels(text)


@pytest.mark.realdata
def test_the_four_real_sources_give_one_store_with_the_right_pixels(real_data: Path, tmp_path: Path) -> None:
    """Against Pillow, tifffile and the mean of blocks."""
    path = tmp_path / "a.zarr"
    convert(real_data / "kaggle" / "train", path, labels=real_data / "kaggle" / "train.csv")
    convert(real_data / "fullsize" / "train", path, labels=real_data / "fullsize" / "train.csv", part="full")
    convert(real_data / "external", path, labels=real_data / "external" / "external.csv", part="ext", settings=HPAV18)
    convert(real_data / "tiff", path, part="tiff", settings=ImportOptions(missing="fill"))
    store = open_store(path)
    assert store.parts() == ["ext", "full", "tiff", "train"]
    assert [store.part(name).count_readable() for name in store.parts()] == [1, 2, 1, 60]

    def average(pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(512, 4, 512, 4).mean(axis=(1, 3))

    for row, name in enumerate(store.part("full").ids):
        image = store.reader(["full"]).read([row])[0]
        for index, channel in enumerate(HPA_2018.channel_names):
            pixels = np.asarray(Image.open(real_data / "fullsize" / "train" / f"{name}_{channel}.png"))
            assert (image[..., index] == np.rint(average(pixels))).all()
    image = store.reader(["ext"]).read([0])[0]
    for index, channel in enumerate(HPA_2018.channel_names):
        pixels = np.asarray(Image.open(real_data / "external" / "30741" / f"800_A6_1_{channel}.jpg")).astype(float)
        expected = pixels[..., :2].mean(axis=-1) if channel == "yellow" else pixels[..., index]
        assert (image[..., index] == np.rint(average(expected))).all()
    assert store.part("ext").ids == ["30741_800_A6_1"]
    blue = average(tifffile.imread(real_data / "tiff" / "383_D2_1_blue.tif"))
    image = store.reader(["tiff"]).read([0])[0]
    assert (image[..., 2] == np.rint(blue / 257)).all()
    assert not image[..., [0, 1, 3]].any()


@pytest.mark.parametrize("extension", ["bmp", "gif", "pgm", "webp", "jp2"])
def test_planes_in_other_formats_are_found_and_give_the_same_pixels(tmp_path: Path, extension: str) -> None:
    image = draw_image(0)
    for index, channel in enumerate(HPA_2018.channel_names):
        options = {"lossless": True} if extension == "webp" else {}
        Image.fromarray(image[..., index]).save(tmp_path / f"a_{channel}.{extension}", **options)
    (sample,) = find_samples(tmp_path)
    assert (read_sample(sample).image == image).all()


def test_samples_are_pickled_with_their_extract_functions(tmp_path: Path) -> None:
    """As worker processes receive them."""
    write_hpav18(tmp_path / "1", "p_A1_1", draw_image(0))
    Image.fromarray(draw_image(0)[..., :3]).save(tmp_path / "b.png")
    for options in (HPAV18, ImportOptions(source="stack", channels={"red": 0})):
        (sample,) = find_samples(tmp_path, options)
        copy = pickle.loads(pickle.dumps(sample))
        fill = replace(options, missing="fill")
        assert (read_sample(copy, fill).image == read_sample(sample, fill).image).all()


def test_every_naming_scheme_is_offered_and_only_hpav18_has_fold_groups() -> None:
    assert tuple(NAMING_SCHEMES) == get_args(Naming)
    groups = {name: scheme.fold_group for name, scheme in NAMING_SCHEMES.items() if scheme.fold_group}
    assert list(groups) == ["hpav18"]
    antibody = groups["hpav18"]
    assert (antibody.name, antibody.find("30741_800_A6_1")) == ("antibody", "30741")
    assert [antibody.matches(name) for name in ("30741_800_A6_1", "00070df0-bbc3", "a_1")] == [True, False, False]


def test_samples_are_sorted_and_other_files_skipped(tmp_path: Path) -> None:
    for name in ("b", "a_1", "ä ö"):
        write_sample(tmp_path, name, draw_image(0))
    for name in ("notes.txt", "_red.png", "c_green.txt", "d_violet.png"):
        (tmp_path / name).touch()
    (tmp_path / "sub_red").mkdir()
    assert [sample.id for sample in find_samples(tmp_path)] == ["a_1", "b", "ä ö"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder of images"):
        find_samples(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold files named"):
        find_samples(tmp_path)


def test_a_folder_of_files_in_other_formats_is_refused_with_them(tmp_path: Path) -> None:
    for name in ("a.czi", "b.czi", "a.nd2", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"Its 3 files are of other formats \(.czi, .nd2\): export the images as TIFF"):
        find_samples(tmp_path)


def test_a_channel_that_the_data_set_does_not_have_is_refused(tmp_path: Path) -> None:
    options = ImportOptions(source="stack", channels={"violet": 0})
    with pytest.raises(InputError, match="channels must name some of red, .*Received: violet"):
        find_samples(tmp_path, options)
