"""Which names in a folder or an archive are files of the source, however the archive spells them."""

import gzip
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.sources.files import list_files, read_file
from hpa_data.sources.members import (
    ARCHIVE,
    HIDDEN,
    LINK,
    PACKED_TWICE,
    REPEATED,
    REPEATED_UNEQUAL,
    SUBFOLDER,
    PassedOver,
)
from hpa_data.sources.naming import find_samples
from tests.builders import draw_image, write_sample

HIDDEN_NAMES = [
    ".ipynb_checkpoints/a-checkpoint.tif",
    "@eaDir/a.tif/SYNOPHOTO_THUMB_M.jpg",
    ".snapshot/hourly.0/a.tif",
    "plate/.AppleDouble/a.tif",
    "$RECYCLE.BIN/a.tif",
    "System Volume Information/a.tif",
    "lost+found/a.tif",
    "plate/Thumbs.db",
    ".DS_Store",
    "._a.tif",
    "..data/a.tif",
]


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(archive: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive


@pytest.mark.parametrize("write", [write_files, write_zip])
@pytest.mark.parametrize("name", [*HIDDEN_NAMES, "__MACOSX/._a.tif"])
def test_hidden_files_and_folders_are_passed_over_and_listed(write, name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.zip", {"a.tif": b"a", "plate/b.tif": b"b", name: b"x"})
    listing = list_files(source, nested=True)
    assert listing.names == ("a.tif", "plate/b.tif")
    (other,) = listing.passed_over
    assert other.reason == HIDDEN
    assert name.startswith(other.name)


def test_a_hidden_folder_may_be_named_as_the_source_itself(tmp_path: Path) -> None:
    folder = write_files(tmp_path / ".cache", {"a.tif": b"a"})
    archive = write_zip(tmp_path / "a.zip", {".cache/a.tif": b"a"})
    assert list_files(folder, nested=True).names == list_files(archive / ".cache", nested=True).names == ("a.tif",)


def test_a_hidden_folder_without_permission_does_not_matter(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.tif": b"a", "lost+found/x": b"x"})
    (tmp_path / "lost+found").chmod(0)
    assert list_files(tmp_path, nested=True).names == ("a.tif",)


@pytest.mark.parametrize("write", [write_files, write_zip])
def test_what_lies_in_subfolders_is_listed_where_they_are_not_searched(write, tmp_path: Path) -> None:
    source = write(tmp_path / "a.zip", {"a.tif": b"a", "plate/b.tif": b"b", "plate/well/c.tif": b"c"})
    listing = list_files(source, nested=False)
    assert listing.names == ("a.tif",)
    assert listing.passed_over == (PassedOver("plate/", SUBFOLDER),)


@pytest.mark.parametrize("spelling", ["train\\a.png", "./train/a.png", "train//a.png", ".\\train\\.\\a.png"])
def test_names_in_a_zip_are_read_as_unpackers_read_them(spelling: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"train\\": b"", spelling: b"a"})
    assert list_files(archive, nested=True).names == ("train/a.png",)
    assert list_files(archive / "train", nested=False).names == ("a.png",)
    assert read_file(str(archive / "train"), "a.png") == read_file(str(archive), "train/a.png") == b"a"


@pytest.mark.parametrize("name", ["..\\a.png", "train/../../a.png", "C:\\train\\a.png", "\\\\server\\a.png", "/a.png"])
def test_names_that_lead_out_of_an_archive_keep_their_spelling(name: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {name: b"a"})
    assert list_files(archive, nested=False).names == (name,)


def test_ids_have_no_backslash_in_archives_and_folders(tmp_path: Path) -> None:
    write_sample(tmp_path / "plain", "a", draw_image(0))
    files = {f"train\\{path.name}": path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    archive, folder = write_zip(tmp_path / "a.zip", files), write_files(tmp_path / "unpacked", files)
    assert [sample.id for sample in find_samples(archive / "train")] == ["a"]
    assert [sample.id for sample in find_samples(folder)] == ["a"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_with_one_name_the_last_is_read_and_the_others_are_listed(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"first", "b.png": b"same", "c/d.png": b"d"})
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("a.png", b"last")
        file.writestr("./b.png", b"same")
    listing = list_files(archive, nested=True)
    assert listing.names == ("a.png", "b.png", "c/d.png")
    assert listing.passed_over == (PassedOver("a.png", REPEATED_UNEQUAL), PassedOver("b.png", REPEATED))
    assert read_file(listing.root, "a.png") == b"last"
    assert list_files(archive / "c", nested=True).passed_over == ()


def test_a_name_in_utf8_is_read_whether_or_not_the_archive_says_so(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"µm_ß.png": b"a"})
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        local, directory = file.getinfo("µm_ß.png").header_offset + 6, file.start_dir + 8
    unflagged = bytearray(content)
    for place in (local, directory):
        unflagged[place + 1] &= ~0x08
    archive.write_bytes(unflagged)
    assert list_files(archive, nested=True).names == ("µm_ß.png",)
    assert read_file(str(archive), "µm_ß.png") == b"a"


def test_a_name_in_the_code_page_of_dos_is_read(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"xxx.png": b"a"})
    archive.write_bytes(archive.read_bytes().replace(b"xxx.png", "Zürich.png".encode("cp437")[:3] + b".png"))
    assert list_files(archive, nested=True).names == ("Zür.png",)


def test_links_in_an_archive_are_passed_over(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"a"})
    link = zipfile.ZipInfo("b.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, "/etc/passwd")
    listing = list_files(archive, nested=True)
    assert (listing.names, listing.passed_over) == (("a.png",), (PassedOver("b.png", LINK),))


@pytest.mark.parametrize("write", [write_files, write_zip])
def test_files_packed_by_gzip_are_listed_and_read_unpacked(write, tmp_path: Path) -> None:
    packed = gzip.compress(b"content")
    source = write(tmp_path / "a.zip", {"a.tif.gz": packed, "sub/b.TIF.GZ": packed, "c.tif": b"c", "c.tif.gz": packed})
    listing = list_files(source, nested=True)
    assert listing.names == ("a.tif", "c.tif", "sub/b.TIF")
    assert [read_file(listing.root, name) for name in listing.names] == [b"content", b"c", b"content"]
    assert listing.passed_over == (PassedOver("c.tif.gz", PACKED_TWICE),)


def test_a_file_that_gzip_packed_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpa_data.sources.files.MAX_FILE_BYTES", 10_000)
    write_files(tmp_path, {"bomb.tif.gz": gzip.compress(bytes(10_001)), "cut.tif.gz": gzip.compress(b"abc")[:-4]})
    for name, reason in (("bomb.tif", "more than 10000"), ("cut.tif", "ended before"), ("none.tif", "No such file")):
        with pytest.raises(InputError, match=f"Cannot read {name}: .*{reason}") as caught:
            read_file(str(tmp_path), name)
        assert caught.value.file == name


@pytest.mark.parametrize("name", ["part1.zip", "a.7z", "a.tar.gz", "a.tgz", "a.tar", "a.7z.001", "a.z01"])
def test_archives_in_a_source_are_passed_over(name: str, tmp_path: Path) -> None:
    listing = list_files(write_files(tmp_path, {name: b"x", "a.tar.tif": b"y"}), nested=True)
    assert (listing.names, listing.passed_over) == (("a.tar.tif",), (PassedOver(name, ARCHIVE),))


def test_a_source_that_holds_only_an_archive_says_what_to_pass(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "download", {"train.zip": b"x"})
    with pytest.raises(InputError, match=r"It holds the archive train\.zip: pass .*download/train\.zip\."):
        find_samples(folder)
    with pytest.raises(InputError, match=r"It holds the archive train\.zip: unpack .*all\.zip first\."):
        find_samples(write_zip(tmp_path / "all.zip", {"train.zip": b"x"}))
