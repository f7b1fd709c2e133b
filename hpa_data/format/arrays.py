"""The arrays of a part, in one table: creating, opening, writing, mirroring and verifying loop over it.

A new column is a row of `METADATA_ARRAYS` and a property of `store.part.Part`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import zarr
from zarr.storage import MemoryStore

from hpa_data.format.codecs import Codec, metadata_compressor, zarr_compressors
from hpa_data.format.layout import Layout

# Rows in one chunk of an array that is written when the part is created: every known data set has few chunks.
ROWS_PER_CHUNK = 16_384

# Ids differ: Zstandard needs a third of a byte for each, even if they are numbers in order. Fewer samples than the
# second number take little memory in any case, and the seal tells more exactly what is wrong.
MAX_IDS_PER_BYTE, SMALL_N = 16, 100_000
# Of the labels of a part, and of one chunk beside the images, in memory.
MAX_LABEL_BYTES, MAX_CHUNK_ROWS = 2**32, 2**20


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """An array of a part."""

    name: str

    dtype: Literal["uint8", "uint32", "uint64", "string"]

    dimensions: tuple[str, ...]

    per_shard: bool = False
    """Written with each shard of images, in one chunk (or shard) per shard of images. Otherwise when the part is
    created, from `store.create.PartPlan.columns`."""

    present: Literal["always", "labels", "copies", "files", "optional"] = "always"
    """In which parts: all, those with labels, those of augmented copies, those converted from files since version 0.3,
    or those whose plan has the column."""

    def shape(self, layout: Layout, *, n_classes: int) -> tuple[int, ...]:
        """Return the shape of the array in a part of that layout."""
        y, x, c = layout.image_shape
        sizes = {"sample": layout.n_samples, "y": y, "x": x, "channel": c, "class": n_classes, "power": 2}
        return tuple(sizes[dimension] for dimension in self.dimensions)


IMAGES = ArraySpec(name="images", dtype="uint8", dimensions=("sample", "y", "x", "channel"), per_shard=True)

# The arrays beside the images, all compressed alike. Those per shard are written in this order, `status` last: it alone
# tells which samples exist.
METADATA_ARRAYS = (
    # Why a sample failed, or a warning about it, and the file concerned. Chunks of empty strings are not written.
    ArraySpec(name="note", dtype="string", dimensions=("sample",), per_shard=True),
    ArraySpec(name="note_file", dtype="string", dimensions=("sample",), per_shard=True),
    # CRC-32 of the image's bytes.
    ArraySpec(name="checksum", dtype="uint32", dimensions=("sample",), per_shard=True),
    # Sum and sum of squares of each channel, from which the statistics of the manifest are computed.
    ArraySpec(name="sums", dtype="uint64", dimensions=("sample", "channel", "power"), per_shard=True),
    # What the files of each sample are like, and the names of its channels that are filled, with commas between them.
    ArraySpec(name="origin", dtype="string", dimensions=("sample",), per_shard=True, present="files"),
    ArraySpec(name="filled", dtype="string", dimensions=("sample",), per_shard=True, present="files"),
    ArraySpec(name="status", dtype="uint8", dimensions=("sample",), per_shard=True),
    # Names of samples, channels and classes; xarray shows them as coordinates.
    ArraySpec(name="id", dtype="string", dimensions=("sample",)),
    ArraySpec(name="channel", dtype="string", dimensions=("channel",)),
    ArraySpec(name="class", dtype="string", dimensions=("class",)),
    ArraySpec(name="labels", dtype="uint8", dimensions=("sample", "class"), present="labels"),
    # Which sample of which part an augmented copy was made from, and how; see `manifest.Provenance`.
    ArraySpec(name="parent", dtype="string", dimensions=("sample",), present="copies"),
    ArraySpec(name="parent_part", dtype="string", dimensions=("sample",), present="copies"),
    ArraySpec(name="parent_checksum", dtype="uint32", dimensions=("sample",), present="copies"),
    ArraySpec(name="recipe", dtype="string", dimensions=("sample",), present="copies"),
)
ARRAYS = (IMAGES, *METADATA_ARRAYS)
# The checksums of a part's objects, see `store.seal`. Not in the part's folder, where zarr-python warns of every file
# that is not an array.
SEAL_KEY = "status/seal.json"
SHARD_ARRAYS = tuple(spec for spec in METADATA_ARRAYS if spec.per_shard)


def create_array(
    group: zarr.Group, spec: ArraySpec, layout: Layout, *, codec: Codec, n_classes: int
) -> zarr.Array[Any]:
    """Create an array of a part, with nothing written in it."""
    shape = spec.shape(layout, n_classes=n_classes)
    rows = layout.shard_samples if spec.per_shard else min(shape[0], ROWS_PER_CHUNK)
    chunks: dict[str, Any] = {"chunks": (rows, *shape[1:]), "compressors": metadata_compressor()}
    if spec is IMAGES:
        compressors = zarr_compressors(codec, n_channels=shape[-1])
        # One chunk per sample, so that samples can be read in any order; a shard is the unit of writing.
        chunks = {"chunks": (1, *shape[1:]), "shards": (rows, *shape[1:]), "compressors": compressors, "filters": None}
    dtype = str if spec.dtype == "string" else spec.dtype
    return group.create_array(spec.name, shape=shape, dtype=dtype, dimension_names=spec.dimensions, **chunks)


def check_arrays(arrays: Mapping[str, zarr.Array[Any]], layout: Layout, *, n_classes: int) -> None:
    """Check that a part has its arrays, with their types, shapes and chunks; ValueError if it has not."""
    for spec in ARRAYS:
        array = arrays.get(spec.name)
        if array is None:
            if spec.present == "always":
                raise ValueError(f"{spec.name} is missing")
            continue
        is_right = array.shape == spec.shape(layout, n_classes=n_classes)
        is_right &= array.dtype.kind in "TOU" if spec.dtype == "string" else str(array.dtype) == spec.dtype
        # How images are chunked is for `has_native_layout`: they can be read in any case.
        is_right &= not spec.per_shard or spec is IMAGES or array.chunks[0] == layout.shard_samples
        if not is_right:
            raise ValueError(f"{spec.name} does not have the type, shape or chunks that the manifest states")


def check_sizes(arrays: Mapping[str, zarr.Array[Any]], layout: Layout, *, n_classes: int, id_bytes: int) -> None:
    """Refuse sizes that the files of a part cannot hold, before memory is taken for them: ValueError.

    Parameters
    ----------
    arrays : mapping of str to zarr.Array
        Those of the part, by name.
    layout : Layout
    n_classes : int
    id_bytes : int
        Of the files of the ids.
    """
    check_ids(layout.n_samples, id_bytes)
    if layout.n_samples * n_classes > MAX_LABEL_BYTES:
        raise ValueError(f"{layout.n_samples} samples of {n_classes} classes have more than {MAX_LABEL_BYTES} labels")
    for spec in METADATA_ARRAYS:
        array = arrays.get(spec.name)
        if array is not None and array.chunks[0] > max(MAX_CHUNK_ROWS, layout.n_samples):
            raise ValueError(f"a chunk of {spec.name} has {array.chunks[0]} rows")


def check_ids(n_samples: int, n_bytes: int) -> None:
    """Refuse more samples than files of ids with so many bytes can hold: ValueError."""
    if n_samples > max(SMALL_N, MAX_IDS_PER_BYTE * n_bytes):
        raise ValueError(f"its metadata promise {n_samples} samples, but its ids have only {n_bytes} bytes")


def has_native_layout(images: zarr.Array[Any], layout: Layout, codec: Codec) -> bool:
    """Tell whether an array of images has the chunks and codecs of those that we create.

    Only then are its shards read and written without zarr-python.
    """
    image_shape, size = layout.image_shape, layout.shard_samples
    try:
        return _describe_chunks(images.metadata.to_dict()) == _describe_native_chunks(image_shape, size, codec)
    except (KeyError, TypeError, ValueError):
        return False


@lru_cache
def _describe_native_chunks(image_shape: tuple[int, int, int], shard_samples: int, codec: Codec) -> dict[str, Any]:
    layout = Layout(n_samples=1, image_shape=image_shape, shard_samples=shard_samples)
    array = create_array(zarr.create_group(MemoryStore()), IMAGES, layout, codec=codec, n_classes=1)
    return _describe_chunks(array.metadata.to_dict())


def _describe_chunks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what decides where the chunks are and how they are encoded.

    In the metadata, zarr-python has filled in all defaults.
    Left out is how Blosc was tuned, which each chunk states itself, and the byte order of single bytes: stores with
    other values there are read alike.
    """
    (sharding,) = metadata["codecs"]
    configuration = dict(sharding["configuration"])
    configuration["codecs"] = [step["name"] for step in configuration["codecs"]]
    described = {name: metadata[name] for name in ("chunk_grid", "chunk_key_encoding")}
    transformers = list(metadata.get("storage_transformers", ()))
    return described | {"name": sharding["name"], "sharding": configuration, "storage_transformers": transformers}


def encode_group(attributes: Mapping[str, Any]) -> bytes:
    """Return the metadata file of a group, as zarr-python writes it."""
    files: dict[str, Any] = {}
    zarr.create_group(MemoryStore(files), attributes=dict(attributes))
    return bytes(files["zarr.json"].to_bytes())
