"""Reading the arrays beside the images, which have one small chunk per shard.

zarr-python takes 0.1 to 0.3 ms per chunk, also for those that do not exist, as of notes, and a part of a million
samples has 15,625 chunks per array. Here it is a tenth. Arrays of another form than that of `format.arrays` are left to
zarr-python.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numcodecs.blosc
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.vlen import VLenUTF8

from hpa_data.format.codecs import BLOSC_HEADER

# Of a text, in the mean of a chunk: ids and file names have at most some hundred, notes a thousand letters. And of a
# chunk, beside its cells, since codecs add to a chunk of any size; and in all, since Blosc takes no more.
TEXT_BYTES, SPARE_BYTES, MAX_CHUNK_BYTES = 4096, 2**20, 2**31 - 1

# A grid of chunks like ours, but for their shape.
_KEYS = {"name": "default", "configuration": {"separator": "/"}}


def find_max_chunk_bytes(chunk_shape: Iterable[int], item_bytes: int | None) -> int:
    """Return how many bytes a chunk can have, encoded or not; `item_bytes` is None for texts."""
    return min(math.prod(chunk_shape) * (item_bytes or TEXT_BYTES) + SPARE_BYTES, MAX_CHUNK_BYTES)


def find_max_bytes(array: zarr.Array[Any]) -> int:
    """Return how many bytes a chunk of an array can have, encoded or not, by its metadata."""
    dtype = find_dtype(array)
    return find_max_chunk_bytes(array.chunks, None if dtype is None else dtype.itemsize)


def find_dtype(array: zarr.Array[Any]) -> np.dtype[Any] | None:
    """Return the type of an array's numbers; None if it is of texts."""
    return array.dtype if array.dtype.kind in "iu" else None


def read_column(array: zarr.Array[Any], get: Callable[[str], bytes | None]) -> npt.NDArray[Any]:
    """Read a whole array from its encoded chunks, one at a time.

    Parameters
    ----------
    array : zarr.Array
        With a row per sample, channel or class.
    get : function of str
        Returns a chunk by its key within the array, None if there is none. Not called for an array that is left to
        zarr-python.

    Returns
    -------
    array of the array's shape
        Strings as objects. What zarr-python reads: a chunk that does not exist is zeros or empty strings.

    Raises
    ------
    ValueError, RuntimeError
        If a chunk is damaged. zarr-python may raise other errors.
    """
    if not is_native(array):
        return np.asarray(array[:])
    n_rows, size = array.shape[0], array.chunks[0]
    dtype = find_dtype(array)
    rows = np.full(array.shape, "", object) if dtype is None else np.zeros(array.shape, dtype)
    rest = ["0"] * (array.ndim - 1)
    for number in range(-(-n_rows // size)):
        content = get("/".join(["c", str(number), *rest]))
        if content is not None:
            rows[number * size : (number + 1) * size] = decode_chunk_rows(content, dtype, array.chunks)[
                : n_rows - number * size
            ]
    return rows


def decode_chunk_rows(
    content: bytes | None, dtype: np.dtype[Any] | None, chunk_shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Decode a chunk of a native array; raises as `read_column` does.

    Parameters
    ----------
    content : bytes or None
        None if it does not exist.
    dtype : dtype or None
        None for texts.
    chunk_shape : tuple of int

    Returns
    -------
    array of the chunk's shape
        Of the last chunk, too, whose rows may not all be in the array. Strings as objects.
    """
    if content is None:
        return np.full(chunk_shape, "", object) if dtype is None else np.zeros(chunk_shape, dtype)
    if dtype is None:
        return _decode_texts(content, chunk_shape[0])
    decoded = _decompress(content, dtype.itemsize * math.prod(chunk_shape))
    return np.frombuffer(decoded, dtype.newbyteorder("<")).reshape(chunk_shape)


def is_native(array: zarr.Array[Any]) -> bool:
    """Tell whether an array is chunked along its rows alone, encoded and named as ours, whatever Blosc's settings."""
    metadata: Any = array.metadata.to_dict()
    names = [codec["name"] for codec in metadata["codecs"]]
    serializer = "vlen-utf8" if find_dtype(array) is None else "bytes"
    order = metadata["codecs"][0].get("configuration") or {}
    return (
        names == [serializer, "blosc"]
        and order.get("endian", "little") == "little"
        and metadata["chunk_key_encoding"] == _KEYS
        and not metadata.get("storage_transformers")
        and metadata["fill_value"] in (0, "")
        and array.chunks[1:] == array.shape[1:]
        and min(array.shape, default=0) > 0
    )


def _decode_texts(content: bytes, n_rows: int) -> npt.NDArray[Any]:
    """Decode a chunk of texts; ValueError unless it has as many as the array's metadata say, and no more bytes."""
    decoded = _decompress(content, None, at_most=find_max_chunk_bytes((n_rows,), None))
    # The codec trusts the number of texts that the bytes begin with, and takes the memory for them.
    if int.from_bytes(decoded[:4], "little") != n_rows:
        raise ValueError(f"a chunk of {n_rows} texts states another number")
    return np.asarray(VLenUTF8().decode(decoded))


def _decompress(content: bytes, n_bytes: int | None, *, at_most: int | None = None) -> bytes:
    """Decompress a chunk of `n_bytes`, if given. Blosc trusts its header: ValueError unless that fits."""
    if len(content) < BLOSC_HEADER.size:
        raise ValueError(f"a chunk has only {len(content)} bytes")
    _, decoded_bytes, _, encoded_bytes = BLOSC_HEADER.unpack_from(content)
    if encoded_bytes != len(content) or n_bytes not in {None, decoded_bytes}:
        raise ValueError(f"the header of a chunk does not fit its {len(content)} bytes")
    if at_most is not None and decoded_bytes > at_most:
        raise ValueError(f"a chunk unpacks to {decoded_bytes} bytes, more than {at_most}")
    decoded: bytes = numcodecs.blosc.decompress(content)
    return decoded
