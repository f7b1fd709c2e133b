"""Which samples make up which batch, also of several processes that share each batch.

The contents of a batch are a function of (seed, epoch, step) alone, so that training can resume at any step.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hpa_data.reader.strata import REPEAT, Rotation, Strata


class BatchSampler:
    """The indices of each batch of each epoch: all of them, or the share of one of several processes.

    Parameters
    ----------
    indices : sequence of int, length M
        The samples to deliver, by all processes together.
    batch_size : int
        B, of all processes together.
    shuffle : bool
        Permute each epoch anew, over all samples, as a function of (seed, epoch); otherwise keep the given order.
    seed : int
    drop_last : bool
        Leave out the last batch of an epoch if it is smaller than the others.
    divisible_by : int
        Shorten each epoch so that the size of every batch is divisible by this number, so that several devices can
        share a batch equally. `batch_size` must be divisible by it.
    min_last : int
        Fewest samples of a last batch: fewer join the batch before it, which is then larger than the others.
    strata : Strata, optional
        Of these samples. An epoch keeps its length, and each stratum gives its number of images, exactly; by default
        each sample is delivered once. It needs `shuffle`.
    rank, world_size : int
        Which of how many processes this is, from 0. Each batch is shared out among them, in the order of their ranks:
        together, they deliver the batches of one process. Each has equally many steps. Their shares of a batch are
        equal, but for an epoch's last batch, where they differ by at most one sample; with `divisible_by=world_size`,
        or a multiple of it, those are equal, too, and up to `divisible_by` - 1 images of an epoch are left out, other
        samples in each shuffled epoch. `batch_size` must be divisible by `world_size`. A last batch with fewer samples
        than processes joins the batch before it, as with `min_last`.
    start : (int, int)
        An epoch, and how many of its images all processes together have delivered before: see `position`. The rest of
        that epoch is cut into batches from there on, so that `batch_size` and `world_size` may be others than before;
        fewer images than processes are left out.
        `seed`, `indices` and `strata` must be the same; with strata, `divisible_by` and `drop_last` must be, too.

    Attributes
    ----------
    n_steps : int
        Batches per epoch.
    n_images : int
        Images per epoch, of all processes together.
    divisible_by : int
        What the size of every batch is divisible by: as given, or `batch_size` with `drop_last`.

    Raises
    ------
    ValueError
        If there are no samples, if an epoch would have no batch, if `batch_size` is below 1 or not divisible by
        `divisible_by` and `world_size`, if there is no such rank or start, or if `strata` are of other samples or too
        many for an epoch.

    Examples
    --------
    >>> hosts = [BatchSampler(range(100), 12, rank=rank, world_size=2) for rank in (0, 1)]
    >>> np.array_equal(np.concatenate([host.indices(5) for host in hosts]), BatchSampler(range(100), 12).indices(5))
    True

    The fifth batch was the last that a checkpoint knows of. It goes on with three processes, and larger batches.

    >>> state = hosts[0].position(5)
    >>> state
    (0, 60)
    >>> BatchSampler(range(100), 18, rank=2, world_size=3, start=state).steps_in(0)
    3
    """

    def __init__(
        self,
        indices: npt.ArrayLike,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        divisible_by: int = 1,
        min_last: int = 1,
        strata: Strata | None = None,
        rank: int = 0,
        world_size: int = 1,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        given = np.asarray(indices)
        if given.ndim != 1 or len(given) == 0 or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                "indices must be a sequence of at least one integer. Received: an array of shape "
                f"{given.shape}, dtype {given.dtype}. Pass indices (np.flatnonzero of a mask)."
            )
        _check_sizes(batch_size, divisible_by, rank, world_size)
        self.divisible_by = batch_size if drop_last else divisible_by
        if len(given) < max(self.divisible_by, world_size):
            raise ValueError(
                f"indices must fill at least one batch of {max(self.divisible_by, world_size)}. Received: {len(given)} "
                "samples. Pass a smaller batch_size or world_size."
            )
        if not (len(start) == 2 and start[0] >= 0 and 0 <= start[1] <= len(given)):
            raise ValueError(
                f"start must be an epoch, at least 0, and images of it, from 0 to {len(given)}. Received: {start=}. "
                "Pass what `position` returned."
            )
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self.n_images = len(given) // self.divisible_by * self.divisible_by
        self._min_last = max(min_last, world_size)
        self.n_steps = count_batches(self.n_images, batch_size, min_last=self._min_last)
        self._start = start
        self._permute = self._make_order(given, strata, seed=seed, shuffle=shuffle)
        self._has_strata = strata is not None

    def _make_order(
        self, given: npt.NDArray[np.integer], strata: Strata | None, *, seed: int, shuffle: bool
    ) -> Callable[[int], npt.NDArray[np.int64]]:
        """Return the function from an epoch to the keys of its images."""
        chosen = given.astype(np.int64)
        chosen.flags.writeable = False  # `indices` returns views of it
        rotation = None
        if strata is not None:
            if not shuffle or len(strata.of) != len(given):
                raise ValueError(
                    f"strata must be of the {len(given)} samples, with shuffle. Received: strata of {len(strata.of)} "
                    f"samples, {shuffle=}. Make them for the same indices."
                )
            rotation = Rotation(chosen, strata, strata.count(self.n_images), seed=seed)

        # Two epochs, because prefetching crosses the border between them.
        @lru_cache(maxsize=2)
        def permute_epoch(epoch: int) -> npt.NDArray[np.int64]:
            drawn = chosen if rotation is None else rotation.draw(epoch)
            order = permute(drawn, seed=seed, epoch=epoch) if shuffle else drawn
            order.flags.writeable = False
            return order

        return permute_epoch

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of a batch, int64 (B,), by its global step: one that counts on through all epochs.

        With several processes, those of the share of this one, int64 (B / world_size,).
        """
        keys = self.keys(step)
        return keys % REPEAT if self._has_strata else keys

    def share(self, step: int) -> slice:
        """Return which rows of the batch of all processes are those of this one."""
        return self._divide(step)[2]

    def _divide(self, step: int) -> tuple[int, slice, slice]:
        """Return the epoch of a batch, where in its order the whole batch is, and the share of this process in it."""
        epoch, position = self._locate(step)
        begin, end = self._extent(epoch)
        first = begin + position * self.batch_size
        size = end - first if position == self.steps_in(epoch) - 1 else self.batch_size
        mine, next_one = (size * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return epoch, slice(first, first + size), slice(mine, next_one)

    def batch_keys(self, step: int) -> npt.NDArray[np.int64]:
        """Return the keys of a whole batch, that of all processes, int64 (B,)."""
        epoch, batch, _ = self._divide(step)
        return self._permute(epoch)[batch]

    def batch_indices(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of a whole batch, that of all processes, int64 (B,)."""
        keys = self.batch_keys(step)
        return keys % REPEAT if self._has_strata else keys

    def keys(self, step: int) -> npt.NDArray[np.int64]:
        """Return the number by which to draw what is random of each image of a batch in its epoch, as `indices`.

        It is the index of the sample; with strata, another number each time that the sample is drawn again in the same
        epoch, so that its repeats differ.
        """
        return self.batch_keys(step)[self.share(step)]

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices of all images of an epoch, int64 (n_images,), in the order of their batches.

        Those of all processes, whatever the start.
        """
        keys = self._permute(epoch)[: self.n_images]
        return keys % REPEAT if self._has_strata else keys

    def steps_in(self, epoch: int) -> int:
        """Return the number of batches of an epoch: `n_steps`, but fewer in the epoch of the start."""
        begin, end = self._extent(epoch)
        return count_batches(end - begin, self.batch_size, min_last=self._min_last) if end > begin else 0

    def global_step(self, epoch: int, step: int) -> int:
        """Return the number of steps before a step of an epoch; ValueError if the epoch has no such step."""
        if epoch < 0 or not 0 <= step <= self.steps_in(epoch):
            raise ValueError(
                f"resume_at must be an epoch, at least 0, and a step of it, from 0 to {self.steps_in(epoch)}. "
                f"Received: resume_at={(epoch, step)}. Pass the epoch and step that training stopped at."
            )
        missing = self.n_steps - self.steps_in(self._start[0]) if epoch > self._start[0] else 0
        return epoch * self.n_steps - missing + step

    def first_step(self, resume_at: tuple[int, int] | None = None) -> int:
        """Return the global step of an epoch and a step of it; by default that of the start."""
        return self.global_step(*((self._start[0], 0) if resume_at is None else resume_at))

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a global step."""
        return self._locate(step)[0]

    def position(self, step: int) -> tuple[int, int]:
        """Return the epoch of a global step, and how many of its images all processes deliver before that step.

        It is the whole state of the order, and depends on neither `rank` nor `world_size`: see `start`.
        """
        epoch, position = self._locate(step)
        return epoch, self._extent(epoch)[0] + position * self.batch_size

    def _locate(self, step: int) -> tuple[int, int]:
        """Return the epoch of a global step, and which of its steps it is."""
        epoch = self._start[0]
        position = step - epoch * self.n_steps
        if position < 0:
            return divmod(step, self.n_steps)
        if position < self.steps_in(epoch):
            return epoch, position
        n_epochs, position = divmod(position - self.steps_in(epoch), self.n_steps)
        return epoch + 1 + n_epochs, position

    def _extent(self, epoch: int) -> tuple[int, int]:
        """Return which images of the order of an epoch are delivered: the first one, and the one after the last."""
        if epoch != self._start[0]:
            return 0, self.n_images
        begin = self._start[1]
        rest = max(self.n_images - begin, 0) // self.divisible_by * self.divisible_by
        return begin, begin + (rest if rest >= self.world_size else 0)


def _check_sizes(batch_size: int, divisible_by: int, rank: int, world_size: int) -> None:
    """Check that batches can be shared among devices and processes; ValueError if not."""
    if not _is_positive(batch_size):
        raise ValueError(f"batch_size must be an integer of at least 1. Received: {batch_size=}. Pass a larger one.")
    if not _is_positive(divisible_by) or batch_size % divisible_by:
        raise ValueError(
            f"batch_size must be divisible by {divisible_by}. Received: {batch_size=}. Pass another batch_size."
        )
    if not _is_positive(world_size) or not 0 <= rank < world_size:
        raise ValueError(
            f"rank must be from 0 to world_size - 1. Received: {rank=}, {world_size=}. Pass the index of this process, "
            "and how many there are."
        )
    if batch_size % world_size:
        raise ValueError(
            f"batch_size must be divisible by world_size, as it is the size of the batch of all processes together. "
            f"Received: {batch_size=}, {world_size=}. Pass another batch_size."
        )


def _is_positive(number: object) -> bool:
    return isinstance(number, int | np.integer) and int(number) >= 1


def count_batches(n_samples: int, batch_size: int, *, min_last: int = 1) -> int:
    """Return the number of batches of at least one sample; a last one of fewer than `min_last` joins the one before."""
    n_full, n_last = divmod(n_samples, batch_size)
    return max(n_full + (n_last >= max(min_last, 1)), 1)


def permute(indices: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffle indices as a function of (seed, epoch) alone; every order is equally likely."""
    return np.random.default_rng([seed, epoch]).permutation(indices)
