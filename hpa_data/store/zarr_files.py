"""The files of a local store as zarr-python reads them: only regular ones, and no larger than they can be."""

import asyncio
import json
import re
from typing import Any

from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from hpa_data.format.columns import MAX_CHUNK_BYTES, find_max_chunk_bytes
from hpa_data.system.files import MAX_TEXT_BYTES, read_regular


class RegularFiles(LocalStore):
    """A local store that waits for no pipe and reads nothing without an end; both are a ValueError."""

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read an object, or a part of it; None if there is none."""
        if byte_range is not None:  # nothing that we write is read so
            return await super().get(key, prototype or default_buffer_prototype(), byte_range)
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read an object, or a part of it; None if there is none."""
        if byte_range is not None:
            return super().get_sync(key, prototype=prototype, byte_range=byte_range)
        try:
            content = read_regular(self.root / key, max_bytes=self._find_max_bytes(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise ValueError(f"{self.root / key}: {error}") from error
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    def _find_max_bytes(self, key: str) -> int:
        """Return how many bytes an object can have; of a chunk, by the metadata of its array."""
        array = re.fullmatch(r"(.*)/c/[0-9/]+", key)
        if array is None:
            return MAX_TEXT_BYTES
        try:
            described = json.loads(read_regular(self.root / array[1] / "zarr.json", max_bytes=MAX_TEXT_BYTES))
            chunk_shape = map(int, described["chunk_grid"]["configuration"]["chunk_shape"])
            bits = re.fullmatch(r"u?int(\d+)", described["data_type"])
            return find_max_chunk_bytes(chunk_shape, int(bits[1]) // 8 if bits else None)
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            return MAX_CHUNK_BYTES  # what is wrong with them is for zarr-python to say
