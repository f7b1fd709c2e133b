"""Tar and 7z archives: read as the folder that was packed, from any process, and nothing is left behind."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import py7zr
import pytest
from backports import zstd

from hpa_data.errors import InputError
from hpa_data.sources import archives
from hpa_data.sources.files import list_files, read_file
from hpa_data.sources.members import HIDDEN, LINK, REPEATED, REPEATED_UNEQUAL, SPECIAL, PassedOver
from hpa_data.sources.unpacked import Output
from hpa_data.system.executor import Parallelism
from tests.builders import assert_same_bytes, convert

FILES = {"train/a.png": b"a" * 1000, "train/b.png": b"", "train/.x/c.png": b"c", f"train/{'ü' * 90}.png": bytes(70_000)}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder for temporary files; it must be empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    archives._open.cache_clear()
    assert list(folder.iterdir()) == []


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_7z(path: Path, files: Mapping[str, bytes], **options: object) -> Path:
    with py7zr.SevenZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
        for name, content in files.items():
            archive.writestr(content, name)
    return path


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive of the kind that its name says."""
    if path.suffix == ".7z":
        return write_7z(path, files)
    if path.suffix == ".zst":
        plain = write_tar(path.with_suffix(".plain"), files).read_bytes()
        path.write_bytes(zstd.compress(plain))
        return path
    return write_tar(path, files, {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w"))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.tar.zst", "a.7z", "gz.bin"])
def test_an_archive_reads_as_its_folder_does(name: str, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / name, FILES)
    whole, inside = list_files(archive, nested=True), list_files(archive / "train", nested=False)
    kept = sorted(file for file in FILES if "/." not in file)
    assert list(whole.names) == kept
    assert [f"train/{file}" for file in inside.names] == kept
    assert [read_file(whole.root, file) for file in whole.names] == [FILES[file] for file in kept]
    assert [read_file(inside.root, file) for file in inside.names] == [FILES[file] for file in kept]
    assert whole.passed_over == (PassedOver("train/.x/", HIDDEN),)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.7z"])
def test_other_processes_read_an_archive_by_its_path_alone(name: str, tmp_path: Path, temporary: Path) -> None:
    archive = write_archive(tmp_path / name, FILES)
    code = "import sys; from hpa_data.sources.files import read_file; sys.stdout.buffer.write(read_file(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(archive), "train/a.png"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == FILES["train/a.png"]
    assert list(temporary.iterdir()) == []  # the only process removed what it wrote
    assert list_files(archive, nested=True).names
    (before,) = [path.stat().st_ino for path in temporary.glob("*/*")]
    assert subprocess.run(command, capture_output=True, check=True).stdout == FILES["train/a.png"]
    assert [path.stat().st_ino for path in temporary.glob("*/*")] == [before]  # shared, and kept for this one


def test_conversion_by_processes_reads_a_compressed_tar(kaggle: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "test.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(kaggle / "test", "./test")
    convert(kaggle / "test", tmp_path / "plain.zarr")
    done = convert(tmp_path / "test.tar.gz" / "test", tmp_path / "packed.zarr", workers=Parallelism(processes=2))
    assert (done.n_ok, done.failures) == (3, ())
    for name in ("images", "id"):
        assert_same_bytes(tmp_path / "plain.zarr" / "train" / name, tmp_path / "packed.zarr" / "train" / name)


def test_a_command_that_is_interrupted_leaves_no_unpacked_archive(tmp_path: Path, temporary: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", FILES)
    code = (
        "import sys, cli; from pathlib import Path; from hpa_data.sources.files import list_files\n"
        "from hpa_model.commands import app as commands\n"
        "def app():\n"
        "    list_files(Path(sys.argv[1]), nested=True)\n"
        "    sys.exit(130)  # as an interrupted command; main then calls os._exit(130)\n"
        "commands.app = app; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(archive)], check=False)
    assert (done.returncode, list(temporary.iterdir())) == (130, [])


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, temporary: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", FILES)
    code = (
        "import os, sys; from pathlib import Path; from hpa_data.sources.files import list_files;"
        "list_files(Path(sys.argv[1]), nested=True); os._exit(1)"
    )
    for left in (archive, write_archive(tmp_path / "b.tar.gz", FILES)):
        subprocess.run([sys.executable, "-c", code, str(left)], check=False)
    (folder,) = temporary.iterdir()
    (folder / "cut.tar.part").write_bytes(b"x")
    assert len(list(folder.iterdir())) >= 2
    list_files(write_archive(tmp_path / "c.tar.gz", FILES), nested=True)
    assert len(list(folder.iterdir())) == 1


def test_an_archive_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", {"a.png": b"old"})
    assert read_file(str(archive), "a.png") == b"old"
    os.replace(write_archive(tmp_path / "b.tar.gz", {"a.png": b"newer"}), archive)
    assert read_file(str(archive), "a.png") == b"newer"


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst", "a.7z", "a.tar"])
def test_an_archive_that_was_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / name, {"a.png": os.urandom(100_000), "b.png": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:150_000])
    with pytest.raises(InputError, match=rf"Cannot open {archive}: .*not (a )?complete.*[Ff]etch it again\."):
        list_files(archive, nested=True)


def test_a_7z_whose_directory_lies_behind_its_end_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.7z"
    archive.write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + b"\x66" * 500)
    with pytest.raises(InputError, match="it is damaged or not complete.*or fetch it again"):
        list_files(archive, nested=True)


def test_a_tar_with_a_damaged_header_is_refused_and_not_read_up_to_there(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar", {"a.png": b"a", "b.png": b"b"})
    content = bytearray(archive.read_bytes())
    content[1024] ^= 0xFF  # the header of b.png
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"not a complete tar archive \(the header at byte 1024 is damaged\)"):
        list_files(archive, nested=True)


def test_a_header_of_a_tar_that_states_a_huge_name_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33 - 1
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(InputError, match="a header states a length of"):
        list_files(tmp_path / "a.tar", nested=True)


def test_a_second_archive_behind_the_first_is_not_overlooked(tmp_path: Path) -> None:
    one, other = write_archive(tmp_path / "a.tar", {"a.png": b"a"}), write_archive(tmp_path / "b.tar", {"b.png": b"b"})
    one.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(InputError, match=r"another archive begins at byte 10240; tar -i unpacks all of them"):
        list_files(one, nested=True)


def test_links_and_devices_in_a_tar_are_passed_over_and_hard_links_are_the_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("./a.png")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"a"))
        for name, kind in (("b.png", tarfile.SYMTYPE), ("c.png", tarfile.FIFOTYPE), ("d.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png" if kind == tarfile.LNKTYPE else "/etc/passwd"
            tar.addfile(info)
    listing = list_files(tmp_path / "a.tar", nested=True)
    assert listing.names == ("a.png", "d.png")
    assert listing.passed_over == (PassedOver("b.png", LINK), PassedOver("c.png", SPECIAL))
    assert read_file(listing.root, "d.png") == b"a"


def test_sparse_files_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(10_000_000)
        file.write(b"x")
    command = ["tar", "-C", str(tmp_path), "-cSf", str(tmp_path / "a.tar"), "sparse.png"]
    subprocess.run(command, check=True)
    assert list_files(tmp_path / "a.tar", nested=True).passed_over == (PassedOver("sparse.png", SPECIAL),)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_a_tar_are_read(form: int, tmp_path: Path) -> None:
    name = f"{'folder/' * 15}{'x' * 50}.png"
    with tarfile.open(tmp_path / "a.tar", "w", format=form, pax_headers={"comment": "µ"} if form == 2 else None) as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"a"))
    assert list_files(tmp_path / "a.tar", nested=True).names == (name,)


