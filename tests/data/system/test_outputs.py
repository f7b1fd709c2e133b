"""Outputs that cannot be written are refused before anything is computed, and nothing is left behind."""

import json
import os
import resource
import stat
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.system.outputs import check_distinct, check_output, check_output_folder


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Return a folder in which nobody can create a file, not even the administrator."""
    if os.geteuid() == 0:
        return Path("/sys") if Path("/sys").is_dir() else Path("/dev/fd")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    return folder


@pytest.mark.parametrize("name", ["a.csv", "new/folder/a.csv", "there.csv", "link.csv", "dangling.csv"])
def test_what_can_be_written_is_accepted_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to("there.csv")
    (tmp_path / "dangling.csv").symlink_to("nothing")
    before = sorted(os.listdir(tmp_path))
    check_output(tmp_path / name, n_bytes=1000)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "there.csv").read_text() == "before"


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"out-csv must be a file. Received: {tmp_path}, a folder. Pass {tmp_path}/a."):
        check_output(tmp_path, option="out-csv", example="a.csv")


@pytest.mark.parametrize("name", ["file/a.csv", "file/new/a.csv", "dangling/a.csv"])
def test_what_is_below_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(InputError, match=f"{name.partition('/')[0]} is not a folder. Pass another path."):
        check_output(tmp_path / name)
    with pytest.raises(InputError, match="figure-dir must be a folder. Received: "):
        check_output_folder(tmp_path / name, option="figure-dir")


@pytest.mark.parametrize("name", ["a.csv", "new/a.csv"])
def test_a_folder_that_cannot_be_written_to_is_refused_by_the_name_of_the_output(closed: Path, name: str) -> None:
    for check in (check_output, check_output_folder):
        with pytest.raises(InputError, match=rf"^Cannot (read or )?write {closed / name}: .*\. .*\.$"):
            check(closed / name)


def test_too_little_space_is_known_before(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.csv: it takes about .* GB, .*B are free on its disk. Free space"):
        check_output(tmp_path / "a.csv", n_bytes=1 << 60)
    with pytest.raises(InputError, match=r"it takes about .* GB"):
        check_output_folder(tmp_path / "new", n_bytes=1 << 60)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve space")
def test_a_limit_of_the_size_of_files_is_known_before(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        check_output(tmp_path / "a.csv", n_bytes=9_000)
        with pytest.raises(InputError, match=f"^Cannot write {tmp_path}/a.csv: it would be larger than is allowed"):
            check_output(tmp_path / "a.csv", n_bytes=11_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_too_long_is_known_before(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its name is too long. Pass a shorter one."):
        check_output(tmp_path / ("a" * 255))


def test_a_pipe_is_accepted_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_output(tmp_path / "pipe")
    check_output(Path("/dev/null"))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_file_that_a_run_has_sealed_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "fold0").mkdir()
    names = ["folds.csv", "fold0/probs.npz", "seal.json", "mine.csv"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "seal.json").write_text(json.dumps({"files": dict.fromkeys(names[:2], "0"), "sha256": "0"}))
    (tmp_path / "link").symlink_to(tmp_path / names[0])
    for name in (*names[:3], "link"):
        with pytest.raises(InputError, match=f"out must not be a file of a run. Received: {tmp_path / name}"):
            check_output(tmp_path / name)
        check_output(tmp_path / name, is_of_run=True)
    for name in ("mine.csv", "new.csv", "fold0/new.csv"):
        check_output(tmp_path / name)
    (tmp_path / "seal.json").write_text("[")
    check_output(tmp_path / names[0])


def test_outputs_must_not_replace_each_other_nor_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a.csv")
    check_distinct({"out": tmp_path / "a.csv", "probs": tmp_path / "b.csv"}, inputs={"SOURCE": None})
    check_distinct({"out": Path("/dev/null"), "probs": Path("/dev/null")})
    with pytest.raises(InputError, match="probs must not be the file of out. Received: .*link. Pass another path."):
        check_distinct({"out": tmp_path / "a.csv", "probs": tmp_path / "link"})
    with pytest.raises(InputError, match="out must not be the file of sample-submission."):
        check_distinct({"out": tmp_path / "a.csv"}, inputs={"sample-submission": tmp_path / "x" / ".." / "a.csv"})
