"""What a source holds beside its samples: nothing is left out without a reason."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hpa_data.dataset import FILLED, HPA_2018, Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.naming import Found, search_source
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from tests.builders import draw_image, write_sample
from tests.data.sources.encoded import write_hpav18

HPAV18 = ImportOptions(source="hpav18")
FILL = ImportOptions(missing="fill")

CELLS = Dataset(name="cells", channels=(Channel(name="dna"), Channel(name="Alexa_488")), classes=("a",))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def list_ids(found: Found) -> list[str]:
    return [sample.id for sample in found.samples]


def list_reasons(found: Found) -> dict[str, str]:
    return {other.name: other.reason for other in found.passed_over}


def test_every_file_is_in_a_sample_or_passed_over_with_a_reason(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    touch(
        tmp_path, "notes.txt", "b.czi", "c_violet.png", "d.png", "e_rgb.png", "README", "sub/f_red.png", ".x/g_red.png"
    )
    found = search_source(tmp_path)
    assert list_ids(found) == ["a"]
    assert list_reasons(found) == {
        ".x/": "hidden, or written by the operating system",
        "README": "of another format",
        "b.czi": "of another format (.czi)",
        "c_violet.png": "its name does not end in a channel",
        "d.png": "its name does not end in a channel",
        "e_rgb.png": "a composite of several channels",
        "notes.txt": "of another format (.txt)",
        "sub/": "in a subfolder",
    }


@pytest.mark.parametrize("spelling", ["Red", "RED", "rEd"])
def test_the_case_of_a_channels_name_does_not_count(tmp_path: Path, spelling: str) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    (tmp_path / "a_red.png").rename(tmp_path / f"a_{spelling}.png")
    (sample,) = search_source(tmp_path).samples
    assert (read_sample(sample).image == draw_image(0)).all()
    assert list_ids(search_source(tmp_path, ImportOptions(rules=1))) == ["a"]
    assert search_source(tmp_path, ImportOptions(rules=1)).samples[0].planes[0] is None


def test_two_files_whose_channels_differ_by_case_fail_their_sample(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    (tmp_path / "a_Red.png").write_bytes((tmp_path / "a_red.png").read_bytes())
    if len(list(tmp_path.iterdir())) < 5:
        pytest.skip("this file system does not tell case apart")
    (sample,) = search_source(tmp_path).samples
    with pytest.raises(InputError, match=r"two files for red, a_Red\.png and a_red\.png"):
        read_sample(sample)


def test_channels_of_any_data_set_are_found_by_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "a_dna.tif", "a_alexa_488.tif", "b_x_DNA.tif", "b_x_Alexa_488.tif", "c_488.tif")
    found = search_source(tmp_path, dataset=CELLS)
    assert list_ids(found) == ["a", "b_x"]
    assert list(list_reasons(found)) == ["c_488.tif"]
    assert all(None not in sample.planes for sample in found.samples)


@pytest.mark.parametrize(
    "end", ["blue_red_green", "red_green_blue_yellow", "Red_Green", "composite", "Merged", "selected"]
)
@pytest.mark.parametrize("options", [ImportOptions(), HPAV18])
def test_a_composite_beside_planes_is_passed_over(tmp_path: Path, end: str, options: ImportOptions) -> None:
    write_hpav18(tmp_path, "30741_a", draw_image(0))
    touch(tmp_path, f"30741_a_{end}.jpg")
    found = search_source(tmp_path, options)
    assert list_ids(found) == ["30741_a"]
    assert list_reasons(found)[f"30741_a_{end}.jpg"] == "a composite of several channels"


def test_ids_that_end_in_a_channel_are_samples_where_each_channel_has_a_file(tmp_path: Path) -> None:
    for name in ("cells", "cells_green", "cells_green_red"):
        write_sample(tmp_path, name, draw_image(0))
    write_sample(tmp_path, "tissue_green", draw_image(0))
    (tmp_path / "tissue_green_red.png").unlink()
    found = search_source(tmp_path)
    assert list_ids(found) == ["cells", "cells_green", "cells_green_red", "tissue_green"]
    assert not found.passed_over


def test_single_planes_beside_files_of_whole_samples_are_passed_over(tmp_path: Path) -> None:
    write_hpav18(tmp_path / "30741", "a", draw_image(0))
    Image.fromarray(draw_image(0)[..., :3]).save(tmp_path / "30741" / "a_blue_red_green.png")
    stack = ImportOptions(source="stack", missing="fill")
    found = search_source(tmp_path, stack)
    assert list_ids(found) == ["30741_a"]
    assert set(list_reasons(found).values()) == {"a plane of one channel, where files hold whole samples"}
    read = read_sample(found.samples[0], stack)
    assert (read.status, read.filled) == (FILLED, ("yellow",))


def test_stacks_whose_ids_end_in_different_colors_are_samples(tmp_path: Path) -> None:
    touch(tmp_path, "a_red.tif", "b_green.tif")
    found = search_source(tmp_path, ImportOptions(source="stack"))
    assert list_ids(found) == ["a_red", "b_green"]


def test_the_filled_channels_of_a_sample_are_named(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    for channel in ("green", "yellow"):
        (tmp_path / f"a_{channel}.png").unlink()
    (sample,) = search_source(tmp_path, FILL).samples
    assert read_sample(sample, FILL).filled == ("green", "yellow")


def test_a_sample_without_any_channel_is_not_filled(tmp_path: Path) -> None:
    planes = np.zeros((4, 512, 512), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
    options = ImportOptions(source="stack", missing="fill")
    (sample,) = search_source(tmp_path, options).samples
    with pytest.raises(InputError, match="4 planes without names. No channel was found, and a"):
        read_sample(sample, options)


def test_hpav18_is_refused_for_channels_without_its_colors(tmp_path: Path) -> None:
    touch(tmp_path, "a_dna.tif")
    with pytest.raises(InputError, match="hpav18 has red, .*Received: naming=hpav18 for the channels dna"):
        search_source(tmp_path, HPAV18, CELLS)


def test_a_color_composite_without_known_colors_asks_for_the_channels(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match="none of dna, Alexa_488 is red, green or blue. Pass"):
        search_source(tmp_path, ImportOptions(source="stack"), CELLS)
    (sample,) = search_source(tmp_path, ImportOptions(source="stack"), HPA_2018).samples
    assert [plane is None for plane in sample.planes] == [False, False, False, True]
