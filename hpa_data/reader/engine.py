"""What the engines of a reader are told of a part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hpa_data.format.codecs import Codec
from hpa_data.format.layout import Layout
from hpa_data.format.manifest import Provenance


@dataclass(frozen=True, kw_only=True)
class ReaderSpec:
    """One part as a reader sees it: where its images lie and what its samples are.

    Attributes
    ----------
    name : str
        The part's name, for messages.
    images : Path or str
        The folder of the array of images, or its URL.
    has_native_layout : bool
        Whether the array is laid out as `writer` does it, so that its shards can be read without a Zarr library.
    layout : Layout
    codec : Codec
    ids : list of str, length N
    labels : array of uint8, shape (N, K), or None
    status : array of uint8, shape (N,)
    copies : Provenance, optional
        What the samples are copies of.
    """

    name: str
    images: Path | str
    has_native_layout: bool
    layout: Layout
    codec: Codec
    ids: list[str]
    labels: npt.NDArray[np.uint8] | None
    status: npt.NDArray[np.uint8]
    copies: Provenance | None = None


class Job(Protocol):
    """Something that has begun."""

    def result(self) -> None:
        """Wait for its end; raise what went wrong."""
        ...


class Engine(Protocol):
    """What reads images. Samples are numbered part after part; they are known to be readable."""

    name: str

    def start(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
    ) -> Sequence[Job]:
        """Begin to read `samples`, int64 (M,), into `batch[places]`."""
        ...

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Read one sample into `out`, uint8 (Y, X, C), in the calling thread."""
        ...

    def close(self) -> None:
        """End threads, let go of files."""
        ...
