"""Archives that cannot be read: each message says what the file really is, and what helps."""

import struct
import zipfile
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.sources.files import list_files, read_file
from tests.data.sources.test_members import write_zip

UNPACK = "Unpack it first, and pass the folder"


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("a.rar", b"Rar!\x1a\x07\1\0", f"it is a RAR archive, which cannot be read. {UNPACK}"),
        ("a.tar.lz4", b"\x04\x22\x4d\x18", f"it is packed by LZ4, which cannot be read. {UNPACK}"),
        ("a.part1.rar", b"Rar!\x1a\x07\1\0", "Unpack all its parts first, and pass the folder"),
        ("a.z01", b"PK\7\x08PK\3\4", "one part of an archive in several files. Join the parts first: zip -s 0 a.zip"),
        (
            "a.zip.001",
            b"PK\3\4",
            r"one part of an archive in several files. Join the parts first: cat a.zip.\* > a.zip",
        ),
        ("a_red.png", b"\x89PNG\r\n\x1a\n", "it is a single image. Pass the folder that holds it"),
        ("a.tar", b"x" * 512, "it does not begin as an archive does, so it is damaged. Fetch it again"),
        ("train.csv", b"Id,Target\n", "it is neither a folder nor an archive. Pass the folder that holds the images"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(name: str, head: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(head + bytes(500))
    with pytest.raises(InputError, match=rf"Cannot open {tmp_path / name}: .*{message}"):
        list_files(tmp_path / name, nested=True)


def test_a_file_without_content_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    with pytest.raises(InputError, match=r"Cannot open .*a\.zip: it is empty, or begins with zeros\. Fetch it again\."):
        list_files(tmp_path / "a.zip", nested=True)


def change(archive: Path, place: int, value: int) -> None:
    """Set a 16-bit number in every entry of the directory of a Zip archive."""
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        begin = file.start_dir
    while (begin := content.find(b"PK\1\2", begin)) >= 0:
        struct.pack_into("<H", content, begin + place, value)
        begin += 46
    archive.write_bytes(content)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (8, 1, "it is locked with a password"),
        (10, 99, "it is locked with a password"),
        (10, 9, "it is packed by Deflate64, which cannot be read here"),
        (10, 93, "it is packed by Zstandard, which cannot be read here"),
        (10, 77, "it is packed by method 77, which cannot be read here"),
        (6, 99, r"it needs a newer version of the format \(zip file version 9.9\)"),
    ],
)
def test_a_zip_that_cannot_be_unpacked_says_why(place: int, value: int, message: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"a", "b.png": b"b"})
    change(archive, place, value)
    with pytest.raises(InputError, match=rf"Cannot open .*a\.zip: {message}\. {UNPACK}\."):
        list_files(archive, nested=True)


def test_a_locked_member_beside_others_fails_by_name(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"a"})
    change(archive, 8, 1)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("b.png", b"b")
    assert read_file(str(archive), "b.png") == b"b"
    message = r"Cannot read a\.png: it is locked with a password\. Unpack the archive first\."
    with pytest.raises(InputError, match=message) as caught:
        read_file(str(archive), "a.png")
    assert caught.value.file == "a.png"


def test_the_last_part_of_a_split_zip_says_how_to_join_them(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"a"})
    content = bytearray(archive.read_bytes())
    struct.pack_into("<HH", content, len(content) - 18, 2, 2)
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"several files\. Join the parts first: zip -s 0 a\.zip --out whole\.zip\."):
        list_files(archive, nested=True)


def test_the_last_piece_of_a_zip_that_was_cut_into_pieces_says_how_to_join_them(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": bytes(1000), "b.png": bytes(1000)})
    (tmp_path / "a.zip.002").write_bytes(archive.read_bytes()[500:])
    with pytest.raises(InputError, match=r"several files\. Join the parts first: cat a\.zip\.\* > a\.zip\."):
        list_files(tmp_path / "a.zip.002", nested=True)


def test_an_archive_inside_an_archive_is_called_that(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "all.zip", {"sub/train.zip": b"x"})
    for path in ("sub/train.zip", "sub/train.zip/train"):
        with pytest.raises(InputError, match=r"sub/train\.zip is a file inside an archive\. Unpack .*all\.zip first\."):
            list_files(archive / path, nested=True)


def test_a_damaged_directory_of_a_zip_is_told_from_a_missing_one(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"a", "b.png": b"b"})
    content = archive.read_bytes()
    for damaged, reason in (
        (content.replace(b"PK\1\2", b"XX\1\2"), r"its directory is damaged \("),
        (content[:-10], r"it is not a complete Zip archive\. Fetch it again"),
    ):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"Cannot open {archive}: {reason}"):
            list_files(archive, nested=True)


def test_a_zip_with_a_comment_or_64_bit_records_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.comment = b"x" * 60_000
        with file.open("a.png", "w", force_zip64=True) as member:
            member.write(b"a")
    archive.write_bytes(b"#!/bin/sh\n" + archive.read_bytes())  # an archive that unpacks itself
    assert list_files(archive, nested=True).names == ("a.png",)
    assert read_file(str(archive), "a.png") == b"a"


def test_a_folder_that_an_archive_lacks_is_named_with_those_that_it_has(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"train/a.png": b"a", "test/b.png": b"b"})
    with pytest.raises(InputError, match=r"Cannot find the folder Train in .*a\.zip\. It has: test, train\."):
        list_files(archive / "Train", nested=True)


def test_an_archive_without_files_or_with_hidden_ones_alone_lists_none(tmp_path: Path) -> None:
    assert list_files(write_zip(tmp_path / "a.zip", {}), nested=True).names == ()
    listing = list_files(write_zip(tmp_path / "b.zip", {".DS_Store": b"x", "folder/": b""}), nested=True)
    assert (listing.names, len(listing.passed_over)) == ((), 1)


def test_a_folder_with_the_name_of_an_archive_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.zip").mkdir()
    (tmp_path / "x.zip" / "a.png").write_bytes(b"a")
    listing = list_files(tmp_path / "x.zip", nested=True)
    assert (listing.names, listing.is_archive) == (("a.png",), False)
    assert list_files(tmp_path, nested=True).names == ("x.zip/a.png",)
