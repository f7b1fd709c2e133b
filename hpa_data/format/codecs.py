"""The bytes of a shard: codec profiles, chunks, and the index at the end.

A shard is what Zarr v3's codec `sharding_indexed` writes: the encoded chunks one after the other, then an index with
one (offset, length) pair per chunk, then the CRC-32C of the index. zarr-python writes and reads the same bytes, but
takes about 5 ms more per sample.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numcodecs.blosc
import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8
from zarr.codecs import BloscCodec

from hpa_data.errors import InputError
from hpa_data.format.options import CodecName

# Offset and length of a chunk that does not exist.
ABSENT = 2**64 - 1
CRC_BYTES = 4

# Versions and flags; then in bytes: the decoded chunk, a block, the encoded chunk.
BLOSC_HEADER = struct.Struct("<IIII")

# Blosc's level of Zstandard for all arrays but the images.
SMALL_LEVEL = 5


@dataclass(frozen=True, kw_only=True)
class Codec:
    """A codec profile: how the chunks of images are compressed."""

    name: CodecName

    cname: str
    """Blosc's compressor; empty for no compression."""

    level: int
    """Blosc's compression level, 0..9."""

    blocksize: int = 0
    """Bytes of a channel that Blosc compresses together; 0 lets it choose."""


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        # As fast to read as lz4, and smaller. Its blocks fit into a processor's L1 cache: decoding is 4 % faster than
        # with Blosc's own choice of 256 KiB, and encoding 30 %, for 3 % more bytes. The others gain nothing from that.
        Codec(name="lz4hc", cname="lz4hc", level=5, blocksize=32 * 1024),
        Codec(name="lz4", cname="lz4", level=5),  # ten times faster to write
        Codec(name="zstd", cname="zstd", level=5),  # the smallest
        Codec(name="raw", cname="", level=0),  # fastest to read when the store fits in the page cache
    )
}


def get_codec(name: str) -> Codec:
    """Return the codec profile with that name; InputError if there is none."""
    if name not in CODECS:
        raise InputError(f"codec must be one of {', '.join(CODECS)}. Received: codec={name!r}. Choose one of them.")
    return CODECS[name]


def zarr_compressors(codec: Codec, *, n_channels: int) -> list[Any]:
    """Describe a codec to zarr-python.

    An element of the shuffle is a pixel with all its channels (4 bytes), not one byte: this puts the values of one
    channel together, which is why interleaved channels compress.
    """
    if not codec.cname:
        return []
    blosc = BloscCodec(
        cname=codec.cname,  # type: ignore[arg-type]
        clevel=codec.level,
        shuffle="shuffle",
        typesize=n_channels,
        blocksize=codec.blocksize,
    )
    return [blosc]


def encode_chunk(image: npt.NDArray[np.uint8], codec: Codec) -> bytes | memoryview:
    """Encode one image, uint8 (Y, X, C), C-contiguous, to the bytes of its chunk; `raw` returns those of the image.

    Deterministic. Releases the GIL if called outside the main thread.
    """
    if not codec.cname:
        return image.reshape(-1).data
    # Blosc takes the size of the elements that it shuffles from the array's dtype.
    pixels = image.reshape(-1).view(np.dtype((np.void, image.shape[-1])))  # (Y * X,)
    encoded: bytes = numcodecs.blosc.compress(
        pixels, codec.cname.encode(), codec.level, numcodecs.blosc.SHUFFLE, codec.blocksize
    )
    return encoded


def decode_chunk(chunk: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], codec: Codec) -> None:
    """Decode a chunk, uint8 (n_bytes,), into `out`, uint8, contiguous, of any shape with the image's size in bytes.

    Releases the GIL if called outside the main thread. Raises ValueError or RuntimeError if the bytes are damaged.
    """
    if codec.cname:
        # Blosc trusts the chunk's header: it would read beyond the buffer if the header states more bytes, and leave
        # the rest of `out` as it was if the header states a smaller image.
        if len(chunk) < BLOSC_HEADER.size or BLOSC_HEADER.unpack_from(chunk)[1::2] != (out.nbytes, len(chunk)):
            raise ValueError(f"its header does not fit its {len(chunk)} bytes")
        numcodecs.blosc.decompress(chunk, out)
    elif len(chunk) != out.nbytes:
        raise ValueError(f"it has {len(chunk)} bytes instead of {out.nbytes}")
    else:
        np.copyto(out.reshape(-1), chunk)


