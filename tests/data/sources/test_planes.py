"""From the planes of a file to channels."""

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.levels import to_uint8
from hpa_data.sources.planes import extract_color, extract_gray, extract_plane, group_notes


def make_image(*planes: np.ndarray, is_color: bool = False, names: tuple[str, ...] = ()) -> ImageFile:
    return ImageFile(
        file="a.jpg",
        format="JPEG",
        shape=planes[0].shape,
        n_planes=len(planes),
        is_color=is_color,
        max_value=255,
        names=names,
        load=lambda index: planes[index],
    )


def fill(value: int) -> np.ndarray:
    return np.full((512, 512), value, np.uint8)


def test_yellow_is_the_mean_of_red_and_green_without_overflow() -> None:
    plane = extract_color(make_image(fill(250), fill(201), fill(3), is_color=True), "yellow")
    assert to_uint8(plane, (512, 512))[0, 0] == 226  # 225.5, to the even neighbor
    assert plane.note == ""


@pytest.mark.parametrize(("color", "value"), [("red", 9), ("green", 7), ("blue", 5)])
def test_each_color_has_its_own_plane(color: str, value: int) -> None:
    image = make_image(fill(9), fill(7), fill(5), is_color=True)
    plane = extract_color(image, color)
    assert plane.pixels[0, 0] == value
    assert plane.note == ("" if color == "red" else f"a.jpg: another colour than {color} is stronger")


def test_yellow_must_be_stronger_than_blue() -> None:
    assert extract_color(make_image(fill(9), fill(2), fill(5), is_color=True), "yellow").note
    assert not extract_color(make_image(fill(9), fill(6), fill(5), is_color=True), "yellow").note


def test_gray_may_be_stored_as_rgb_but_colors_are_refused() -> None:
    assert (extract_gray(make_image(fill(7), fill(7), fill(7), is_color=True)).pixels == 7).all()
    with pytest.raises(InputError, match="it has colors. Pass --naming hpav18"):
        extract_gray(make_image(fill(7), fill(7), fill(8), is_color=True))
    with pytest.raises(InputError, match="it has 4 planes. Pass --naming stack"):
        extract_gray(make_image(*[fill(7)] * 4))


def test_a_gray_image_is_read_as_any_color() -> None:
    assert (extract_color(make_image(fill(7)), "blue").pixels == 7).all()


def test_a_plane_of_a_stack_is_found_by_index_or_by_a_name_that_occurs_once() -> None:
    image = make_image(fill(1), fill(2), fill(3), names=("ER", "DAPI", "ER"))
    found = [extract_plane(image, key) for key in (2, "dapi", 3, "nucleus", "ER")]
    assert [plane and plane.pixels[0, 0] for plane in found] == [3, 2, None, None, None]


def test_notes_about_files_are_grouped_by_what_they_say_each_with_its_remedy() -> None:
    color = "another colour than red is stronger"  # as stores have it
    bits = "sBIT=12 is ignored, because {} pixels are above 4095"
    notices = group_notes(
        [f"a.jpg: {color}; b.jpg: {color}", "", f"c.png: {bits.format(7)}", f"d.png: {bits.format(9)}"]
    )
    assert list(map(str, notices)) == [
        "Warning: another color than red is stronger, 2 files, for example a.jpg. Look whether these files have the "
        "right names.",
        "Warning: sBIT=12 is ignored, because 7 pixels are above 4095, 2 files, for example c.png. Pass --intensity "
        "bits=N if the values above are to be white.",
    ]
