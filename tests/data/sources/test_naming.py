"""The forms in which samples come, in folders and in archives."""

import os
import zipfile
from pathlib import Path

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import CHANNELS, FILLED, OK
from hpa_data.errors import InputError
from hpa_data.sources.naming import find_samples, missing_channels, parse_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from hpa_data.store.store import open_store
from tests.builders import convert, draw_image, write_sample, write_table

EXTERNAL = ImportOptions(source="hpav18")


def write_external(folder: Path, stem: str, image: np.ndarray, *, extension: str = ".jpg") -> None:
    """Write planes as HPAv18 has them: the signal in one colour, for yellow in red and green."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, channel in enumerate(CHANNELS):
        colours = np.zeros((*image.shape[:2], 3), np.uint8)
        for colour in {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}[channel]:
            colours[..., colour] = image[..., place]
        content = imagecodecs.jpeg8_encode(colours, level=100)
        (folder / f"{stem}_{channel}{extension}").write_bytes(content)


def pack(folder: Path, archive: Path, *, inside: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, f"{inside}{path.name}")
    return archive


def test_a_zip_archive_reads_as_its_folder_does(kaggle: Path, tmp_path: Path) -> None:
    archive = pack(kaggle / "test", tmp_path / "test.zip")
    plain, packed = find_samples(kaggle / "test"), find_samples(archive)
    assert [sample.id for sample in plain] == [sample.id for sample in packed]
    for one, other in zip(plain, packed, strict=True):
        assert (read_sample(one).image == read_sample(other).image).all()


def test_a_folder_inside_an_archive_is_named_by_its_path(kaggle: Path, tmp_path: Path) -> None:
    archive = pack(kaggle / "test", tmp_path / "all.zip", inside="human/test/")
    assert len(find_samples(archive / "human" / "test")) == 3
    with pytest.raises(InputError, match=r"without any\. Pass the folder that does: .*all\.zip/human/test"):
        find_samples(archive)


def test_an_archive_whose_names_lead_out_of_it_costs_those_samples(kaggle: Path, tmp_path: Path) -> None:
    archive = pack(kaggle / "test", tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("../../evil_red.png", "/etc/worse_red.png"):
            file.writestr(name, b"x")
    done = convert(archive, tmp_path / "a.zarr")
    assert [failure.id for failure in done.failures] == ["evil", "worse"]
    assert all("leads out of the archive" in failure.reason for failure in done.failures)
    assert done.n_ok == 3


def test_members_packed_by_other_methods_cost_their_samples(kaggle: Path, tmp_path: Path) -> None:
    """bzip2 and LZMA unpack without a bound in Python's zipfile."""
    archive = pack(kaggle / "test", tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_LZMA) as file:
        file.writestr("bomb_red.png", bytes(10_000_000))
    (bomb,) = [sample for sample in find_samples(archive) if sample.id == "bomb"]
    with pytest.raises(InputError, match="packed by a method whose memory has no bound"):
        read_sample(bomb._replace(planes=bomb.planes[:1] * 4))


