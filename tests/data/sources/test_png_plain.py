"""The decoder of plain PNGs gives what libpng gives, or nothing."""

import io
import logging
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hpa_data.errors import InputError
from hpa_data.sources import png_jpeg
from hpa_data.sources.decode import open_image
from hpa_data.sources.png_filters import Filters, Undo
from hpa_data.sources.png_plain import decode_plain
from tests.data.sources.encoded import DEEP, GRAY, make_exif, write_png, write_png_by_hand
from tests.data.sources.png_damage import (
    damage,
    draw_pixels,
    draw_png,
    filter_rows,
    get_stream,
    join_chunks,
    make_head,
    put_stream,
    split_chunks,
)

COLORS = {1: 0, 2: 4, 3: 2, 4: 6}  # color types, by the values of a pixel


@pytest.fixture(scope="module")
def filters() -> Filters:
    """Filters that are compiled at once."""
    filters = Filters()
    filters.expect(2**50, n_threads=1)
    assert filters.find(1) is not None
    return filters


@pytest.fixture(scope="module")
def undo(filters: Filters) -> Undo:
    found = filters.find(1)
    assert found is not None
    return found


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_plain_png_is_decoded_as_libpng_does(undo: Undo, data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_stored = draw(st.sampled_from([1, 2, 3, 4]))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)), n_stored)
    pixels = draw_pixels(rng, shape, draw(st.sampled_from([np.uint8, np.uint16])))
    chosen = np.array(draw(st.lists(st.integers(0, 4), min_size=shape[0], max_size=shape[0])))
    packer = zlib.compressobj(draw(st.integers(0, 9)), zlib.DEFLATED, 15)
    stream = packer.compress(filter_rows(pixels, chosen)) + packer.flush()
    cuts = draw(st.lists(st.integers(0, len(stream)), max_size=4))
    content = join_chunks(put_stream(make_head(pixels, color=COLORS[n_stored]), stream, *cuts))
    decoded, expected = decode_plain(content, undo), imagecodecs.png_decode(content)
    assert decoded is not None
    assert (decoded.dtype, decoded.shape, decoded.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    assert (decoded.reshape(shape) == pixels).all()


def replace_stream(content: bytes, stream: bytes) -> bytes:
    """Replace the compressed rows."""
    return join_chunks(put_stream(split_chunks(content)[0], stream))


def save(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


def make_wide(width: int) -> bytes:
    head = (b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0))
    return join_chunks(put_stream(head, zlib.compress(bytes(1 + width))))


def pack_small(rows: bytes) -> bytes:
    """Compress with references by 256 bytes at most, and say so."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 9)
    return packer.compress(rows) + packer.flush()


PLAIN = write_png(GRAY)
ROWS = filter_rows(GRAY[..., None], np.zeros(64, int))
FAR = zlib.compress(ROWS[:2600] * 2)
CHUNKS = split_chunks(PLAIN)
STREAM = bytes(get_stream(CHUNKS))
PALETTE = (b"PLTE", bytes(768))
ODD = {
    "interlaced": write_png_by_hand(GRAY, 0, interlaced=True),
    "a palette": write_png_by_hand(GRAY, 3, PALETTE),
    "a palette beside grays": write_png_by_hand(GRAY, 0, PALETTE),
    "transparency by a gray": write_png_by_hand(GRAY, 0, (b"tRNS", b"\0\x07")),
    "black and white": save(Image.fromarray(GRAY).convert("1")),
    "4 bits": save(Image.fromarray(GRAY // 64).convert("P"), bits=4),
    "small references": replace_stream(PLAIN, pack_small(ROWS)),
    "references by more than it says": replace_stream(PLAIN, b"\x18\x19" + FAR[2:]),
    "a filter that does not exist": replace_stream(PLAIN, zlib.compress(b"\5" + ROWS[1:])),
    "another checksum of the rows": replace_stream(PLAIN, STREAM[:-1] + b"\1"),
    "no checksum of the rows": replace_stream(PLAIN, STREAM[:-4]),
    "bytes after the rows": replace_stream(PLAIN, STREAM + b"abcd"),
    "a row too few": replace_stream(PLAIN, zlib.compress(ROWS[:-81])),
    "a row too many": replace_stream(PLAIN, zlib.compress(ROWS + ROWS[:81])),
    "no rows": join_chunks([CHUNKS[0], CHUNKS[-1]]),
    "an empty stream": replace_stream(PLAIN, b""),
    "a wrong checksum": PLAIN[:50] + bytes([PLAIN[50] ^ 1]) + PLAIN[51:],
    "a wrong checksum of the header": PLAIN[:32] + bytes([PLAIN[32] ^ 1]) + PLAIN[33:],
    "a second header": join_chunks([CHUNKS[0], *CHUNKS]),
    "an unknown chunk that matters": join_chunks([CHUNKS[0], (b"ABCD", b""), *CHUNKS[1:]]),
    "rows after another chunk": join_chunks([*CHUNKS[:-1], PALETTE, *CHUNKS[1:]]),
    "more columns than libpng takes": make_wide(1_000_001),
    "no columns": make_wide(0),
    "cut short, and the end put back": PLAIN[:-300] + PLAIN[-12:],
    "an end in a chunk that is cut": PLAIN[:-16] + struct.pack(">I", 99) + b"IDAT" + PLAIN[-12:],
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_libpng(
    undo: Undo, filters: Filters, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert decode_plain(ODD[name], undo) is None
    assert answer(ODD[name], filters, monkeypatch) == answer(ODD[name], Filters(), monkeypatch)


# What libpng says of a code that Deflate does not have, and which libdeflate takes for the longest that it has.
BROKEN_RULE = "IDAT: invalid literal/length code"


def test_where_all_checksums_are_right_a_code_that_deflate_does_not_have_is_no_matter(undo: Undo) -> None:
    """The one known difference. Nobody writes such a file, and no accident leaves its checksums right."""
    head = (b"IHDR", struct.pack(">IIBBBBB", 19, 19, 8, 0, 0, 0, 0))
    content = join_chunks(put_stream(head, bytes.fromhex("789c630c65c0004c0ce362f41003809b87007b")))
    with pytest.raises(InputError, match=BROKEN_RULE):
        open_image(content, "a.png")
    decoded = decode_plain(content, undo)
    assert decoded is not None
    assert (decoded == 85).all()  # as in the file before a bit of it was changed


class _Kept(logging.Handler):
    """What imagecodecs tells of libpng's warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def answer(content: bytes, filters: Filters, monkeypatch: pytest.MonkeyPatch) -> tuple[object, list[str]]:
    """Return the planes of a file or why it is refused, and libpng's warnings."""
    monkeypatch.setattr(png_jpeg, "FILTERS", filters)
    logger, kept = logging.getLogger("imagecodecs"), _Kept()
    logger.addHandler(kept)
    try:
        image = open_image(content, "a.png")
    except InputError as error:
        return str(error), kept.lines
    finally:
        logger.removeHandler(kept)
    planes = [image.load(index) for index in range(image.n_planes + image.n_extra)]
    return [(plane.dtype, plane.shape, plane.tobytes()) for plane in planes], kept.lines


def check_damaged(seed: int, n: int, filters: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    wrong, n_read = [], 0
    for trial in range(n):
        content = damage(draw_png(rng), rng)
        found, expected = (answer(content, each, monkeypatch) for each in (filters, Filters()))
        n_read += not isinstance(found[0], str)
        if found != expected:
            wrong.append((trial, content))
    assert not wrong
    assert 0.05 < n_read / n < 0.9  # both good and bad ones


def test_a_damaged_png_is_answered_as_without_compiled_code(filters: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    check_damaged(0, 300, filters, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_thousands_of_damaged_pngs_are_answered_as_without_compiled_code(
    filters: Filters, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    check_damaged(seed, 1000, filters, monkeypatch)


@pytest.mark.parametrize(
    "content",
    [write_png_by_hand(DEEP >> 4, 0, (b"sBIT", b"\x0c"), (b"eXIf", make_exif(6))), write_png_by_hand(GRAY, 0)],
)
def test_any_changed_byte_is_answered_as_without_compiled_code(
    content: bytes, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    for position in (*range(8, 140), *range(len(content) - 40, len(content))):
        changed = content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :]
        assert answer(changed, filters, monkeypatch) == answer(changed, Filters(), monkeypatch)


def test_a_file_that_is_too_large_is_refused_before_any_decoder_sees_it(
    filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_jpeg, "decode_plain", lambda *_: pytest.fail("it was decoded"))
    head = (b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    found, _ = answer(join_chunks([head, *CHUNKS[1:]]), filters, monkeypatch)
    assert "the limits are" in str(found)


def test_files_of_several_sizes_do_not_share_pixels(undo: Undo) -> None:
    small, large = GRAY[:20, :30], np.tile(GRAY, (4, 4))
    decoded = [decode_plain(write_png(pixels), undo) for pixels in (small, large, small, GRAY)]
    for found, pixels in zip(decoded, (small, large, small, GRAY), strict=True):
        assert found is None or (found == pixels).all()
    assert decoded[1] is not None


@pytest.mark.realdata
def test_real_files_are_decoded_as_libpng_does(undo: Undo, real_data: Path) -> None:
    for path in sorted((real_data / "kaggle" / "train").glob("*.png"))[:40]:
        content = path.read_bytes()
        decoded = decode_plain(content, undo)
        assert decoded is not None
        assert (decoded == imagecodecs.png_decode(content)).all()
