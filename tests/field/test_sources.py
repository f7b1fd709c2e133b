"""Folders and archives: hidden ones, composites, capitals, a folder per sample, names in archives."""

import gzip
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.builders import Hpa, assert_refused
from tests.field.pictures import CHANNELS, assert_planes, draw_plane, draw_stack, read_part, save, tint, write_planes

NUMBERS = ("--naming", "stack", "--channels", "red=0,green=1,blue=2,yellow=3")


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "@eaDir", ".snapshot/daily", "__MACOSX"])
def test_hidden_folders_are_passed_over_and_counted(tmp_path: Path, hpa: Hpa, hidden: str) -> None:
    for sample in "ab":
        save(tmp_path / "train" / f"{sample}.tif", draw_stack(sample), photometric="minisblack")
    (tmp_path / "train" / hidden).mkdir(parents=True)
    shutil.copy(tmp_path / "train" / "a.tif", tmp_path / "train" / hidden / "a-checkpoint.tif")
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *NUMBERS)
    assert ended.status == 0, ended.err
    assert_planes(tmp_path / "s")
    assert hidden.partition("/")[0] in ended.out
    assert hpa("convert", tmp_path / "train", tmp_path / "t", *NUMBERS, "--strict").status == 2


@pytest.mark.parametrize("name", ["train\\{name}", "./train/{name}", "train//{name}"])
@pytest.mark.parametrize("inner", ["", "/train"])
def test_names_in_an_archive_are_read_as_unpackers_do(tmp_path: Path, hpa: Hpa, name: str, inner: str) -> None:
    write_planes(tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for path in sorted((tmp_path / "w").iterdir()):
            archive.writestr(zipfile.ZipInfo(name.format(name=path.name)), path.read_bytes())
    # Without the folder inside, planes lie in a single folder of the archive.
    words = ["convert", f"{tmp_path}/train.zip{inner}", tmp_path / "s", "--part", "test"]
    ended = hpa(*words)
    if inner:
        assert ended.status == 0, ended.err
        assert_planes(tmp_path / "s", part="test")
    elif ended.status == 0:
        assert_planes(tmp_path / "s", part="test")
    else:
        assert "train" in ended.err


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_tar_archives_are_read(tmp_path: Path, hpa: Hpa, extension: str) -> None:
    write_planes(tmp_path / "w")
    kind = {"tar": "", "tgz": "gz"}.get(extension, extension.rpartition(".")[2])
    with tarfile.open(tmp_path / f"train.{extension}", f"w:{kind}") as archive:
        archive.add(tmp_path / "w", arcname=".")
    ended = hpa("convert", tmp_path / f"train.{extension}", tmp_path / "s")
    assert ended.status == 0, ended.err
    assert_planes(tmp_path / "s")


def test_a_damaged_7z_archive_gets_its_true_reason(tmp_path: Path, hpa: Hpa) -> None:
    (tmp_path / "train.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + bytes(range(250)))
    ended = hpa("convert", tmp_path / "train.7z", tmp_path / "s")
    assert ended.status == 2
    assert "7z" in ended.err
    assert "Zip archive" not in ended.err


def test_a_compressed_image_is_read(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train", name="{id}_{channel}.tif")
    for path in list((tmp_path / "train").iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    ended = hpa("convert", tmp_path / "train", tmp_path / "s")
    assert ended.status == 0, ended.err
    assert_planes(tmp_path / "s")


def test_a_locked_archive_gets_its_true_reason(tmp_path: Path, hpa: Hpa) -> None:
    if shutil.which("zip") is None:
        pytest.skip("needs the program zip")
    write_planes(tmp_path / "train", "a")
    subprocess.run(["zip", "-q", "-P", "x", "-r", tmp_path / "t.zip", "."], cwd=tmp_path / "train", check=True)
    ended = hpa("convert", tmp_path / "t.zip", tmp_path / "s")
    assert ended.status in {1, 2}
    assert "password" in ended.out + ended.err


def test_a_composite_beside_the_planes_is_no_plane(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        folder = tmp_path / "train" / "30741"
        for channel in CHANNELS:
            plane = tint(draw_plane(sample, channel), channel)
            save(folder / f"800_{sample}_{channel}.jpg", plane, quality=97, subsampling=0)
        composite = np.dstack([draw_plane(sample, channel) for channel in ("red", "green", "blue")])
        save(folder / f"800_{sample}_blue_red_green.jpg", composite, quality=95)
    for options in ((), ("--missing", "fill", "--overwrite")):
        ended = hpa("convert", tmp_path / "train", tmp_path / "s", "--naming", "hpav18", *options)
        assert ended.status == 0, ended.out
        ids, _, _ = read_part(tmp_path / "s")
        assert ids == ["30741_800_a", "30741_800_b"]
        assert "composite" in ended.out


def test_a_folder_per_sample_is_read(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train", name="{id}/{id}_{channel}.png")
    ended = hpa("convert", tmp_path / "train", tmp_path / "s")
    assert ended.status == 0, ended.err
    assert_planes(tmp_path / "s")


def test_capital_channels_are_taken(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train")
    write_planes(tmp_path / "train", "c", "{id}_{Channel}.png")
    assert hpa("convert", tmp_path / "train", tmp_path / "s", "--part", "test").status == 0
    assert_planes(tmp_path / "s", "abc", part="test")


def test_files_that_no_rule_knows_are_counted_with_an_example(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train")
    write_planes(tmp_path / "train", "c", "{id}-{channel}.png")
    write_planes(tmp_path / "train" / "more", "d")
    (tmp_path / "train" / "e.czi").write_bytes(b"x")
    for options in (["--dry-run"], []):
        ended = hpa("convert", tmp_path / "train", tmp_path / "s", *options)
        assert ended.status == 0, ended.err
        assert all(word in ended.out for word in ("c-", "more", "e.czi"))
    assert hpa("convert", tmp_path / "train", tmp_path / "t", "--strict").status == 2
    assert not (tmp_path / "t").exists()


def test_a_naming_pattern_of_ones_own_is_read(tmp_path: Path, hpa: Hpa) -> None:
    for plate in ("p1", "p2"):
        for number, channel in enumerate(CHANNELS):
            save(tmp_path / "train" / plate / f"A01_ch{number:02}.tif", draw_plane(f"{plate}_A01", channel))
    ended = hpa("convert", tmp_path / "train", tmp_path / "s")
    assert ended.status == 2
    assert "--pattern" in ended.err
    words = ("--pattern", "{plate}/{well}_ch{channel}.tif", "--channels", "red=00,green=01,blue=02,yellow=03")
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", *words)
    assert ended.status == 0, ended.err
    assert_planes(tmp_path / "s", ["p1_A01", "p2_A01"])


def test_a_sample_without_any_channel_is_not_filled(tmp_path: Path, hpa: Hpa) -> None:
    for sample, names in (("a", CHANNELS), ("b", ("A", "B", "C", "D"))):
        metadata = {"axes": "CYX", "Channel": {"Name": list(names)}}
        save(tmp_path / "train" / f"{sample}.ome.tif", draw_stack(sample), ome=True, metadata=metadata)
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", "--naming", "stack", "--missing", "fill")
    assert ended.status == 1
    assert "1 of 2 samples ok" in ended.out


def test_filled_channels_are_named_and_counted(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train", "abc")
    (tmp_path / "train" / "b_yellow.png").unlink()
    (tmp_path / "train" / "c_yellow.png").unlink()
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", "--missing", "fill")
    assert ended.status == 0, ended.err
    (line,) = [line for line in ended.out.splitlines() if "filled" in line.lower() and "yellow" in line]
    assert "2" in line


def test_two_folders_of_samples_are_not_mixed(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "all" / "train", "ab")
    write_planes(tmp_path / "all" / "test", "cd")
    assert_refused(hpa("convert", tmp_path / "all", tmp_path / "s"), "train")
