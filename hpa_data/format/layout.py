"""Sizes and places: how N samples fall into chunks and shards. Pure arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError

# 64 samples of 1 MiB make a shard of about 28 MB after LZ4HC: 31,072 samples are 486 files, and a task fits in memory.
SHARD_SAMPLES = 64

# Beyond these somebody has made the numbers up, and memory for tables alone would run out.
MOST_SAMPLES, MOST_SHARD_SAMPLES, MAX_PIXELS, MOST_IMAGE_BYTES = 10**9, 2**16, 2**15, 2**30


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where each sample of a part lies: one chunk a sample, `shard_samples` chunks a shard.

    Attributes
    ----------
    n_samples : int
        N, at least 1.
    image_shape : tuple of int
        (Y, X, C) of one image, uint8.
    shard_samples : int
        S, samples in a shard; the last shard may hold fewer.
    """

    n_samples: int
    image_shape: tuple[int, int, int]
    shard_samples: int = SHARD_SAMPLES

    def __post_init__(self) -> None:
        """Check that there is something to lay out."""
        if not 1 <= self.n_samples <= MOST_SAMPLES:
            raise InputError(
                f"n_samples must be from 1 to {MOST_SAMPLES}. Received: n_samples={self.n_samples}. Pass some samples."
            )
        if not 1 <= self.shard_samples <= MOST_SHARD_SAMPLES:
            raise InputError(
                f"shard_samples must be from 1 to {MOST_SHARD_SAMPLES}. Received: shard_samples={self.shard_samples}. "
                f"Use {SHARD_SAMPLES}."
            )
        if not all(1 <= size <= MAX_PIXELS for size in self.image_shape) or self.image_bytes > MOST_IMAGE_BYTES:
            raise InputError(
                f"image_shape must have sizes from 1 to {MAX_PIXELS}, and {MOST_IMAGE_BYTES // 2**20} MiB at most. "
                f"Received: image_shape={self.image_shape}. Use (512, 512, 4)."
            )

    @property
    def image_bytes(self) -> int:
        """Bytes of one image, not compressed."""
        y, x, c = self.image_shape
        return y * x * c

    @property
    def n_shards(self) -> int:
        """Shards in the part."""
        return -(-self.n_samples // self.shard_samples)

    @property
    def task_bytes(self) -> int:
        """Upper bound of the encoded chunks of one shard, which its task holds, in bytes.

        A codec may add a little to what cannot be compressed: 16 bytes a chunk for Blosc.
        """
        return self.shard_samples * (self.image_bytes + 64)


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One whole shard to write: samples `start` to `stop` (exclusive) of a part."""

    shard: int
    start: int
    stop: int


def plan_shards(layout: Layout, *, shards: Iterable[int] | None = None) -> list[ShardTask]:
    """List the tasks that write a part, each a whole shard, in rising order.

    Parameters
    ----------
    layout : Layout
        The sizes.
    shards : iterable of int, optional
        Only these shards; all without it.

    Returns
    -------
    list of ShardTask
        Disjoint; together they cover the chosen shards exactly.

    Examples
    --------
    >>> plan = plan_shards(Layout(n_samples=130, image_shape=(512, 512, 4)))
    >>> [(task.start, task.stop) for task in plan]
    [(0, 64), (64, 128), (128, 130)]
    """
    chosen = range(layout.n_shards) if shards is None else sorted(set(shards))
    size = layout.shard_samples
    return [ShardTask(shard=s, start=s * size, stop=min((s + 1) * size, layout.n_samples)) for s in chosen]


def find_shard(images: Path | str, shard: int) -> Path:
    """Name the file of a shard in a folder of images: its place in a grid that has one column in Y, X and C."""
    return Path(images) / "c" / str(shard) / "0" / "0" / "0"
