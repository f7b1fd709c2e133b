"""Files in folders and in Zip archives: neither their names nor their sizes are trusted."""

import os
import zipfile
from pathlib import Path

import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.sources.naming import find_samples, missing_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from tests.builders import convert, draw_image, write_sample
from tests.data.sources.encoded import write_hpav18

HPAV18 = ImportOptions(source="hpav18")


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


def test_names_that_lead_out_of_an_archive_fail_their_samples(kaggle: Path, tmp_path: Path) -> None:
    archive = pack(kaggle / "test", tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("../../evil_red.png", "/etc/worse_red.png"):
            file.writestr(name, b"x")
    done = convert(archive, tmp_path / "a.zarr")
    assert [failure.id for failure in done.failures] == ["evil", "worse"]
    assert all("leads out of the archive" in failure.reason for failure in done.failures)
    assert done.n_ok == 3


def test_members_packed_by_other_methods_fail_their_samples(kaggle: Path, tmp_path: Path) -> None:
    """bzip2 and LZMA unpack without a bound in Python's zipfile."""
    archive = pack(kaggle / "test", tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_LZMA) as file:
        file.writestr("bomb_red.png", bytes(10_000_000))
    (bomb,) = [sample for sample in find_samples(archive) if sample.id == "bomb"]
    with pytest.raises(
        InputError, match="Cannot read bomb_red.png: it is packed by LZMA, which .* Unpack the archive first"
    ):
        read_sample(bomb._replace(planes=bomb.planes[:1] * 4))


def test_a_damaged_archive_is_refused_and_a_damaged_member_fails_its_sample(kaggle: Path, tmp_path: Path) -> None:
    archive = pack(kaggle / "test", tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    content[5000] ^= 0xFF  # in the first member
    archive.write_bytes(content)
    done = convert(archive, tmp_path / "a.zarr")
    assert [(failure.id, failure.file) for failure in done.failures] == [("new-0", "new-0_blue.png")]
    archive.write_bytes(content[:-100])
    with pytest.raises(InputError, match="it is not a complete Zip archive"):
        find_samples(archive)


def test_links_that_loop_are_followed_once_and_fail_as_files(tmp_path: Path) -> None:
    write_hpav18(tmp_path / "1", "p_A1_1", draw_image(0))
    (tmp_path / "1" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "1" / "p_A1_2_red.jpg").symlink_to("p_A1_2_red.jpg")
    whole, looping = find_samples(tmp_path, HPAV18)
    assert (whole.id, missing_channels(whole, HPA_2018)) == ("1_p_A1_1", [])
    with pytest.raises(InputError, match=r"symbolic links"):
        read_sample(looping._replace(planes=looping.planes[:1] * 4), HPAV18)


def test_a_path_too_long_for_the_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder of images"):
        find_samples(tmp_path / ("x" * 300))
    assert os.listdir(tmp_path) == []


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    (tmp_path / "a_red.png").unlink()
    os.mkfifo(tmp_path / "a_red.png")
    with pytest.raises(InputError, match="Cannot read a_red.png: it is not a regular file"):
        read_sample(find_samples(tmp_path)[0])
