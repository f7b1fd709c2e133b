"""Naming patterns of the user's own."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hpa_data.dataset import HPA_2018, Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.naming import Found, parse_channels, search_source
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from tests.builders import Hpa, draw_image, write_sample
from tests.data.sources.encoded import write_hpav18

NUMBERS = parse_channels("red=00,green=01,blue=02,yellow=03")


def search(folder: Path, pattern: str, *, text: str = "", dataset: Dataset = HPA_2018) -> Found:
    options = ImportOptions(source="pattern", pattern=pattern, channels=parse_channels(text) if text else None)
    return search_source(folder, options, dataset)


def list_ids(found: Found) -> list[str]:
    return [sample.id for sample in found.samples]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_fields_form_the_id_and_texts_stand_for_channels(tmp_path: Path) -> None:
    for plate in ("p1", "p2"):
        write_sample(tmp_path / plate, "A1", draw_image(int(plate[1])))
        for index, channel in enumerate(HPA_2018.channel_names):
            (tmp_path / plate / f"A1_{channel}.png").rename(tmp_path / plate / f"A1_ch0{index}.png")
    options = ImportOptions(source="pattern", pattern="{plate}/{well}_ch{channel}.png", channels=NUMBERS)
    found = search_source(tmp_path, options)
    assert list_ids(found) == ["p1_A1", "p2_A1"]
    for seed, sample in enumerate(found.samples, start=1):
        assert (read_sample(sample, options).image == draw_image(seed)).all()


@pytest.mark.parametrize(
    ("pattern", "name", "sample_id"),
    [
        ("{id}_{channel}", "a_b_Red.TIF", "a_b"),
        ("{id}-{channel}.png", "a-RED.png", "a"),
        ("{id} {channel}", "a b red.ome.tiff", "a b"),
        ("{id}{channel}.png", "aRed.png", "a"),
        ("{channel}/{id}.png", "red/a.png", "a"),
        ("{id}/{id}_{channel}", "a/a_red.png", "a"),
        ("*/{day}/*_{id}_{channel}", "x/d1/scan 7_a_red.png", "d1_a"),
        (r".\{plate}\{id}.{channel}.tif.gz", "p/a.red.tif.gz", "p_a"),
        ("{id}_(1)[+]_{channel}", "a_(1)[+]_red.png", "a"),
        ("plate1/{id}_{channel}", "Plate1/é ö_red.png", "é ö"),
    ],
)
def test_a_pattern_describes_names_whatever_their_case(tmp_path: Path, pattern: str, name: str, sample_id: str) -> None:
    found = search(touch(tmp_path, name), pattern)
    assert list_ids(found) == [sample_id]
    assert [plane is not None for plane in found.samples[0].planes] == [True, False, False, False]


def test_other_files_are_passed_over_with_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a_c0.tif", "a_c7.tif", "b.tif", "c_composite.tif", "notes.txt", "sub/a_c0.tif", f"{'x' * 240}.tif")
    found = search(tmp_path, "{id}_c{channel}", text="red=0")
    assert {other.name[:15]: other.reason for other in found.passed_over} == {
        "a_c7.tif": "its name matches the pattern, but for the channel",
        "b.tif": "its name does not match the pattern",
        "c_composite.tif": "a composite of several channels",
        "notes.txt": "of another format (.txt)",
        "sub/": "in a subfolder",
        "x" * 15: "its name does not match the pattern",
    }


def test_without_a_channel_a_file_holds_a_whole_sample(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    stack = np.stack([np.full((512, 512), value, np.uint8) for value in range(4)])
    tifffile.imwrite(tmp_path / "p1" / "x_A1.tif", stack, photometric="minisblack")
    channels = parse_channels("red=3,green=2,blue=1,yellow=0")
    options = ImportOptions(source="pattern", pattern="{plate}/x_{well}.tif", channels=channels)
    (sample,) = search_source(tmp_path, options).samples
    assert sample.id == "p1_A1"
    assert read_sample(sample, options).image[0, 0].tolist() == [3, 2, 1, 0]


def test_color_in_place_of_channel_reads_the_plane_of_the_color(tmp_path: Path) -> None:
    write_hpav18(tmp_path, "x_A1", draw_image(0))
    gray = ImportOptions(source="pattern", pattern="x_{id}_{channel}.jpg")
    with pytest.raises(InputError, match=r"x_A1_red\.jpg as a gray plane: it has colors.*\{color\} in place of"):
        read_sample(search_source(tmp_path, gray).samples[0], gray)
    color = ImportOptions(source="pattern", pattern="x_{id}_{color}.jpg")
    (sample,) = search_source(tmp_path, color).samples
    assert np.abs(read_sample(sample, color).image.astype(int) - draw_image(0)).mean() < 2  # JPEG's own losses
    dna = Dataset(name="d", channels=(Channel(name="dna", color="#ff00ff"),), classes=("a",))
    with pytest.raises(InputError, match=r"\{color\} for channel 'dna', #ff00ff\. Write \{channel\}"):
        search(touch(tmp_path, "x_b_dna.jpg"), "x_{id}_{color}.jpg", dataset=dna)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("", "has no field for the id"),
        ("*.tif", "has no field for the id"),
        ("{channel}.png", "has no field for the id"),
        ("{}_{channel}", "field {} has no name"),
        ("{a b}_{channel}", "field {a b} has no name"),
        ("{a}{b}_{channel}", "nothing stands between {a} and {b}"),
        ("{a}*_{channel}", r"nothing stands between {a} and \*"),
        ("{id}_{channel", "a brace has no partner"),
        ("{id}_{channel}_{color}", "both {channel} and {color}"),
        ("/x/{id}", "is not relative to the source"),
        ("*_*_*_*_*_*_*_*_{id}", "more than 8 fields"),
    ],
)
def test_a_pattern_of_another_form_is_refused(tmp_path: Path, pattern: str, fault: str) -> None:
    with pytest.raises(InputError, match=f"pattern must be a path like .*{fault}"):
        search(tmp_path, pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "reason"),
    [
        ("{id}_C{channel}.tif", "", r"it fits A1-ch00\.tif only up to 'A1-ch00\.tif', where|it fits A1-ch00\.tif only"),
        ("x{id}_ch{channel}", "", r"it fits A1-ch00\.tif nowhere: it begins with 'x'"),
        ("{plate}/{id}_ch{channel}", "", r"files in 1 folders below it, but A1-ch00\.tif is in 0"),
        ("{id}-ch{channel}", "", r"A1-ch00\.tif has '00' where the names of the channels .*for example red=00"),
        ("{id}-ch{channel}", "red=1,green=2", r"A1-ch00\.tif has '00' where 1, 2 are looked for"),
    ],
)
def test_a_pattern_without_any_file_shows_how_it_fits_one(tmp_path: Path, pattern: str, text: str, reason: str) -> None:
    touch(tmp_path, "A1-ch00.tif", "A1-ch01.tif")
    with pytest.raises(InputError, match=f"which none of the 2 images in .* matches.*{reason}"):
        search(tmp_path, pattern, text=text)


@pytest.mark.parametrize(("text", "near"), [("DAPPI", "DAPI"), ("dapi2", "DAPI"), ("Dap", "DAPI")])
@pytest.mark.parametrize("missing", ["fail", "fill", "skip"])
def test_a_channel_mapped_to_a_text_that_no_file_has_is_refused(
    tmp_path: Path, text: str, near: str, missing: str
) -> None:
    touch(tmp_path, "a_TRITC.tif", "a_DAPI.tif", "b_TRITC.tif", "b_DAPI.tif")
    channels = parse_channels(f"red=TRITC,blue={text}")
    options = ImportOptions(source="pattern", pattern="{id}_{channel}", channels=channels, missing=missing)
    message = f"Received: blue={text}, which no file name has.* have DAPI. Pass blue={near}"
    with pytest.raises(InputError, match=message):
        search_source(tmp_path, options)


def test_files_that_a_pattern_gives_one_id_fail_their_sample(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a_red.tif", "p2/a_red.tif")
    (sample,) = search(tmp_path, "*/{id}_{channel}").samples
    assert "two files for red, p1/a_red.tif and p2/a_red.tif. Write fields for all that tells" in sample.error
    touch(tmp_path, "x_y/z_red.tif", "x/y_z_green.tif")
    merged = search(tmp_path, "{x}/{y}_{channel}").samples[-1]
    assert merged.id == "x_y_z"
    assert "x_y/z_red.tif and others give it another id by the pattern" in merged.error


def test_a_name_with_many_separators_is_compared_quickly(tmp_path: Path) -> None:
    touch(tmp_path, "a_b_c_d_e_f_g_h.tif", "_" * 250 + ".tif")
    found = search(tmp_path, "{a}_{b}_{c}_{d}_{e}_{f}_{g}_{h}.tif")
    assert len(found.samples) == 2


def test_the_command_takes_a_pattern(hpa: Hpa, tmp_path: Path) -> None:
    write_sample(tmp_path / "source" / "a", "x1", draw_image(0))
    store = tmp_path / "a.zarr"
    ended = hpa("convert", tmp_path / "source", store, "--pattern", "{folder}/x{field}_{channel}.png")
    assert ended.status == 0
    assert hpa("verify", store, "--source", tmp_path / "source").status == 0
    again = hpa("convert", tmp_path / "source", store, "--pattern", "{folder}/x{id}_{channel}", "--naming", "stack")
    assert "Cannot use --pattern: it has no effect with --naming stack" in again.err
    alone = hpa("convert", tmp_path / "source", store, "--naming", "pattern")
    assert "pattern must come with the naming scheme pattern" in alone.err
