"""Stores at a URL: a local copy of everything but the images.

The arrays of a part but its images are downloaded once, concurrently, into a folder: those that every reader needs when
the part is opened, in two rounds of requests, the others when they are read. Whatever reads a local part reads them
there; only images are read over the network.
"""

import json
import math
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError
from hpa_data.format.arrays import ARRAYS, IMAGES, SEAL_KEY, ArraySpec, check_ids
from hpa_data.reader.gate import MAX_METADATA_BYTES
from hpa_data.reader.kvstore import import_tensorstore, make_concurrency, make_retries
from hpa_data.reader.remote import Server

# Of the arrays that have a chunk for each shard, those that every reader needs.
NEEDED = {"status", "checksum"}
# Requests in flight: most of the answers have some hundred bytes.
N_IN_FLIGHT = 128
# Of an array; ours have a thousand bytes. The smaller, the more of them are held, and so asked for, at once.
ARRAY_BYTES = 2**20
# In one array beside the images; the known data sets have some thousands.
MAX_CHUNKS = 100_000
# Of all that is downloaded, and of what is held in memory at once.
MAX_BYTES, MAX_BYTES_AT_ONCE = 8 * 2**30, 256 * 2**20
# Of a text, compressed: an id, a note, how a copy was made.
TEXT_BYTES = 1024
ITEM_BYTES = {"uint8": 1, "uint32": 4, "uint64": 8, "string": TEXT_BYTES}


