"""Files are complete or unchanged, whether they are written through the page cache or past it."""

import errno
import fcntl
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.system.atomic import BLOCK_BYTES, open_atomic, write_atomic, write_output
from hpa_data.system.memory import BufferPool


@pytest.mark.parametrize("page_cache", [True, False])
@settings(deadline=None)
@given(
    pieces=st.lists(
        # Including whole blocks and pages, in memory that is aligned or not.
        st.tuples(st.integers(0, 3 * BLOCK_BYTES // 2) | st.sampled_from((4096, BLOCK_BYTES)), st.booleans()),
        max_size=4,
    )
)
def test_a_file_holds_what_was_written_to_it(
    tmp_path_factory: pytest.TempPathFactory, page_cache: bool, pieces: list[tuple[int, bool]]
):
    path = tmp_path_factory.mktemp("atomic") / "folder" / "file"
    buffers, written = BufferPool(), []
    with open_atomic(path, page_cache=page_cache) as file:
        for number, (size, is_aligned) in enumerate(pieces, start=1):
            memory = buffers.acquire((size,)) if is_aligned else np.empty(size + 1, np.uint8)[1:]
            memory[:] = number
            file.write(memory.data)
            written.append(memory.tobytes())
        assert not path.exists()
    assert path.read_bytes() == b"".join(written)
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("page_cache", [True, False])
def test_a_file_is_unchanged_if_writing_fails(tmp_path: Path, page_cache: bool):
    path = tmp_path / "file"
    write_atomic(path, b"before")

    def fail() -> None:
        with open_atomic(path, page_cache=page_cache) as file:
            file.write(b"half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_system_without_direct_writes_gets_buffered_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened, written = os.open, os.write
    refused = []

    def refuse_open(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            refused.append("open")
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse_open)
    with open_atomic(tmp_path / "one", page_cache=False) as file:
        file.write(b"pixels")
    monkeypatch.setattr(os, "open", opened)

    def refuse_write(file: int, content: bytes) -> int:
        if "write" not in refused:
            refused.append("write")
            raise OSError(errno.EINVAL, "Invalid argument")
        return written(file, content)

    monkeypatch.setattr(os, "write", refuse_write)
    with open_atomic(tmp_path / "two", page_cache=False) as file:
        file.write(b"pixels")
    assert refused == ["open", "write"]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == b"pixels"


def test_temporary_files_of_an_output_go_with_the_next_one_once_nobody_can_write_them(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = [f".a.csv.{ended.pid}-1.part", f".a.csv.{ended.pid}-2.part", f".b.csv.{ended.pid}-1.part"]
    names += [f".a.csv.{os.getpid()}-1.part", f".a.csv.{ended.pid}.part", "a.csv"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".a.csv.{ended.pid}-3.part").symlink_to(tmp_path / names[2])
    with (tmp_path / names[1]).open("rb") as elsewhere:
        fcntl.flock(elsewhere, fcntl.LOCK_EX)  # as on another machine
        write_output(tmp_path / "a.csv", b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], f".a.csv.{ended.pid}-3.part"])
