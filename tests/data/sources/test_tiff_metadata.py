"""What a TIFF says about its planes is believed: white, names, kinds of numbers, palettes, orientation."""

import re
from typing import Any

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.orientation import turn_upright
from hpa_data.sources.planes import extract_gray, extract_plane
from tests.data.sources.encoded import DEEP, GRAY, RNG, STACK, load_all, write_tiff

TWELVE = DEEP >> 4
PLANES = STACK[:4] >> 4


def open_tags(pixels: np.ndarray, *tags: tuple[int, int, int, object], **options: object) -> ImageFile:
    return open_image(write_tiff(pixels, extratags=[(*tag, True) for tag in tags], **options), "a.tif")


def write_ome(text: str, pixels: np.ndarray = PLANES) -> bytes:
    return write_tiff(pixels, photometric="minisblack", description=text, metadata=None)


def make_ome(channels: str = "", pixels: str = "", *, end: str = "</Pixels></Image></OME>") -> str:
    head = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    size = 'SizeX="80" SizeY="64" SizeC="4" SizeZ="1" SizeT="1" DimensionOrder="XYCZT" Type="uint16" ID="Pixels:0"'
    return f"{head}<Pixels {size} {pixels}>{channels}<TiffData/>{end}"


def test_ome_significant_bits_give_white() -> None:
    for metadata in ({"axes": "CYX", "SignificantBits": 12}, {"axes": "CYX", "SignificantBits": 14}):
        image = open_image(write_tiff(PLANES, ome=True, metadata=metadata), "a.tif")
        bits = metadata["SignificantBits"]
        assert (image.max_value, image.declared) == (2**bits - 1, f"SignificantBits={bits}")  # type: ignore[operator]
    assert (
        open_image(write_ome(make_ome(pixels='SignificantBits="12"')), "a", ImportOptions(rules=1)).max_value == 65535
    )


@pytest.mark.parametrize("bits", ["0", "16", "99999", "-3", "12.5", "twelve", ""])
def test_significant_bits_that_make_no_sense_are_passed_over(bits: str) -> None:
    image = open_image(write_ome(make_ome(pixels=f'SignificantBits="{bits}"')), "a.tif")
    assert (image.max_value, image.declared) == (65535, "")


@pytest.mark.parametrize(("value", "white"), [(4095, 4095), (1023, 1023), (3712, 65535), (1, 65535), (0, 65535)])
def test_a_highest_value_of_all_ones_gives_white(value: int, white: int) -> None:
    image = open_tags(TWELVE, (281, 3, 1, value))
    assert image.max_value == white
    assert image.declared == (f"MaxSampleValue={value}" if white < 65535 else "")


def test_pixels_above_the_declared_white_are_not_clipped() -> None:
    plane = extract_gray(open_tags(DEEP, (281, 3, 1, 4095)))
    assert (plane.max_value, plane.declared) == (65535, "")
    assert plane.note.startswith("a.tif: MaxSampleValue=4095 is ignored, because ")


def test_the_display_range_of_imagej_is_not_white() -> None:
    image = open_image(write_tiff(TWELVE, imagej=True, metadata={"max": 900.0, "Ranges": (0.0, 900.0)}), "a.tif")
    assert image.max_value == 65535


