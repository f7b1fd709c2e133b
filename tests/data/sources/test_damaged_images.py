"""Whatever bytes of a file are changed, it is read or refused with a reason; no other error leaves."""

import contextlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.options import ImportOptions
from tests.data.sources.encoded import COLOR, DEEP, GRAY, STACK, make_exif, write_pillow, write_png_by_hand, write_tiff

TURNED = Image.Exif()
TURNED[274] = 6
GRAYS = np.arange(256, dtype=np.uint16)
OME = {"axes": "ZCYX", "SignificantBits": 12, "Channel": {"Name": ["a", "b", "c"]}}
SIX = STACK[:6].reshape(2, 3, 64, 80) >> 4

FILES = {
    "OME": write_tiff(SIX, ome=True, photometric="minisblack", metadata=OME),
    "ImageJ": write_tiff(SIX, imagej=True, metadata={"axes": "ZCYX", "Labels": ["a"] * 6}),
    "float": write_tiff((GRAY / 255).astype(np.float16)),
    "signed": write_tiff((DEEP >> 1).astype(np.int16)),
    "palette": write_tiff(GRAY, photometric="palette", colormap=np.stack([GRAYS * 257] * 3)),
    "tags": write_tiff(DEEP, extratags=[(274, 3, 1, 6, True), (281, 3, 1, 4095, True)]),
    "PNG": write_png_by_hand(DEEP >> 4, 0, (b"sBIT", b"\x0c"), (b"eXIf", make_exif(6))),
    "interlaced": write_png_by_hand(GRAY, 0, interlaced=True),
    "JPEG": write_pillow(COLOR, "JPEG", exif=TURNED),
    "12 bits": bytes(imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12)),
    "WebP": write_pillow(COLOR, "WEBP", exif=TURNED),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_changed_bytes_is_read_or_refused(name: str) -> None:
    rng, content = np.random.default_rng(0), FILES[name]
    for trial in range(120):
        changed = bytearray(content)
        # Headers and metadata are at the beginning; the tags of some TIFFs at the end.
        begin = len(content) - 400 if trial % 3 == 2 else 4
        for position in rng.integers(begin, begin + 390, 1 + trial % 4):
            changed[position] = rng.integers(256)
        if trial % 5 == 4:
            del changed[int(rng.integers(4, 400)) :][: int(rng.integers(1, 20))]
        options = ImportOptions(z=("max", "mean", None)[trial % 3], rules=1 + trial % 2)
        with contextlib.suppress(InputError):
            image = open_image(bytes(changed), "a", options)
            for index in range(min(image.n_planes + image.n_extra, 4)):
                plane = image.load(index)
                assert plane.shape == image.shape
                assert plane.dtype.name in {"uint8", "uint16", "uint32", "float32"}


def test_metadata_that_describe_more_planes_than_any_file_has_are_refused() -> None:
    sizes = 'SizeX="80" SizeY="64" SizeC="4" SizeZ="100000000" SizeT="1" DimensionOrder="XYCZT" Type="uint16"'
    for text in (f"<OME><Image><Pixels {sizes}><TiffData/></Pixels></Image></OME>", '{"shape": [400000000, 64, 80]}'):
        content = write_tiff(STACK[:4], photometric="minisblack", description=text, metadata=None)
        with pytest.raises(InputError, match="its metadata describe 400000000 planes"):
            open_image(content, "a.tif", ImportOptions(z="max"))
