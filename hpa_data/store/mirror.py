"""Stores at a URL: a local copy of everything but the images.

All arrays of a part but its images are downloaded once, concurrently, into a folder. Whatever reads a local part reads
them there; only images are read over the network.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError, first_line
from hpa_data.format.arrays import ARRAYS, IMAGES, SEAL_KEY
from hpa_data.reader.kvstore import import_tensorstore, make_retries
from hpa_data.reader.remote import Server

# In one array beside the images; the known data sets have some thousands.
MAX_CHUNKS = 100_000


class Mirror:
    """Downloads what is needed of a store at a URL into `folder`, which exists."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url.rstrip("/")
        self.folder = folder
        self._server = Server(url)
        tensorstore = import_tensorstore()
        context = tensorstore.Context(make_retries(self._server.spec["driver"]))
        self._store = self._wait(lambda: tensorstore.KvStore.open(self._server.spec, context=context))

    def fetch_root(self) -> bool:
        """Fetch the metadata of the store's group; False if there are none."""
        return bool(self._fetch(["zarr.json"]))

    def list_parts(self) -> list[str]:
        """List the names of all groups and arrays, which may be parts.

        Raises
        ------
        InputError
            If the server cannot list objects, as most plain HTTP servers.
        """
        try:
            keys = self._server.list(self._store)
        except NotImplementedError as error:
            raise InputError(
                f"Cannot list the parts of {self.url}: its server does not list objects ({first_line(error)}). Name "
                "the part."
            ) from error
        names = [key.decode("utf-8", "replace").split("/") for key in keys]
        return sorted({name[0] for name in names if len(name) == 2 and name[1] == "zarr.json"})

    def fetch_part(self, name: str) -> bool:
        """Fetch everything of a part but the chunks of its images; False if it does not exist."""
        if (self.folder / name / "zarr.json").exists():
            return True
        names = [spec.name for spec in ARRAYS]
        # The group's metadata come last: once they exist, the part has been fetched.
        metadata = self._fetch([f"{name}/{array}/zarr.json" for array in names])
        keys = []
        for array in names:
            content = metadata.get(f"{name}/{array}/zarr.json")
            if content is not None and array != IMAGES.name:
                keys += [f"{name}/{array}/{chunk}" for chunk in _list_chunks(content, f"{self.url}/{name}/{array}")]
        self._fetch([*keys, f"{name}/{SEAL_KEY}"])
        return bool(self._fetch([f"{name}/zarr.json"]))

    def _fetch(self, keys: list[str]) -> dict[str, bytes]:
        """Fetch objects concurrently, and write those that exist."""
        found = {}
        results = self._server.read([partial(self._store.read, key) for key in keys], f"the store {self.url}")
        for key, result in zip(keys, results, strict=True):
            if result.state == "value":
                found[key] = bytes(result.value)
                path = self.folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(found[key])
        return found

    def _wait(self, start: Callable[[], Any]) -> Any:
        (result,) = self._server.read([start], f"the store {self.url}")
        return result


def _list_chunks(metadata: bytes, url: str) -> list[str]:
    """List the keys of an array's chunks from its metadata."""
    try:
        described = json.loads(metadata)
        shape = [int(size) for size in described["shape"]]
        chunks = [int(size) for size in described["chunk_grid"]["configuration"]["chunk_shape"]]
        counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"Cannot read {url}: its metadata are damaged: {error!r}. Convert the part again with --overwrite."
        ) from error
    if any(count < 0 for count in counts) or math.prod(counts) > MAX_CHUNKS:
        raise InputError(
            f"Cannot read {url}: it has {math.prod(counts)} chunks, and at most {MAX_CHUNKS} are downloaded. Convert "
            "the part again."
        )
    return ["/".join(["c", *map(str, position)]) for position in product(*map(range, counts))]
