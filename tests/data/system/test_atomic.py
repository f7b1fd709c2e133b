"""Files are there whole or not at all, in the page cache or past it."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.system import atomic as whole
from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.memory import BufferPool


@pytest.mark.parametrize("page_cache", [True, False])
@given(
    pieces=st.lists(
        # Whole blocks and pages among them, in memory that is aligned or is not.
        st.tuples(
            st.integers(0, 3 * whole.BLOCK_BYTES // 2) | st.sampled_from((4096, whole.BLOCK_BYTES)), st.booleans()
        ),
        max_size=4,
    )
)
def test_a_file_holds_what_was_written_to_it(
    tmp_path_factory: pytest.TempPathFactory, page_cache: bool, pieces: list[tuple[int, bool]]
):
    path = tmp_path_factory.mktemp("whole") / "folder" / "file"
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
def test_a_file_whose_writing_fails_stays_what_it_was(tmp_path: Path, page_cache: bool):
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


def test_a_disk_that_takes_no_writes_past_the_cache_gets_them_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
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