@pytest.mark.parametrize(
    ("pixels", "white", "dtype"),
    [
        (GRAY / 255, 1.0, np.float32),
        ((GRAY / 255).astype(np.float16), 1.0, np.float32),
        ((DEEP >> 1).astype(np.int16), 32767, np.uint16),
        ((GRAY >> 1).astype(np.int8), 127, np.uint8),
        (DEEP.astype(np.int32), 2**31 - 1, np.uint32),
        (DEEP.astype(np.uint32), 2**32 - 1, np.uint32),
    ],
)
def test_each_kind_of_number_is_read(pixels: np.ndarray, white: float, dtype: type) -> None:
    image = open_image(write_tiff(pixels), "a.tif")
    assert (image.max_value, image.dtype) == (white, pixels.dtype.name)
    assert image.load(0).dtype == dtype
    assert (image.load(0) == pixels.astype(dtype)).all()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.where(GRAY > 9, 5, -1).astype(np.int16),
            r"its pixels are int16, and \d+ of them are below 0\. Save it",
        ),
        (
            np.where(GRAY > 9, 0.5, np.nan).astype(np.float32),
            r"\d+ of its pixels are infinite or not a number\.",
        ),
        (np.where(GRAY > 9, 0.5, 1e300), r"\d+ of its pixels are infinite"),
    ],
)
def test_numbers_without_a_meaning_are_refused_with_their_count(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_image(write_tiff(pixels), "a.tif").load(0)


def test_black_and_white_are_0_and_1() -> None:
    image = open_image(write_tiff(GRAY > 99, photometric="minisblack"), "a.tif")
    assert image.max_value == 1
    assert (image.load(0) == (GRAY > 99)).all()


@pytest.mark.parametrize("widen", [257, 256])
def test_a_palette_of_grays_is_gray(widen: int) -> None:
    grays = RNG.permutation(256).astype(np.uint16)
    content = write_tiff(GRAY, photometric="palette", colormap=np.stack([grays * widen] * 3))
    image = open_image(content, "a.tif")
    assert (image.n_planes, image.is_color, image.max_value) == (1, False, 255)
    assert (image.load(0) == grays[GRAY]).all()


def test_a_palette_of_colors_is_red_green_and_blue() -> None:
    colors = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    image = open_image(write_tiff(GRAY, photometric="palette", colormap=colors * 257), "a.tif")
    assert (image.n_planes, image.is_color) == (3, True)
    assert (load_all(image) == colors[:, GRAY]).all()
    with pytest.raises(InputError, match="it has colors"):
        extract_gray(image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_turns_each_plane(orientation: int) -> None:
    image = open_tags(PLANES, (274, 3, 1, orientation), photometric="minisblack")
    turned = [turn_upright(plane, orientation) for plane in PLANES]
    assert image.shape == turned[0].shape
    assert (load_all(image) == turned).all()


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        (['Name="A"', 'Name="B"', 'Fluor="Cy5"', 'Name="D"'], ("A", "B", "Cy5", "D")),
        (
            ['ID="Channel:0:0"', 'ID="Channel:0:1"', 'Name="C"', "Name='&#181;'"],
            ("Channel:0:0", "Channel:0:1", "C", "µ"),
        ),
        ([""] * 4, ()),
        (['Name="A"'] * 3, ()),
    ],
)
def test_channels_are_called_by_name_fluorophore_or_id(attributes: list[str], names: tuple[str, ...]) -> None:
    text = make_ome("".join(f"<Channel {attribute}/>" for attribute in attributes))
    assert open_image(write_ome(text), "a.tif").names == names


@pytest.mark.parametrize("broken", [make_ome("<Channel ID=>"), make_ome(end=""), make_ome("&nonsense;")])
def test_metadata_that_are_no_xml_do_not_hide_channels(broken: str) -> None:
    assert (load_all(open_image(write_ome(broken), "a.tif")) == PLANES).all()


@pytest.mark.parametrize("change", [{"SizeZ": 4, "SizeC": 1}, {"SizeC": 2, "SizeT": 2}])
def test_metadata_that_are_no_xml_leave_other_pages_unclear(change: dict[str, int]) -> None:
    text = make_ome(end="")
    for name, size in change.items():
        text = re.sub(f'{name}="[0-9]+"', f'{name}="{size}"', text)
    with pytest.raises(InputError, match="its OME metadata cannot be read, so that the meaning of its 4 pages"):
        open_image(write_ome(text), "a.tif")
    assert (open_image(write_ome(text, PLANES[0]), "a.tif").load(0) == PLANES[0]).all()


def test_metadata_of_a_set_of_files_do_not_fill_planes_with_black() -> None:
    uuid = '<TiffData FirstC="{0}" IFD="0" PlaneCount="1"><UUID FileName="{0}.tif">urn:uuid:{0}</UUID></TiffData>'
    text = make_ome("".join(uuid.format(channel) for channel in range(4))).replace("<TiffData/>", "")
    one = open_image(write_ome(text, PLANES[2]), "2.tif")
    assert (load_all(one) == PLANES[2]).all()
    with pytest.raises(InputError, match="its OME metadata describe other files|describe pages that it does not hold"):
        open_image(write_ome(text, PLANES[:2]), "a.tif")


@pytest.mark.parametrize("key", ["nucleus", "NUCLEUS"])
def test_a_plane_knows_its_name_in_the_file(key: Any) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["ER", "Nucleus", "a", "b"]}}
    plane = extract_plane(open_image(write_tiff(PLANES, ome=True, metadata=metadata), "a.tif"), key)
    assert plane is not None
    assert plane.name == "Nucleus"
    assert (plane.pixels == PLANES[1]).all()
