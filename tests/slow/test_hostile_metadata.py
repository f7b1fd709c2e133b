"""Image files with escape sequences in every place for text: whatever their decoders say is safe, and has a file."""

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import Store
from hpa_data.system.complaints import Complaint, send_complaints
from hpa_model.predict import predict_submission
from hpa_model.training.train import train
from tests.builders import hpa_process
from tests.data.sources.encoded import make_png_chunk, write_pillow, write_png_by_hand, write_tiff
from tests.model.stopping import CONFIG

pytestmark = pytest.mark.slow

ESCAPES = b"\x1b[31mPWN\x1b]0;title\x07\x9b31m"
RNG = np.random.default_rng(0)
GRAY, COLOR = RNG.integers(0, 255, (40, 48), np.uint8), RNG.integers(0, 255, (40, 48, 3), np.uint8)
CHUNKS = (
    *("cHRM", "gAMA", "iCCP", "sBIT", "sRGB", "bKGD", "hIST", "pHYs", "sPLT", "tIME", "iTXt", "tEXt", "zTXt", "eXIf"),
    *("oFFs", "pCAL", "sCAL", "sTER", "acTL", "fcTL", "fdAT", "tRNS", "PLTE", "cICP", "mDCv", "cLLi", "ABCD", "aBcD"),
    "\x1b[3m",
)
BODIES = (b"", b"\0" * 40, ESCAPES + b"\0\0" + ESCAPES, ESCAPES * 99)
# Tags of TIFF for text and others.
TAGS = (*range(254, 345), 347, 512, 530, 532, 700, 33432, 34377, 34665, 34675, 50838, 50839, 51123, 65000)
N_MUTATED = 300


def write_pngs() -> Iterator[bytes]:
    for name in CHUNKS:
        for body in BODIES:
            chunk = (name.encode(), body)
            wrong = make_png_chunk(*chunk)[:-1] + b"!"
            for interlaced in (False, True):
                yield write_png_by_hand(GRAY, 0, chunk, interlaced=interlaced)
                yield write_png_by_hand(COLOR, 2, chunk, chunk, late=wrong, interlaced=interlaced)
    plain = write_png_by_hand(GRAY, 0)
    for kinds in np.ndindex(7, 3, 3, 3):  # color, compression, filter, interlace
        head = make_png_chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 40, 8, *kinds))
        yield plain[:8] + head + make_png_chunk(b"PLTE", b"\0\1\2") + make_png_chunk(b"tRNS", b"\1" * 9) + plain[33:]
    for pixels in (zlib.compress(GRAY.tobytes() * 9), zlib.compress(b"\7" * 2000), ESCAPES):
        yield plain[:33] + make_png_chunk(b"IDAT", pixels + ESCAPES) + make_png_chunk(b"IEND", b"")


def write_jpegs() -> Iterator[bytes]:
    plain = write_pillow(COLOR, "JPEG")
    heads = (b"", b"JFIF\0\1\2", b"Exif\0\0II*\0\x08\0\0\0\x0c\0", b"Adobe", b"ICC_PROFILE\0\1\1")
    for marker in range(0xC0, 0x100):
        for body in [head + ESCAPES * n for head in heads for n in (0, 1, 99)]:
            segment = struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
            yield plain[:2] + segment + plain[2:]
            yield plain[:-2] + segment + plain[-2:]
    for place in range(2, len(plain), 37):
        yield plain[:place] + ESCAPES + plain[place:]


def write_tiffs() -> Iterator[bytes]:
    for tag in TAGS:
        for kind, value in (("s", ESCAPES.decode("latin1")), ("H", 7), ("I", 99_999), ("B", ESCAPES)):
            count = len(value) if isinstance(value, str | bytes) else 1
            try:
                yield write_tiff(GRAY, metadata=None, extratags=[(tag, kind, count, value, True)])
            except (ValueError, TypeError, struct.error):  # a tag that tifffile writes itself
                continue


def write_others() -> Iterator[bytes]:
    """Write files of all formats, whole and with some bytes changed."""
    plain = [write_pillow(COLOR, name) for name in ("JPEG", "JPEG2000", "WEBP", "AVIF", "BMP", "PPM")]
    plain += [write_pillow(GRAY, "GIF"), write_pillow(COLOR, "JPEG", progressive=True), write_png_by_hand(GRAY, 0)]
    plain += [write_pillow(COLOR, name, exif=b"Exif\0\0" + ESCAPES) for name in ("JPEG", "WEBP")]
    plain += [write_pillow(COLOR, name, icc_profile=ESCAPES * 9) for name in ("JPEG", "WEBP", "AVIF", "JPEG2000")]
    plain += [write_tiff(GRAY, compression=name) for name in (None, "lzw", "zlib", "packbits", "zstd", "lzma")]
    plain += [write_tiff(np.stack([GRAY] * 3), imagej=True), write_tiff(np.stack([GRAY] * 3), ome=True)]
    for number in range(N_MUTATED):
        for content in plain:
            changed = bytearray(content)
            for place in RNG.integers(0, len(content), number % 6):
                changed[place] = RNG.integers(0, 256)
            yield bytes(changed)


@pytest.mark.parametrize("write", [write_pngs, write_jpegs, write_tiffs, write_others])
def test_decoders_write_nothing_past_us_and_what_they_say_has_its_file(
    write: Callable[[], Iterator[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    contents = list(write())
    assert len(contents) > 200

    def decode(number: int) -> None:
        for rules in (1, 2):
            with contextlib.suppress(InputError):
                image = open_image(contents[number], f"file-{number}", ImportOptions(rules=rules))
                for plane in range(image.n_planes):
                    image.load(plane)

    capfd.readouterr()
    end = send_complaints()
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(decode, range(len(contents))))
    finally:
        end()
    out, err = capfd.readouterr()
    assert out == ""
    for line in err.encode().splitlines():
        complaint = Complaint.decode(line)
        assert complaint is not None, line
        assert complaint.file.startswith("file-")
        assert complaint.text.isprintable()


def test_a_prediction_of_hostile_files_says_it_in_one_line(store: Store, kaggle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(store, replace(CONFIG, epochs=1), run)
    (tmp_path / "files").mkdir()
    for path in sorted((kaggle / "test").glob("*.png")):
        content = path.read_bytes()
        chunks = make_png_chunk(b"iCCP", ESCAPES + b"\0\0x") + make_png_chunk(b"PLTE", b"\0\1\2")
        (tmp_path / "files" / path.name).write_bytes(content[:33] + chunks + content[33:])
    ended = hpa_process("predict", run, tmp_path / "files", "--out", tmp_path / "a.csv")
    assert ended.status == 0
    assert "\x1b" not in ended.out + ended.err
    said = [line for line in ended.err.splitlines() if "imagecodecs" in line]
    assert len(said) == 1
    assert "PLTE: ignored in grayscale PNG, 12 files, for example new-0_blue.png." in said[0]
    predict_submission(run, kaggle / "test", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