def test_of_files_added_again_to_a_tar_the_last_is_read(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {"a.png": b"old", "b.png": b"same"})
    write_tar(archive, {"./a.png": b"new", "./b.png": b"same"}, "a")
    listing = list_files(archive, nested=True)
    assert listing.passed_over == (PassedOver("a.png", REPEATED_UNEQUAL), PassedOver("b.png", REPEATED))
    assert read_file(listing.root, "a.png") == b"new"


def test_an_archive_too_large_for_the_disk_says_so_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpa_data.sources.unpacked.KEEP_FREE_BYTES", 2**60)
    for name in ("a.tar.gz", "a.7z"):
        archive = write_archive(tmp_path / name, FILES)
        with pytest.raises(
            InputError, match=rf"Cannot unpack {archive}: it needs .*Set TMPDIR to a folder on a larger"
        ):
            list_files(archive, nested=True)


def test_a_locked_7z_says_so(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"header_encryption": True})):
        archive = write_7z(tmp_path / f"{number}.7z", FILES, password="secret", **options)
        with pytest.raises(InputError, match=rf"Cannot open {archive}: it is locked with a password\. Unpack it first"):
            list_files(archive, nested=True)


def test_a_7z_packed_by_ppmd_is_refused(tmp_path: Path) -> None:
    """A damaged one would end the process."""
    archive = write_7z(tmp_path / "a.7z", FILES, filters=[{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24}])
    with pytest.raises(InputError, match=r"it is packed by PPMd, which cannot be read here\. Unpack it first"):
        list_files(archive, nested=True)


def test_a_7z_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as archive:
        archive.writestr(b"a", "a.png")
        archive.writestr(b"b", "a.png")
    with pytest.raises(InputError, match=r"it has several files of one name\. Unpack it first"):
        list_files(tmp_path / "a.7z", nested=True)


def test_links_in_a_7z_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"a")
    (tmp_path / "in" / "b.png").symlink_to("a.png")
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as archive:
        archive.writeall(tmp_path / "in", "in")
    listing = list_files(tmp_path / "a.7z", nested=True)
    assert (listing.names, listing.passed_over) == (("in/a.png",), (PassedOver("in/b.png", LINK),))
    assert read_file(listing.root, "in/a.png") == b"a"


def test_without_the_package_a_7z_names_it(tmp_path: Path) -> None:
    archive = write_7z(tmp_path / "a.7z", FILES)
    code = (
        "import sys; sys.modules['py7zr'] = None; from pathlib import Path; from hpa_data.sources.files import *;"
        "list_files(Path(sys.argv[1]), nested=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(archive)], capture_output=True, text=True, check=False)
    assert "7z archives need the package py7zr. Run pip install 'hpa[7z]', or unpack it first" in done.stderr


def test_a_single_file_that_gzip_packed_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tif.gz").write_bytes(gzip.compress(b"II*\0" + bytes(1000)))
    with pytest.raises(
        InputError, match=r"a single file packed by gzip, not an archive\. Pass the folder that holds it"
    ):
        list_files(tmp_path / "a.tif.gz", nested=True)


def test_a_full_disk_for_temporary_files_is_not_called_a_damaged_archive() -> None:
    with io.FileIO("/dev/full", "w") as file, pytest.raises(InputError) as refused:
        Output(file, "a.7z", "/var/tmp").write(b"x")
    assert str(refused.value).startswith("Cannot unpack a.7z into /var/tmp: No space left on device. Set TMPDIR to ")
