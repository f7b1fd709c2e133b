"""Files are complete or unchanged, whether they are written through the page cache or past it."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.system.atomic import BLOCK_BYTES, open_atomic, write_atomic
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
