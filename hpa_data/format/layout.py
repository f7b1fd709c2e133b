"""How N samples are divided into chunks and shards. Pure arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError

# With LZ4HC, 64 samples of 1 MiB take about 28 MB: 31,072 samples are 486 files, and a task fits in memory.
SHARD_SAMPLES = 64

# Larger numbers come from a damaged or hostile store; tables of that length alone would fill the memory.
MAX_SAMPLES, MAX_SHARD_SAMPLES, MAX_PIXELS, MAX_IMAGE_BYTES = 10**9, 2**16, 2**15, 2**30


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes of a part: one chunk per sample, `shard_samples` chunks per shard."""

    n_samples: int
    """N, at least 1."""

    image_shape: tuple[int, int, int]
    """(Y, X, C) of one image, uint8."""

    shard_samples: int = SHARD_SAMPLES
    """S; the last shard may hold fewer."""

    def __post_init__(self) -> None:
        """Check the sizes."""
        if not 1 <= self.n_samples <= MAX_SAMPLES:
            raise InputError(
                f"n_samples must be from 1 to {MAX_SAMPLES}. Received: n_samples={self.n_samples}. Use another number."
            )
        if not 1 <= self.shard_samples <= MAX_SHARD_SAMPLES:
            raise InputError(
                f"shard_samples must be from 1 to {MAX_SHARD_SAMPLES}. Received: shard_samples={self.shard_samples}. "
                f"Use {SHARD_SAMPLES}."
            )
        if not all(1 <= size <= MAX_PIXELS for size in self.image_shape) or self.image_bytes > MAX_IMAGE_BYTES:
            raise InputError(
                f"image_shape must have sizes from 1 to {MAX_PIXELS}, and take at most {MAX_IMAGE_BYTES // 2**20} MiB. "
                f"Received: image_shape={self.image_shape}. Use (512, 512, 4)."
            )

    @property
    def image_bytes(self) -> int:
        """Bytes of one image, uncompressed."""
        y, x, c = self.image_shape
        return y * x * c

    @property
    def n_shards(self) -> int:
        """Shards in the part."""
        return -(-self.n_samples // self.shard_samples)

    @property
    def task_bytes(self) -> int:
        """Upper bound of the encoded chunks of one shard, which its task holds, in bytes.

        A codec may add a little to what does not compress: 16 bytes per chunk for Blosc.
        """
        return self.shard_samples * (self.image_bytes + 64)

    @property
    def max_shard_bytes(self) -> int:
        """Upper bound of the size of a shard's file."""
        return self.task_bytes + self.index_bytes

    @property
    def index_bytes(self) -> int:
        """Bytes of the index at the end of a shard: 16 per chunk, and a checksum."""
        return 16 * self.shard_samples + 4


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to write: samples `start` to `stop` (exclusive) of a part."""

    shard: int
    start: int
    stop: int


def plan_shards(layout: Layout, *, shards: Iterable[int] | None = None) -> list[ShardTask]:
    """List the tasks that write a part, one per shard, in ascending order.

    Parameters
    ----------
    layout : Layout
    shards : iterable of int, optional
        Only these shards; by default all.

    Returns
    -------
    list of ShardTask
        Disjoint; together they cover exactly the chosen shards.

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
    """Return the path of a shard in a folder of images: its chunk key, in a grid with one shard along Y, X and C."""
    return Path(images) / "c" / str(shard) / "0" / "0" / "0"
