"""Decoding the chunk of a sample, and comparing the image with its checksum."""

import math
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.format.codecs import decode_chunk
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.engine import ChannelPicker, ReaderSpec, SampleRows, Verify, make_damage_error
from hpa_data.system.memory import HUGE_PAGE_BYTES, allocate, copies_past_cache


class SampleDecoder:
    """Decodes chunks of parts in native layout; from several threads at once."""

    def __init__(self, parts: Sequence[ReaderSpec], *, picker: ChannelPicker | None, verify: Verify) -> None:
        self._parts = tuple(parts)
        self._picker = picker
        self._shape = parts[0].layout.image_shape
        self._local = threading.local()  # of each thread, a whole image
        self._rows = SampleRows(parts)
        self._codecs = [part.codec for part in parts for _ in range(part.layout.n_samples)]
        self._checksums = np.concatenate([part.checksums for part in parts])
        # Of each sample, whether it need not be compared with its checksum.
        self._is_trusted = bytearray([verify == "never"]) * len(self._codecs)
        self._trusts_again = verify == "first"
        self._copies_past_cache = copies_past_cache(math.prod(self._shape))

    def decode(self, sample: int, chunk: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
        """Decode a chunk, uint8 (n_bytes,), into `out`, uint8 (Y, X, C); InputError if it is damaged."""
        codec, is_compared = self._codecs[sample], not self._is_trusted[sample]
        # A checksum of what is still in the processor's cache takes a quarter of the time: an image of the thread's
        # own is, the batch is not. And to copy that past the cache is faster than to decode into the batch.
        is_copied = self._picker is None and bool(codec.cname) and (is_compared or self._copies_past_cache)
        image = self._whole_image() if is_copied or self._picker is not None else out
        try:
            decode_chunk(chunk, image, codec)
            # Most changed bytes decode to another image.
            if is_compared and compute_checksum(image if codec.cname else chunk) != self._checksums[sample]:
                raise ValueError("the image fails its checksum")
        except (RuntimeError, ValueError) as error:
            (number,), (row,) = (values.tolist() for values in self._rows.locate(np.array([sample])))
            raise make_damage_error(self._parts[number], row, error) from error
        if self._trusts_again:
            self._is_trusted[sample] = 1
        if self._picker is not None:
            self._picker.pick(image, out)  # here, where it is still in the cache of the processor
        elif is_copied:
            np.copyto(out, image)

    def _whole_image(self) -> npt.NDArray[np.uint8]:
        """Return memory of this thread for an image with all channels, uint8 (Y, X, C)."""
        image: npt.NDArray[np.uint8] | None = getattr(self._local, "image", None)
        if image is None:
            n_bytes = math.prod(self._shape)
            memory = allocate(max(n_bytes, HUGE_PAGE_BYTES))
            image = self._local.image = np.frombuffer(memory, np.uint8, n_bytes).reshape(self._shape)
        return image