def test_a_damaged_archive_is_refused_and_a_damaged_member_costs_its_sample(kaggle: Path, tmp_path: Path) -> None:
    archive = pack(kaggle / "test", tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    content[5000] ^= 0xFF  # in the first member
    archive.write_bytes(content)
    done = convert(archive, tmp_path / "a.zarr")
    assert [(failure.id, failure.file) for failure in done.failures] == [("new-0", "new-0_blue.png")]
    archive.write_bytes(content[:-100])
    with pytest.raises(InputError, match="a file, but no whole archive"):
        find_samples(archive)


def test_links_that_loop_are_walked_once_and_fail_as_files(tmp_path: Path) -> None:
    write_external(tmp_path / "1", "p_A1_1", draw_image(0))
    (tmp_path / "1" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "1" / "p_A1_2_red.jpg").symlink_to("p_A1_2_red.jpg")
    whole, looping = find_samples(tmp_path, EXTERNAL)
    assert (whole.id, missing_channels(whole)) == ("1_p_A1_1", [])
    with pytest.raises(InputError, match=r"symbolic links"):
        read_sample(looping._replace(planes=looping.planes[:1] * 4), EXTERNAL)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_external_samples_are_found_nested_and_flat(tmp_path: Path, extension: str) -> None:
    image = draw_image(0)
    write_external(tmp_path / "nested" / "30741", "si27_A6_1_cr12", image, extension=extension)
    write_external(tmp_path / "flat", "30741_si27_A6_1_cr12", image, extension=extension)
    for folder in ("nested", "flat"):
        (sample,) = find_samples(tmp_path / folder, EXTERNAL)
        assert sample.id == "30741_si27_A6_1_cr12"
        read = read_sample(sample, EXTERNAL)
        assert (read.status, read.note) == (OK, "")
        assert np.abs(read.image.astype(int) - image).mean() < 2  # JPEG's own losses


def test_a_colour_under_a_wrong_name_is_told(tmp_path: Path) -> None:
    write_external(tmp_path / "1", "p_A1_1", draw_image(0))
    write_external(tmp_path / "1", "p_A1_2", draw_image(1))
    red, blue = (tmp_path / "1" / f"p_A1_1_{colour}.jpg" for colour in ("red", "blue"))
    red.rename(tmp_path / "x")
    blue.rename(red)
    (tmp_path / "x").rename(blue)
    done = convert(tmp_path, tmp_path / "a.zarr", settings=EXTERNAL)
    assert done.n_ok == 2
    assert len(done.warnings) == 1
    assert "1/p_A1_1_red.jpg: another colour than red is stronger; 1/p_A1_1_blue.jpg: another" in done.warnings[0]


def test_a_colour_under_a_wrong_name_is_told_of_filled_samples_too(tmp_path: Path) -> None:
    write_external(tmp_path / "1", "p_A1_1", draw_image(0))
    red, blue = (tmp_path / "1" / f"p_A1_1_{colour}.jpg" for colour in ("red", "blue"))
    red.write_bytes(blue.read_bytes())
    (tmp_path / "1" / "p_A1_1_yellow.jpg").unlink()
    done = convert(tmp_path, tmp_path / "a.zarr", settings=ImportOptions(source="hpav18", missing="fill"))
    assert (done.n_filled, len(done.warnings)) == (1, 1)


def test_a_stack_without_a_channel_is_filled_if_told(tmp_path: Path) -> None:
    stack = np.full((3, 512, 512), 7, np.uint8)
    tifffile.imwrite(tmp_path / "s1.tif", stack, photometric="minisblack")
    for missing, status in (("fill", [FILLED]), ("fail", [2])):
        channels = parse_channels("red=0,green=1,blue=2,yellow=3")
        settings = ImportOptions(source="stack", channels=channels, missing=missing)
        convert(tmp_path, tmp_path / f"{missing}.zarr", settings=settings)
        assert open_store(tmp_path / f"{missing}.zarr").part("train").read_status().tolist() == status
    assert open_store(tmp_path / "fill.zarr").reader().read([0])[0, 0, 0].tolist() == [7, 7, 7, 0]


def test_a_folder_name_that_is_no_text_costs_no_more_than_its_samples(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    write_external(tmp_path / "1", "p_A1_1", draw_image(0))
    (folder / "b_red.jpg").write_bytes(b"x")
    done = convert(tmp_path, tmp_path / "a.zarr", settings=EXTERNAL)
    assert (done.n_ok, [failure.id for failure in done.failures]) == (1, ["b"])


def test_a_stack_goes_by_number_or_by_the_file_s_names(tmp_path: Path) -> None:
    stack = np.stack([np.full((600, 600), 257 * value, np.uint16) for value in range(7)])
    names = ["g", "b", "r", "y", "e", "f", "h"]
    tifffile.imwrite(tmp_path / "s1.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": names}})
    for text in ("red=2,green=0,blue=1,yellow=3", "red=R,green=g,blue=B,yellow=y"):
        settings = ImportOptions(source="stack", channels=parse_channels(text))
        (sample,) = find_samples(tmp_path, settings)
        assert sample.id == "s1"
        assert read_sample(sample, settings).image[0, 0].tolist() == [2, 0, 1, 3]
    unnamed = ImportOptions(source="stack")
    with pytest.raises(InputError, match=r"'red' of s1\.ome\.tif, which has 7: g, b, .*Pass --channels"):
        read_sample(find_samples(tmp_path, unnamed)[0], unnamed)


