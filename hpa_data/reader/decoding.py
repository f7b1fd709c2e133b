"""Decoding the chunk of a sample that was received, and comparing the image with its checksum."""

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.format.codecs import decode_chunk
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.engine import ChannelPicker, ReaderSpec, SampleRows, Verify, make_damage_error


class SampleDecoder:
    """Decodes chunks of parts in native layout; from several threads at once."""

    def __init__(self, parts: Sequence[ReaderSpec], *, picker: ChannelPicker | None, verify: Verify) -> None:
        self._parts = tuple(parts)
        self._picker = picker
        self._local = threading.local()  # of each thread, a whole image to pick channels from
        self._rows = SampleRows(parts)
        # Of each sample, whether it need not be compared with its checksum.
        self._is_trusted = bytearray([verify == "never"]) * sum(part.layout.n_samples for part in parts)
        self._trusts_again = verify == "first"

    def decode(self, sample: int, chunk: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
        """Decode a chunk, uint8 (n_bytes,), into `out`, uint8 (Y, X, C); InputError if it is damaged."""
        (number,), (row,) = (values.tolist() for values in self._rows.locate(np.array([sample])))
        part = self._parts[number]
        image = out if self._picker is None else self._whole_image()
        try:
            decode_chunk(chunk, image, part.codec)
            # Most changed bytes decode to another image.
            if not self._is_trusted[sample] and compute_checksum(image) != part.checksums[row]:
                raise ValueError("the image fails its checksum")
        except (RuntimeError, ValueError) as error:
            raise make_damage_error(part, row, error) from error
        if self._trusts_again:
            self._is_trusted[sample] = 1
        if self._picker is not None:
            self._picker.pick(image, out)

    def _whole_image(self) -> npt.NDArray[np.uint8]:
        """Return memory of this thread for an image with all channels, uint8 (Y, X, C)."""
        image: npt.NDArray[np.uint8] | None = getattr(self._local, "image", None)
        if image is None:
            image = self._local.image = np.empty(self._parts[0].layout.image_shape, np.uint8)
        return image
