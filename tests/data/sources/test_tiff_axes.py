"""Axes by their names: channels are read, and slices, time points and scenes only as chosen."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.options import ImportOptions
from tests.data.sources.encoded import COLOR, GRAY, RNG, load_all, split, write_tiff

FIVE = RNG.integers(0, 4096, (2, 3, 4, 64, 80), np.uint16)  # (T, Z, C, Y, X)
FOUR = FIVE[0, 0]


def read(content: bytes, **options: Any) -> np.ndarray:
    return load_all(open_image(content, "a.tif", ImportOptions(**options)))


def write_axes(pixels: np.ndarray, axes: str, kind: str, **metadata: object) -> bytes:
    return write_tiff(pixels, **{kind: True}, photometric="minisblack", metadata={"axes": axes, **metadata})


def write_images(*images: tuple[np.ndarray, dict[str, Any]], ome: bool = False) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=ome) as writer:
        for pixels, options in images:
            writer.write(pixels, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["ome", "imagej"])
@pytest.mark.parametrize(
    ("z", "project"),
    [
        ("max", lambda planes: planes.max(axis=0)),
        ("mean", lambda planes: np.rint(planes.mean(axis=0))),
        ("middle", lambda planes: planes[1]),
        ("2", lambda planes: planes[2]),
    ],
)
def test_slices_and_time_points_are_read_as_chosen(kind: str, z: str, project: Any) -> None:
    content = write_axes(FIVE, "TZCYX", kind)
    assert (read(content, z=z, time=1) == project(FIVE[1])).all()


@pytest.mark.parametrize("order", ["XYCZT", "XYZCT", "XYTCZ"])
def test_the_order_of_ome_dimensions_counts(order: str) -> None:
    axes = order[:1:-1] + "YX"
    content = write_axes(np.einsum(FIVE, [0, 1, 2, 3, 4], ["TZCYX".index(a) for a in axes]), axes, "ome")
    assert (read(content, z="0", time=0) == FOUR).all()


@pytest.mark.parametrize(
    ("pixels", "axes", "kind", "options", "message"),
    [
        (
            FOUR,
            "ZYX",
            "imagej",
            {},
            r"its axes are ZYX of \(4, 64, 80\): 4 slices \(Z\)\. Pass --z max, mean, middle",
        ),
        (FOUR, "ZYX", "ome", {"channels": {"red": 0}, "source": "stack"}, r"4 slices \(Z\).*if they are channels"),
        (FOUR, "TYX", "imagej", {}, r"4 time points \(T\)\. Pass --time 0 to 3"),
        (
            FIVE[0],
            "ZCYX",
            "ome",
            {},
            r"3 slices \(Z\)\. Pass --z .*, or the number of a slice, 0 to 2\.$",
        ),
        (FIVE[0], "ZCYX", "ome", {"z": "3"}, r"it has 3 slices \(Z\), and --z is 3\. Pass --z 0 to 2"),
        (FIVE[:, 0], "TCYX", "ome", {"time": 2}, r"it has 2 time points \(T\), and --time is 2"),
    ],
)
def test_an_axis_that_asks_for_a_choice_is_told_with_it(
    pixels: np.ndarray, axes: str, kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write_axes(pixels, axes, kind), **options)


def test_choices_do_not_disturb_a_file_without_these_axes() -> None:
    assert (read(write_axes(FOUR, "CYX", "ome"), z="max", time=0, scene=0) == FOUR).all()


def test_a_part_of_version_0_1_0_keeps_slices_as_its_planes() -> None:
    assert (read(write_axes(FOUR, "ZYX", "imagej"), rules=1) == FOUR).all()


def test_slices_whose_labels_name_the_channels_are_channels_by_these_names() -> None:
    content = write_axes(FOUR, "ZYX", "imagej", Labels=["red", "green", "blue", "ER"])
    options = ImportOptions(source="stack", channels={"red": "Red", "yellow": "ER"})
    image = open_image(content, "a.tif", options)
    assert image.names == ("red", "green", "blue", "ER")
    assert (load_all(image) == FOUR).all()


@pytest.mark.parametrize(
    "labels",
    [
        [f"c:{c + 1}/4 z:{z + 1}/3 - {name}" for z in range(3) for c, name in enumerate(("DAPI", "FITC", "A", "B"))],
        ["DAPI", "FITC", "A", "B"] * 3,
        ["DAPI\nexposure 5", "FITC\n", "A", "B"] * 3,
    ],
)
def test_labels_of_slices_name_the_channels(labels: list[str]) -> None:
    content = write_axes(FIVE[0], "ZCYX", "imagej", Labels=labels)
    image = open_image(content, "a.tif", ImportOptions(z="max"))
    assert image.names == ("DAPI", "FITC", "A", "B")


def test_the_largest_image_is_taken_and_not_its_thumbnail() -> None:
    thumbnail = GRAY[::4, ::4]
    assert (read(write_images((thumbnail, {}), (GRAY, {}))) == GRAY).all()
    pages = write_images((thumbnail, {"metadata": None}), (FOUR, {"metadata": None, "photometric": "minisblack"}))
    assert (read(pages) == FOUR).all()


def test_levels_of_a_pyramid_are_not_other_images() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(FOUR, subifds=2, photometric="minisblack", metadata={"axes": "CYX"})
        for step in (2, 4):
            writer.write(FOUR[:, ::step, ::step], subfiletype=1, photometric="minisblack")
    assert (read(file.getvalue()) == FOUR).all()


def test_of_scenes_of_one_size_one_must_be_chosen() -> None:
    names = [{"metadata": {"axes": "CYX", "Name": name}, "photometric": "minisblack"} for name in "AB"]
    content = write_images((FOUR, names[0]), (FOUR[::-1], names[1]), (GRAY[:8, :8], {}), ome=True)
    with pytest.raises(InputError, match=r"it holds 2 images of the same size \(0 'A', 1 'B'\)\. Pass --scene 0 to 1"):
        read(content)
    assert (read(content, scene=1) == FOUR[::-1]).all()
    with pytest.raises(InputError, match="it has 2 images of the same size, and --scene is 2"):
        read(content, scene=2)


def test_pages_written_one_after_the_other_are_a_stack() -> None:
    assert (read(write_images(*((plane, {}) for plane in FOUR))) == FOUR).all()


def test_four_planes_that_tifffile_calls_colors_are_read_by_number() -> None:
    for pixels in (FOUR, FOUR.astype(np.uint8)):
        image = open_image(write_tiff(pixels), "a.tif")
        assert (image.n_planes, image.n_extra) == (3, 1)
        assert all((image.load(index) == pixels[index]).all() for index in range(4))


def test_colors_of_several_channels_are_counted_in_ome_alone() -> None:
    colors = np.stack([COLOR, 255 - COLOR])
    content = write_tiff(colors, ome=True, photometric="rgb", metadata={"axes": "CYXS"})
    assert (read(content) == np.concatenate([split(one) for one in colors])).all()
    with pytest.raises(InputError, match="its axes are .* which of them counts the channels is not known"):
        read(write_tiff(colors, photometric="rgb"))


def test_an_unknown_axis_beside_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"its axes are QQYX of \(3, 4, 64, 80\): which of them counts the channels"):
        read(write_tiff(FIVE[0], photometric="minisblack"))
