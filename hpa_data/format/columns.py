"""Reading the arrays beside the images, which have one small chunk per shard.

zarr-python takes 0.1 to 0.3 ms per chunk, also for those that do not exist, as of notes, and a part of a million
samples has 15,625 chunks per array. Here it is a tenth. Arrays of another form than that of `format.arrays` are left to
zarr-python.
"""

from collections.abc import Mapping
from typing import Any

import numcodecs.blosc
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.vlen import VLenUTF8

from hpa_data.format.codecs import BLOSC_HEADER

# Of a text, in the mean of a chunk: ids and file names have at most some hundred. And of a chunk, beside that.
MAX_TEXT_BYTES, SPARE_BYTES = 4096, 2**20

# A grid of chunks like ours, but for their shape.
_KEYS = {"name": "default", "configuration": {"separator": "/"}}


def read_column(array: zarr.Array[Any], chunks: Mapping[str, bytes]) -> npt.NDArray[Any]:
    """Read a whole array from its encoded chunks.

    Parameters
    ----------
    array : zarr.Array
        With a row per sample, channel or class.
    chunks : mapping of str to bytes
        Those that exist, by their keys within the array. Without effect on an array that is left to zarr-python.

    Returns
    -------
    array of the array's shape
        Strings as objects. What zarr-python reads: a chunk that does not exist is zeros or empty strings.

    Raises
    ------
    ValueError, RuntimeError
        If a chunk is damaged. zarr-python may raise other errors.
    """
    metadata = array.metadata.to_dict()
    codecs: Any = metadata["codecs"]
    is_text = codecs[0]["name"] == "vlen-utf8"
    if not _is_native(array, metadata):
        return np.asarray(array[:])
    n_rows, rows_per_chunk = array.shape[0], array.chunks[0]
    chunk_shape = (rows_per_chunk, *array.shape[1:])
    dtype = np.dtype(object) if is_text else array.dtype.newbyteorder("<")
    rows = np.full(array.shape, "", object) if is_text else np.zeros(array.shape, dtype)
    rest = ["0"] * (array.ndim - 1)
    for number in range(-(-n_rows // rows_per_chunk)):
        content = chunks.get("/".join(["c", str(number), *rest]))
        if content is None:
            continue
        if is_text:
            chunk = _decode_texts(content, rows_per_chunk)
        else:
            chunk = np.frombuffer(_decompress(content, dtype.itemsize * int(np.prod(chunk_shape))), dtype)
        start = number * rows_per_chunk
        rows[start : start + rows_per_chunk] = chunk.reshape(chunk_shape)[: n_rows - start]
    return rows if is_text else rows.astype(array.dtype, copy=False)


def _is_native(array: zarr.Array[Any], metadata: dict[str, Any]) -> bool:
    """Tell whether an array is chunked along its rows alone, encoded and named as ours, whatever Blosc's settings."""
    names = [codec["name"] for codec in metadata["codecs"]]
    order = metadata["codecs"][0].get("configuration") or {}
    return (
        names in (["bytes", "blosc"], ["vlen-utf8", "blosc"])
        and order.get("endian", "little") == "little"
        and metadata["chunk_key_encoding"] == _KEYS
        and not metadata.get("storage_transformers")
        and metadata["fill_value"] in (0, "")
        and array.chunks[1:] == array.shape[1:]
        and min(array.shape, default=0) > 0
    )


def _decode_texts(content: bytes, n_rows: int) -> npt.NDArray[Any]:
    """Decode a chunk of texts; ValueError unless it has as many as the array's metadata say, and no more bytes."""
    decoded = _decompress(content, None, at_most=SPARE_BYTES + MAX_TEXT_BYTES * n_rows)
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
