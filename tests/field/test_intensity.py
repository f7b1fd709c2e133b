"""Intensity scale: bits that count, whoever says so, and what no file says."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.builders import Hpa
from tests.field.pictures import CHANNELS, as_bits, assert_planes, draw_plane, read_part, save, write_planes, write_png


@pytest.mark.parametrize(("bits", "remedy"), [(12, "bits=12"), (14, "bits=14"), (10, "bits=10")])
def test_a_part_that_uses_little_of_the_range_is_reported_with_what_helps(
    tmp_path: Path, hpa: Hpa, bits: int, remedy: str
) -> None:
    write_planes(tmp_path / "train", name="{id}_{channel}.tif", change=as_bits(bits))
    for options in (["--dry-run"], []):
        ended = hpa("convert", tmp_path / "train", tmp_path / "s", *options)
        if bits < 14:
            assert "Warning" in ended.out
            assert remedy in ended.out
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", "--overwrite", "--intensity", remedy)
    assert ended.status == 0, ended.err
    assert "Warning" not in ended.out
    assert_planes(tmp_path / "s")


def test_floats_from_0_to_1_are_read(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train", name="{id}_{channel}.tif", change=lambda plane: plane.astype(np.float32) / 255)
    assert hpa("convert", tmp_path / "train", tmp_path / "s").status == 0
    assert_planes(tmp_path / "s")


def test_floats_of_another_range_need_a_scaling_that_then_works(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train", name="{id}_{channel}.tif", change=lambda plane: plane.astype(np.float32))
    ended = hpa("convert", tmp_path / "train", tmp_path / "s")
    assert ended.status == 1
    assert "--intensity" in ended.out
    assert "Fetch the file again" not in ended.out
    ended = hpa("convert", tmp_path / "train", tmp_path / "s", "--overwrite", "--intensity", "window=0:255")
    assert ended.status == 0, ended.out
    assert_planes(tmp_path / "s")


def test_packed_12_bits_are_read_by_their_own_white(tmp_path: Path, hpa: Hpa) -> None:
    for sample in "ab":
        for channel in CHANNELS:
            values = as_bits(12)(draw_plane(sample, channel)).astype(np.uint32)
            first, second = values[:, 0::2], values[:, 1::2]
            packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
            path = tmp_path / "train" / f"{sample}_{channel}.tif"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(_tiff_of_12_bits(packed.tobytes(), 512))
    assert hpa("convert", tmp_path / "train", tmp_path / "s").status == 0
    assert_planes(tmp_path / "s")


def _tiff_of_12_bits(body: bytes, size: int) -> bytes:
    """Write a gray TIFF of 12 bits per pixel, in one strip, by hand."""
    tags = [(256, 4, size), (257, 4, size), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, size), (279, 4, len(body))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, n) for tag, kind, n in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + b"\0" * 4


def test_the_bits_that_a_file_declares_are_believed(tmp_path: Path, hpa: Hpa) -> None:
    twelve = as_bits(12)
    for channel in CHANNELS:
        plane = twelve(draw_plane("a", channel))
        metadata = {"axes": "YX", "SignificantBits": 12}
        save(tmp_path / "ome" / f"a_{channel}.ome.tif", plane, ome=True, metadata=metadata)
        save(tmp_path / "tag" / f"a_{channel}.tif", plane, extratags=[(281, "H", 1, 4095, True)])
        write_png(tmp_path / "png" / f"a_{channel}.png", plane, (b"sBIT", b"\x0c"), bits=16)
    for kind in ("ome", "tag", "png"):
        ended = hpa("convert", tmp_path / kind, tmp_path / f"{kind}.zarr")
        assert ended.status == 0, ended.out
        assert_planes(tmp_path / f"{kind}.zarr", "a")
        assert "12" in ended.out


def test_the_display_range_of_imagej_is_not_taken_for_white(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(
        tmp_path / "train",
        name="{id}_{channel}.tif",
        change=lambda plane: plane.astype(np.uint16) * 257,
        imagej=True,
        metadata={"min": 0.0, "max": 300.0},
    )
    assert hpa("convert", tmp_path / "train", tmp_path / "s").status == 0
    assert_planes(tmp_path / "s")


def test_a_dim_sample_and_a_dim_channel_among_good_ones_are_reported(tmp_path: Path, hpa: Hpa) -> None:
    samples = "abcdefghij"
    write_planes(tmp_path / "train", samples, "{id}_{channel}.tif", lambda plane: plane.astype(np.uint16) * 257)
    write_planes(tmp_path / "train", "c", "{id}_{channel}.tif", as_bits(12))
    save(tmp_path / "train" / "g_blue.tif", as_bits(12)(draw_plane("g", "blue")))
    ended = hpa("convert", tmp_path / "train", tmp_path / "s")
    assert ended.status == 0
    whole, single = [line for line in ended.out.splitlines() if line.startswith("Warning: far dimmer")]
    assert "in all its channels" in whole
    assert "1 sample, for example c" in whole
    assert "in channel blue" in single
    assert "1 sample, for example g" in single
    ids, images, _ = read_part(tmp_path / "s")
    assert images[ids.index("c")].max() < 20


def test_8_bit_planes_are_scaled_where_asked(tmp_path: Path, hpa: Hpa) -> None:
    write_planes(tmp_path / "train", change=lambda plane: plane // 10)
    assert hpa("convert", tmp_path / "train", tmp_path / "s", "--intensity", "window=0:25.5").status == 0
    assert_planes(tmp_path / "s", tolerance=6)  # ten levels were one
