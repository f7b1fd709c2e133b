from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.format.codecs import (
    CODECS,
    Codec,
    decode_chunk,
    decode_shard_index,
    encode_chunk,
    encode_metadata_chunk,
    encode_shard_index,
    encode_text_chunk,
    get_codec,
    metadata_compressor,
    zarr_compressors,
)
from hpa_data.format.options import DEFAULT_CODEC, CodecName
from tests.builders import draw_image

IMAGES = np.stack([draw_image(0), np.zeros((512, 512, 4), np.uint8), draw_image(1)])


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_shard_has_the_bytes_that_zarr_writes(tmp_path: Path, codec: Codec) -> None:
    array = zarr.create_array(
        tmp_path / "images",
        shape=(3, 512, 512, 4),
        chunks=(1, 512, 512, 4),
        shards=(8, 512, 512, 4),
        dtype="uint8",
        filters=None,
        compressors=zarr_compressors(codec, n_channels=4),
        config={"write_empty_chunks": True},
    )
    array[:] = IMAGES
    written = (tmp_path / "images" / "c" / "0" / "0" / "0" / "0").read_bytes()
    chunks = [encode_chunk(image, codec) for image in IMAGES]
    assert b"".join(chunks) + encode_shard_index([len(chunk) for chunk in chunks], shard_samples=8) == written


@pytest.mark.parametrize(("dtype", "shape"), [("uint8", (100,)), ("uint32", (64,)), ("uint64", (70, 4, 2))])
def test_rows_are_the_bytes_that_zarr_writes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    array = zarr.create_array(
        tmp_path / "rows", shape=shape, chunks=(64, *shape[1:]), dtype=dtype, compressors=metadata_compressor()
    )
    array[:] = rows
    for chunk in range(-(-len(rows) // 64)):
        written = (tmp_path / "rows" / "c").joinpath(str(chunk), *["0"] * (len(shape) - 1)).read_bytes()
        assert encode_metadata_chunk(rows[chunk * 64 : (chunk + 1) * 64], chunk_rows=64) == written


@pytest.mark.parametrize("texts", [["a", "", "größer"], ["x"] * 5, ["", "", "", "y"]])
def test_texts_are_the_bytes_that_zarr_writes(tmp_path: Path, texts: list[str]) -> None:
    shape = (len(texts),)
    array = zarr.create_array(
        tmp_path / "texts", shape=shape, chunks=(3,), dtype=str, compressors=metadata_compressor()
    )
    array[:] = np.array(texts, dtype=object)
    for chunk in range(-(-len(texts) // 3)):
        path, rows = tmp_path / "texts" / "c" / str(chunk), texts[chunk * 3 : (chunk + 1) * 3]
        assert path.exists() == any(rows)  # zarr-python writes no chunk of empty strings
        assert not any(rows) or encode_text_chunk(rows, chunk_rows=3) == path.read_bytes()


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_chunk_decodes_to_its_image(codec: Codec) -> None:
    out = np.empty((512, 512, 4), np.uint8)
    for image in IMAGES:
        decode_chunk(np.frombuffer(encode_chunk(image, codec), np.uint8), out, codec)
        assert (out == image).all()


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c[:10], lambda c: c[:0], lambda c: c[[0, *range(len(c))]]]
)
def test_a_chunk_of_another_length_is_refused(codec: Codec, change) -> None:  # type: ignore[no-untyped-def]
    chunk = np.frombuffer(encode_chunk(IMAGES[0], codec), np.uint8)
    with pytest.raises((ValueError, RuntimeError)):
        decode_chunk(change(chunk), np.empty((512, 512, 4), np.uint8), codec)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 200), value=st.integers(0, 255), keep=st.integers(0, 230))
def test_a_damaged_index_is_found(position: int, value: int, keep: int) -> None:
    chunks = [b"abc", b"", b"defgh"]
    intact = np.frombuffer(
        b"".join(chunks) + encode_shard_index([len(chunk) for chunk in chunks], shard_samples=12), np.uint8
    )
    assert len(intact) == 8 + 12 * 16 + 4
    damaged = intact.copy()
    damaged[position] = value
    if (damaged == intact).all() or position < 8:
        assert decode_shard_index(damaged, shard_samples=12)[:3].tolist() == [[0, 3], [3, 3], [3, 8]]
    else:
        with pytest.raises(ValueError, match="fails the checksum"):
            decode_shard_index(damaged, shard_samples=12)
    if keep < len(intact):
        with pytest.raises(ValueError, match="fewer than its index|fails the checksum"):
            decode_shard_index(intact[:keep], shard_samples=12)


def test_an_index_with_a_right_checksum_that_points_outside_is_refused() -> None:
    import google_crc32c

    for pair in ([0, 9], [9, 0], [2**64 - 2, 5], [5, 2**64 - 2]):
        index = np.array([pair], "<u8").tobytes()
        shard = b"8 bytes!" + index + int(google_crc32c.value(index)).to_bytes(4, "little")
        with pytest.raises(ValueError, match="outside the file"):
            decode_shard_index(np.frombuffer(shard, np.uint8), shard_samples=1)


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(InputError, match="codec must be one of lz4hc, lz4, zstd, raw. Received: codec='gzip'"):
        get_codec("gzip")


def test_the_command_offers_each_codec() -> None:
    assert get_args(CodecName) == tuple(CODECS)
    assert DEFAULT_CODEC in CODECS