def metadata_compressor() -> BloscCodec:
    """Describe to zarr-python how all arrays but the images are compressed.

    Its default codec, Zstandard, is not among the core codecs of Zarr v3; inside Blosc it is.
    """
    return BloscCodec(cname="zstd", clevel=SMALL_LEVEL, shuffle="noshuffle", typesize=1)


def encode_metadata_chunk(rows: npt.NDArray[np.generic], *, chunk_rows: int) -> bytes:
    """Encode a chunk of a numeric array with one row per sample, as zarr-python does, in a tenth of its time.

    Parameters
    ----------
    rows : array of any number type, shape (n, …)
        Up to `chunk_rows` rows; fewer in the last chunk, which is padded with zeros.
    chunk_rows : int
    """
    padded = np.zeros((chunk_rows, *rows.shape[1:]), rows.dtype.newbyteorder("<"))
    padded[: len(rows)] = rows
    content = padded.reshape(-1).view(np.uint8)
    encoded: bytes = numcodecs.blosc.compress(content, b"zstd", SMALL_LEVEL, numcodecs.blosc.NOSHUFFLE)
    return encoded


def encode_text_chunk(texts: Sequence[str], *, chunk_rows: int) -> bytes:
    """Encode a chunk of an array with one string per sample, as zarr-python does; padded with empty strings."""
    padded = np.full(chunk_rows, "", object)
    padded[: len(texts)] = texts
    encoded: bytes = numcodecs.blosc.compress(
        VLenUTF8().encode(padded), b"zstd", SMALL_LEVEL, numcodecs.blosc.NOSHUFFLE
    )
    return encoded


def encode_shard_index(lengths: Sequence[int], *, shard_samples: int) -> bytes:
    """Encode the index of a shard whose first chunks have these lengths in bytes, and whose others do not exist."""
    index = np.full((shard_samples, 2), ABSENT, "<u8")
    index[: len(lengths), 1] = lengths
    index[: len(lengths), 0] = np.cumsum(index[: len(lengths), 1]) - index[: len(lengths), 1]
    index_bytes = index.tobytes()
    crc = int(google_crc32c.value(index_bytes))
    return index_bytes + crc.to_bytes(CRC_BYTES, "little")


def decode_shard_index(shard: npt.NDArray[np.uint8], *, shard_samples: int) -> npt.NDArray[np.uint64]:
    """Decode and check the index of a shard.

    Parameters
    ----------
    shard : array of uint8, shape (n_bytes,)
        All bytes of the shard; only its end is read.
    shard_samples : int
        S, chunks of a full shard.

    Returns
    -------
    array of uint64, shape (S, 2)
        First and last (exclusive) byte of each chunk; both 0 where there is no chunk.

    Raises
    ------
    ValueError
        If the shard is too short, its index fails the checksum, or a chunk lies outside the shard. The message
        continues a sentence whose subject is the shard.
    """
    body_size = len(shard) - shard_samples * 16 - CRC_BYTES
    if body_size < 0:
        raise ValueError(f"it has {len(shard)} bytes, fewer than its index")
    return decode_index(shard[body_size:], n_bytes=body_size, shard_samples=shard_samples)


def decode_index(index: npt.NDArray[np.uint8], *, n_bytes: int, shard_samples: int) -> npt.NDArray[np.uint64]:
    """Decode and check the end of a shard, uint8 (16 S + 4,), before which there are at most `n_bytes`.

    As `decode_shard_index`.
    """
    index_bytes, crc = index[:-CRC_BYTES].tobytes(), int.from_bytes(index[-CRC_BYTES:].tobytes(), "little")
    if int(google_crc32c.value(index_bytes)) != crc:
        raise ValueError("its index fails the checksum: the file is damaged or truncated")
    ranges = np.frombuffer(index_bytes, "<u8").reshape(shard_samples, 2).astype(np.uint64)
    ranges[(ranges == ABSENT).all(axis=1)] = 0
    offsets, lengths = ranges[:, 0], ranges[:, 1]
    # Compare before adding: a hostile pair may overflow.
    if (offsets > n_bytes).any() or (lengths > n_bytes - offsets).any():
        raise ValueError("its index names bytes outside the file")
    return np.stack([offsets, offsets + lengths], axis=1)
