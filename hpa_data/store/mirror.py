"""Stores at a URL: how TensorStore is told of them, and a copy of all that is small.

Everything of a part but the chunks of its images is fetched once, side by side, into a folder; so whatever reads a
local part reads it there, and only images are read from afar.
"""

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError, first_line
from hpa_data.format.arrays import ARRAYS, IMAGES
from hpa_data.reader.kvstore import import_tensorstore, make_kvstore, make_retries

# Of one small array; the known data sets have some thousands.
MAX_CHUNKS = 100_000


class Mirror:
    """What is fetched from a store at a URL.

    Attributes
    ----------
    url : str
    folder : Path
        Where it is put; exists.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url.rstrip("/")
        self.folder = folder
        tensorstore = import_tensorstore()
        spec = make_kvstore(url)
        context = tensorstore.Context(make_retries(spec["driver"]))
        self._store = self._wait(tensorstore.KvStore.open(spec, context=context))

    def fetch_root(self) -> bool:
        """Fetch what makes the store a group; False if there is nothing."""
        return bool(self._fetch(["zarr.json"]))

    def list_parts(self) -> list[str]:
        """List the names of what may be parts.

        Raises
        ------
        InputError
            If the server lists nothing, as most that speak HTTP alone.
        """
        try:
            keys = self._store.list().result()
        except (ValueError, NotImplementedError) as error:
            raise InputError(
                f"The parts of a store at a URL must be named if its server does not list them. Received: {self.url}: "
                f"{first_line(error)}. Name the part."
            ) from error
        names = [key.decode("utf-8", "replace").split("/") for key in keys]
        return sorted({name[0] for name in names if len(name) == 2 and name[1] == "zarr.json"})

    def fetch_part(self, name: str) -> bool:
        """Fetch all of a part but the chunks of its images; False if it is not there."""
        if (self.folder / name / "zarr.json").exists():
            return True
        names = [spec.name for spec in ARRAYS]
        # The group's own metadata come last, as they say that the part has been fetched.
        metadata = self._fetch([f"{name}/{array}/zarr.json" for array in names])
        keys = []
        for array in names:
            content = metadata.get(f"{name}/{array}/zarr.json")
            if content is not None and array != IMAGES.name:
                keys += [f"{name}/{array}/{chunk}" for chunk in _list_chunks(content, f"{self.url}/{name}/{array}")]
        self._fetch(keys)
        return bool(self._fetch([f"{name}/zarr.json"]))

    def _fetch(self, keys: list[str]) -> dict[str, bytes]:
        """Fetch objects side by side and write those that are there."""
        found = {}
        for key, reading in [(key, self._store.read(key)) for key in keys]:
            result = self._wait(reading)
            if result.state == "value":
                found[key] = bytes(result.value)
                path = self.folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(found[key])
        return found

    def _wait(self, future: Any) -> Any:
        try:
            return future.result()
        except (ValueError, OSError) as error:
            raise InputError(
                f"A store at a URL must be readable. Received: {self.url}: {first_line(error)}. Check the address, the "
                "network and the credentials."
            ) from error


def _list_chunks(metadata: bytes, where: str) -> list[str]:
    """List the keys of an array's chunks, or of its shards, from its metadata."""
    try:
        described = json.loads(metadata)
        shape = [int(size) for size in described["shape"]]
        chunks = [int(size) for size in described["chunk_grid"]["configuration"]["chunk_shape"]]
        counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"A store must be whole. Received: {where}, whose metadata have a fault: {error!r}."
        ) from error
    if any(count < 0 for count in counts) or math.prod(counts) > MAX_CHUNKS:
        raise InputError(
            f"A small array must have at most {MAX_CHUNKS} chunks. Received: {where} with {math.prod(counts)}. Convert "
            "it again."
        )
    return ["/".join(["c", *map(str, place)]) for place in product(*map(range, counts))]