def test_a_colour_composite_lacks_yellow(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "30741"
    folder.mkdir(parents=True)
    Image.fromarray(draw_image(0)[..., :3]).save(folder / "800_A6_1_blue_red_green.png")
    fill = ImportOptions(source="stack", missing="fill")
    (sample,) = find_samples(tmp_path / "source", fill)
    assert (sample.id, missing_channels(sample)) == ("30741_800_A6_1", ["yellow"])
    read = read_sample(sample, fill)
    assert read.status == FILLED
    assert (read.image[..., :3] == draw_image(0)[..., :3]).all()
    assert not read.image[..., 3].any()


def test_a_missing_channel_fails_is_filled_or_skipped(kaggle: Path, tmp_path: Path) -> None:
    for index in range(3):
        write_sample(tmp_path / "source", f"s{index}", draw_image(index))
    (tmp_path / "source" / "s1_yellow.png").unlink()
    table = write_table(tmp_path / "t.csv", {"s1": "1", "s0": "0", "s2": "2"})
    told = {}
    for missing in ("fail", "fill", "skip"):
        settings = ImportOptions(missing=missing)
        done = convert(tmp_path / "source", tmp_path / missing, labels=table, settings=settings)
        part = open_store(tmp_path / missing).part("train")
        told[missing] = (part.ids, part.read_status().tolist(), done.skipped, len(done.failures), done.n_filled)
    assert told == {
        "fail": (["s1", "s0", "s2"], [2, 1, 1], (), 1, 0),
        "fill": (["s1", "s0", "s2"], [3, 1, 1], (), 0, 1),
        "skip": (["s0", "s2"], [1, 1], ("s1",), 0, 0),
    }
    images = open_store(tmp_path / "fill").reader().read([0])
    assert (images[0, ..., :3] == draw_image(1)[..., :3]).all()
    assert not images[0, ..., 3].any()


def test_every_sample_skipped_is_refused(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a_red.png", np.zeros((512, 512), np.uint8))
    with pytest.raises(InputError, match="each of its 1 samples lacks a channel"):
        plan_conversion(tmp_path, tmp_path / "a.zarr", settings=ImportOptions(missing="skip"))


def test_notes_that_systems_leave_beside_files_are_passed_over(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    (tmp_path / "._a_red.png").write_bytes(b"x")
    assert [sample.id for sample in find_samples(tmp_path)] == ["a"]


def test_odd_names_are_names(tmp_path: Path) -> None:
    names = ["a\nb", "..x", "c:d", "-f", "'; drop", "\t"]
    for name in names:
        write_sample(tmp_path / "source", name, draw_image(0))
    done = convert(tmp_path / "source", tmp_path / "a.zarr")
    assert done.n_ok == len(names)
    assert open_store(tmp_path / "a.zarr").part("train").ids == sorted(names)


@pytest.mark.parametrize("text", ["", "red", "red=", "red=1,red=2"])
def test_channels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="channels must be a list like red=2"):
        parse_channels(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "cagle"}, "source must be one of kaggle, hpav18, stack"),
        ({"missing": "guess"}, "missing must be one of fail, fill, skip"),
        ({"intensity": "auto"}, "intensity must be one of full, minmax, percentile"),
        ({"channels": {"red": 0}}, "channels must come with the naming scheme stack"),
        ({"source": "stack", "channels": {"violet": 0}}, "channels must name some of red, .*Received: violet"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImportOptions(**settings)  # type: ignore[arg-type]


def test_settings_come_back_from_a_manifest() -> None:
    for settings in (ImportOptions(), ImportOptions(source="stack", channels={"red": 0, "blue": "B"})):
        assert ImportOptions.decode(settings.encode() | {"codec": "raw"}) == settings
    with pytest.raises(InputError, match="was not converted from files"):
        ImportOptions.decode({"codec": "raw"})


@pytest.mark.realdata
def test_the_four_real_kinds_land_in_one_store_with_the_right_pixels(real_data: Path, tmp_path: Path) -> None:
    """Against Pillow, tifffile and the mean of blocks."""
    path = tmp_path / "a.zarr"
    convert(real_data / "kaggle" / "train", path, labels=real_data / "kaggle" / "train.csv")
    convert(real_data / "fullsize" / "train", path, labels=real_data / "fullsize" / "train.csv", part="full")
    convert(real_data / "external", path, labels=real_data / "external" / "external.csv", part="ext", settings=EXTERNAL)
    convert(real_data / "tiff", path, part="tiff", settings=ImportOptions(missing="fill"))
    store = open_store(path)
    assert store.parts() == ["ext", "full", "tiff", "train"]
    assert [store.part(name).count_readable() for name in store.parts()] == [1, 2, 1, 60]

    def average(pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(512, 4, 512, 4).mean(axis=(1, 3))

    for index, name in enumerate(store.part("full").ids):
        image = store.reader(["full"]).read([index])[0]
        for place, channel in enumerate(CHANNELS):
            pixels = np.asarray(Image.open(real_data / "fullsize" / "train" / f"{name}_{channel}.png"))
            assert (image[..., place] == np.rint(average(pixels))).all()
    image = store.reader(["ext"]).read([0])[0]
    for place, channel in enumerate(CHANNELS):
        pixels = np.asarray(Image.open(real_data / "external" / "30741" / f"800_A6_1_{channel}.jpg")).astype(float)
        expected = pixels[..., :2].mean(axis=-1) if channel == "yellow" else pixels[..., place]
        assert (image[..., place] == np.rint(average(expected))).all()
    assert store.part("ext").ids == ["30741_800_A6_1"]
    blue = average(tifffile.imread(real_data / "tiff" / "383_D2_1_blue.tif"))
    image = store.reader(["tiff"]).read([0])[0]
    assert (image[..., 2] == np.rint(blue / 257)).all()
    assert not image[..., [0, 1, 3]].any()


def test_a_name_too_long_for_the_system_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder of images"):
        find_samples(tmp_path / ("x" * 300))
    assert os.listdir(tmp_path) == []
