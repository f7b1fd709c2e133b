"""Which plane of the files each channel is: names against numbers, typing errors, and the mapping in words."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.mapping import ChannelMapping, map_channels
from hpa_data.sources.naming import find_samples, parse_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from tests.builders import draw_image, write_sample
from tests.data.sources.encoded import write_hpav18

SMALL = HPA_2018.resized(16, 16)
NUMBERS = "red=0,green=1,blue=2,yellow=3"


def write_stack(path: Path, *names: str) -> None:
    planes = np.stack([np.full((16, 16), index, np.uint8) for index in range(max(len(names), 4))])
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}} if names else {"axes": "CYX"}
    tifffile.imwrite(path, planes, ome=True, metadata=metadata)


def look(folder: Path, channels: str | None, dataset: Dataset = SMALL) -> ChannelMapping:
    options = ImportOptions(source="stack", channels=None if channels is None else parse_channels(channels))
    return map_channels(find_samples(folder, options, dataset), options, dataset)


@pytest.mark.parametrize(("name", "near"), [("DAPPI", "DAPI"), ("dapi2", "DAPI"), ("Hoechst", "DAPI"), ("C5", "Cy5")])
def test_a_name_that_no_file_has_is_refused_with_those_that_they_have(tmp_path: Path, name: str, near: str) -> None:
    for sample in "abc":
        write_stack(tmp_path / f"{sample}.ome.tif", "TRITC", "FITC", "DAPI", "Cy5")
    with pytest.raises(InputError, match=f"Received: blue={name}, which no file has.*{near}"):
        look(tmp_path, f"red=TRITC,green=FITC,blue={name}")


def test_a_name_that_one_of_many_files_has_is_found(tmp_path: Path) -> None:
    for number in range(40):
        write_stack(tmp_path / f"{number:02}.ome.tif", "TRITC", "FITC", "DAPI" if number == 1 else "Hoechst", "Cy5")
    assert look(tmp_path, "red=TRITC,green=FITC,blue=DAPI").described["blue"].startswith("plane 'DAPI'")


def test_numbers_of_planes_with_the_names_of_other_channels_are_refused(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.tif", "green", "red", "blue", "yellow")
    with pytest.raises(InputError, match="Received: red=0, but the files call this plane 'green'. Pass --channels"):
        look(tmp_path, NUMBERS)


@pytest.mark.parametrize("channels", ["red=1,green=1", "red=FITC,green=fitc", "red=1,green=FITC"])
def test_one_plane_is_not_two_channels(tmp_path: Path, channels: str) -> None:
    write_stack(tmp_path / "a.ome.tif", "TRITC", "FITC", "DAPI", "Cy5")
    with pytest.raises(InputError, match="channels must map to different planes"):
        look(tmp_path, channels)


def test_a_sample_that_calls_a_number_otherwise_than_most_fails(tmp_path: Path) -> None:
    for sample in "abcd":
        write_stack(
            tmp_path / f"{sample}.ome.tif", *("DAPI FITC TRITC Cy5" if sample == "c" else "TRITC FITC DAPI Cy5").split()
        )
    expected = look(tmp_path, NUMBERS).expected_names
    assert expected == {"red": "TRITC", "green": "FITC", "blue": "DAPI", "yellow": "Cy5"}
    options = ImportOptions(source="stack", channels=parse_channels(NUMBERS), expected_names=expected)
    samples = find_samples(tmp_path, options, SMALL)
    assert read_sample(samples[0], options, SMALL).image[0, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"c\.ome\.tif: it calls the plane of channel 'red' 'DAPI', where .*'TRITC'"):
        read_sample(samples[2], options, SMALL)


def test_numbers_that_files_call_differently_are_refused_where_no_order_is_usual(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.tif", "TRITC", "FITC", "DAPI", "Cy5")
    write_stack(tmp_path / "b.ome.tif", "DAPI", "FITC", "TRITC", "Cy5")
    with pytest.raises(InputError, match="the same planes in all files. Received: red=0, and .* 'DAPI', 'TRITC'. Pass"):
        look(tmp_path, NUMBERS)


def test_names_that_no_two_files_share_do_not_count(tmp_path: Path) -> None:
    for sample in "abc":
        write_stack(tmp_path / f"{sample}.ome.tif", *(f"MAX_well {sample} {number}" for number in range(4)))
    assert look(tmp_path, NUMBERS).expected_names is None


def test_two_planes_of_one_name_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.tif", "DAPI", "EGFP", "EGFP", "Cy5")
    assert "plane 2, 'EGFP'" in look(tmp_path, "red=2,green=1,blue=0,yellow=3").described["red"]


FIJI = {
    "importer": [f"c:{number}/4 - {{}}.nd2 (series 1)" for number in range(1, 5)],
    "importer with names": [f"{{}}.nd2 (series 1) - {name}" for name in ("TRITC", "FITC", "DAPI", "Cy5")],
    "Images to Stack": [f"{{}}_{name}.tif" for name in ("TRITC", "FITC", "DAPI", "Cy5")],
}


@pytest.mark.parametrize("labels", FIJI.values(), ids=list(FIJI))
@pytest.mark.parametrize("channels", [NUMBERS, "red=TRITC,green=FITC,blue=DAPI,yellow=Cy5"])
def test_names_of_files_in_the_labels_of_their_planes_do_not_count(
    tmp_path: Path, labels: list[str], channels: str
) -> None:
    planes = np.stack([np.full((16, 16), index, np.uint8) for index in range(4)])
    for sample in ("field1", "field2", "field3"):
        own = {"axes": "CYX", "Labels": [label.format(sample) for label in labels]}
        tifffile.imwrite(tmp_path / f"{sample}.tif", planes, imagej=True, metadata=own)
    if channels != NUMBERS and labels is FIJI["importer"]:
        with pytest.raises(InputError, match="red=TRITC, and the planes of the files have no names. Pass numbers"):
            look(tmp_path, channels)
        return
    options = ImportOptions(source="stack", channels=parse_channels(channels))
    found = find_samples(tmp_path, options, SMALL)
    expected = dict(look(tmp_path, channels).expected_names or {})
    options = ImportOptions(source="stack", channels=options.channels, expected_names=expected or None)
    for files in found:
        assert read_sample(files, options, SMALL).image[0, 0].tolist() == [0, 1, 2, 3]


def test_spaces_around_the_names_of_planes_do_not_count(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.ome.tif", " Red", "GREEN ", "blue", "yellow")
    options = ImportOptions(source="stack")
    assert look(tmp_path, None).described["red"].startswith("plane 'red' (number 0)")
    assert read_sample(find_samples(tmp_path, options, SMALL)[0], options, SMALL).image[0, 0].tolist() == [0, 1, 2, 3]


def test_the_mapping_is_described_for_each_kind_of_files(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    write_stack(tmp_path / "stack" / "a.ome.tif", "TRITC", "FITC", "DAPI", "Cy5")
    assert look(tmp_path / "stack", "red=0,blue=dapi").described == {
        "red": "plane 0, 'TRITC', of files like a.ome.tif",
        "green": "no file",
        "blue": "plane 'dapi' (number 2) of files like a.ome.tif",
        "yellow": "no file",
    }
    write_sample(tmp_path / "kaggle", "a", draw_image(0))
    gray = map_channels(find_samples(tmp_path / "kaggle"), ImportOptions(), HPA_2018)
    assert gray.described["red"] == "files like a_red.png"
    write_hpav18(tmp_path / "hpa", "1_p_A1_1", draw_image(0))
    colors = ImportOptions(source="hpav18")
    described = map_channels(find_samples(tmp_path / "hpa", colors), colors, HPA_2018).described
    assert described["yellow"].endswith("yellow.jpg; the mean of red and green of color images")
