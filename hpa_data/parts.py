"""What the engines of a reader are told of a part."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.layout import Layout
from hpa_data.manifest import Copies
from hpa_data.shards import Codec


@dataclass(frozen=True, kw_only=True)
class PartFiles:
    """One part as a reader sees it: where its images lie and what its samples are.

    Attributes
    ----------
    name : str
        The part's name, for messages.
    images : Path or str
        The folder of the array of images, or its URL.
    is_ours : bool
        Whether the array is laid out as `writer` does it, so that its shards can be read without a Zarr library.
    layout : Layout
    codec : Codec
    ids : list of str, length N
    labels : array of uint8, shape (N, K), or None
    status : array of uint8, shape (N,)
    copies : Copies, optional
        What the samples are copies of.
    """

    name: str
    images: Path | str
    is_ours: bool
    layout: Layout
    codec: Codec
    ids: list[str]
    labels: npt.NDArray[np.uint8] | None
    status: npt.NDArray[np.uint8]
    copies: Copies | None = None


def find_shard(images: Path | str, shard: int) -> Path:
    """Name the file of a shard in a folder of images: its place in a grid that has one column in Y, X and C."""
    return Path(images) / "c" / str(shard) / "0" / "0" / "0"