class Mirror:
    """Downloads what is needed of a store at a URL into `folder`, which exists."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url.rstrip("/")
        self.folder = folder
        self._n_bytes = 0
        self._fetched: set[str] = set()  # parts, and arrays that are not fetched with their part
        self._lock = threading.Lock()
        self._server = Server(url)
        tensorstore = import_tensorstore()
        driver = self._server.spec["driver"]
        context = tensorstore.Context(make_retries(driver) | make_concurrency(driver, N_IN_FLIGHT))
        open_server = partial(tensorstore.KvStore.open, self._server.spec, context=context)
        (self._store,) = self._server.read([open_server], f"the store {self.url}")

    def fetch_root(self) -> bool:
        """Fetch the metadata of the store's group; False if there are none."""
        return bool(self._fetch({"zarr.json": MAX_METADATA_BYTES}))

    def list_parts(self) -> list[str]:
        """List the names of all groups and arrays, which may be parts.

        Raises
        ------
        InputError
            If the server cannot list objects, as most plain HTTP servers.
        """
        keys = self._server.list(self._store)
        names = [key.decode("utf-8", "replace").split("/") for key in keys]
        return sorted({name[0] for name in names if len(name) == 2 and name[1] == "zarr.json"})

    def fetch_part(self, name: str) -> bool:
        """Fetch what opening a part and reading its images needs; False if it does not exist."""
        with self._lock:
            if name in self._fetched:
                return True
            exists = self._fetch_part(name)
            if exists:
                self._fetched.add(name)
            return exists

    def fetch_array(self, part: str, name: str) -> None:
        """Fetch the chunks of an array, unless they came with their part."""
        key = f"{part}/{name}"
        with self._lock:
            if key not in self._fetched and any(spec.name == name and _is_left(spec) for spec in ARRAYS):
                self._fetch(self._list_chunks(key))
                self._fetched.add(key)

    def _fetch_part(self, name: str) -> bool:
        known = [f"{name}/{spec.name}/zarr.json" for spec in ARRAYS]
        more = [f"{name}/id/c/0", f"{name}/{SEAL_KEY}", f"{name}/zarr.json"]
        found = self._fetch(dict.fromkeys(known, ARRAY_BYTES) | dict.fromkeys(more, MAX_METADATA_BYTES))
        arrays = [spec.name for spec in ARRAYS if not _is_left(spec) and f"{name}/{spec.name}/zarr.json" in found]
        chunks = {array: self._list_chunks(f"{name}/{array}") for array in arrays}
        # The ids before the rest: a part whose metadata promise more than it has is refused at once.
        ids = dict(list(chunks.pop("id", {}).items())[1:])
        for keys in (dict[str, int](), ids) if f"{name}/images/zarr.json" in found else ():
            found |= self._fetch(keys) if keys else {}
            n_bytes = sum(size for key, size in found.items() if key.startswith(f"{name}/id/c/"))
            self._check_ids(name, n_bytes if keys is ids else n_bytes * (1 + len(ids)))
        self._fetch({key: size for listed in chunks.values() for key, size in listed.items()})
        return f"{name}/zarr.json" in found

    def _fetch(self, keys: Mapping[str, int]) -> dict[str, int]:
        """Fetch objects concurrently, each of at most so many bytes, and write those that exist; return their sizes."""
        found: dict[str, int] = {}
        for batch in split_objects(keys, MAX_BYTES_AT_ONCE):
            for key in batch:
                self._server.allow(key, keys[key])
            results = self._server.read([partial(self._store.read, key) for key in batch], f"the store {self.url}")
            for key, result in zip(batch, results, strict=True):
                if result.state == "value":
                    self._write(key, bytes(result.value), keys[key])
                    found[key] = len(result.value)
        return found

    def _write(self, key: str, content: bytes, n_allowed: int) -> None:
        if len(content) > n_allowed:  # where no gate stopped it
            raise InputError(
                f"Cannot read {self.url}/{key}: it has {len(content)} bytes, where at most {n_allowed} are expected. "
                "Check where the store is from."
            )
        self._n_bytes += len(content)
        if self._n_bytes > MAX_BYTES:
            raise InputError(
                f"Cannot read the store {self.url}: what it holds beside its images has more than {MAX_BYTES} bytes. "
                "Check where it is from, or copy it to a folder."
            )
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _check_ids(self, name: str, n_bytes: int) -> None:
        """Refuse a part that cannot have as many ids as its metadata promise: InputError."""
        try:
            check_ids(int(self._describe(f"{name}/images")["shape"][0]), n_bytes)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"Cannot read part {name!r} of {self.url}: {error}. Check where the store is from."
            ) from error

    def _describe(self, array: str) -> dict[str, Any]:
        """Return the metadata of an array that was fetched."""
        described: dict[str, Any] = json.loads((self.folder / array / "zarr.json").read_bytes())
        return described

    def _list_chunks(self, array: str) -> dict[str, int]:
        """List the keys of an array's chunks, each with the most bytes that it may have, from the array's metadata."""
        try:
            described = self._describe(array)
            shape = [int(size) for size in described["shape"]]
            chunk = [int(size) for size in described["chunk_grid"]["configuration"]["chunk_shape"]]
            counts = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
            n_bytes = math.prod(chunk) * ITEM_BYTES.get(str(described["data_type"]), TEXT_BYTES)
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
            raise InputError(
                f"Cannot read {self.url}/{array}: its metadata are damaged: {error!r}. Convert the part again with "
                "--overwrite."
            ) from error
        if any(count < 0 for count in counts) or math.prod(counts) > MAX_CHUNKS:
            raise InputError(
                f"Cannot read {self.url}/{array}: it has {math.prod(counts)} chunks, and at most {MAX_CHUNKS} are "
                "downloaded. Convert the part again."
            )
        # What does not compress grows a little.
        allowed = min(n_bytes + n_bytes // 16 + 4096, MAX_BYTES_AT_ONCE)
        keys = ("/".join([array, "c", *map(str, position)]) for position in product(*map(range, counts)))
        return dict.fromkeys(keys, allowed)


def _is_left(spec: ArraySpec) -> bool:
    """Return whether an array is fetched only when it is read, or never, as the images are."""
    return spec is IMAGES or (spec.per_shard and spec.name not in NEEDED)


def split_objects(sizes: Mapping[str, int], n_bytes: int) -> Iterator[list[str]]:
    """Split objects of the given sizes into batches of at most `n_bytes`; a larger object is alone.

    Examples
    --------
    >>> list(split_objects({"a": 3, "b": 3, "c": 2, "d": 9, "e": 1}, 5))
    [['a'], ['b', 'c'], ['d'], ['e']]
    """
    batch: list[str] = []
    n_left = n_bytes
    for key, size in sizes.items():
        if batch and size > n_left:
            yield batch
            batch, n_left = [], n_bytes
        batch.append(key)
        n_left -= size
    if batch:
        yield batch
