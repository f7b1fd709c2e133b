"""Strata: sets of samples that each give a fixed number of the images of every epoch.

So rare classes can be drawn more often than others, and parts in given proportions. What an epoch holds is a function
of (seed, epoch) alone.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

# A key is the index of a sample, plus this for each time before that it was drawn in the same epoch.
REPEAT = 1 << 40
# Tells the order within strata from the orders of epochs, which are drawn from the same seed.
ROTATION = 1


@dataclass(frozen=True, kw_only=True)
class Strata:
    """The stratum of each of M samples, and what share of an epoch each of S strata gets.

    Raises
    ------
    ValueError
        If a stratum has no sample, or a share is not above 0.
    """

    of: npt.NDArray[np.int64]
    """The stratum of each sample, shape (M,), from 0 to S - 1."""

    shares: npt.NDArray[np.float64]
    """The share of each stratum, shape (S,), above 0. Only their ratios count."""

    parts: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """The part of each stratum, such as one of the store, shape (S,), from 0 to P - 1. The images of an epoch are first
    shared out among the parts, by the sums of their shares, then within each. By default there is one part."""

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        for name, kind in (("of", None), ("shares", np.float64), ("parts", None)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        if not self.parts.size:
            object.__setattr__(self, "parts", np.zeros(len(self.shares), np.int64))
        n_parts = int(self.parts.max(initial=-1)) + 1
        for name, values, n in (("of", self.of, len(self.shares)), ("parts", self.parts, n_parts)):
            whole = values.ndim == 1 and values.dtype.kind in "iu" and len(values) > 0
            if not whole or set(np.unique(values).tolist()) != set(range(n)):
                raise ValueError(
                    f"{name} must be integers from 0 to {n - 1}, each at least once. Received: an array of shape "
                    f"{values.shape}, dtype {values.dtype}. Number them without gaps (np.unique with return_inverse)."
                )
        if len(self.parts) != len(self.shares):
            raise ValueError(
                f"parts must have one number for each stratum. Received: {len(self.parts)} for {len(self.shares)}. "
                "Pass the part of each stratum, not of each sample."
            )
        wrong = ~((self.shares > 0) & (self.shares < np.inf))
        if wrong.any():
            raise ValueError(
                f"shares must be numbers above 0. Received: {self.shares[wrong][0]}. Leave out samples that are not to "
                "be drawn."
            )

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """The number of samples of each stratum, int64 (S,)."""
        return np.bincount(self.of, minlength=len(self.shares)).astype(np.int64)

    def count(self, n_images: int) -> npt.NDArray[np.int64]:
        """Return how many of the images of an epoch each stratum gives, int64 (S,): at least one.

        Raises
        ------
        ValueError
            If there are too few images for that.

        Examples
        --------
        >>> strata = Strata(of=np.array([0, 0, 0, 0, 1, 2]), shares=np.array([2.0, 1.0, 1.0]))
        >>> strata.count(6).tolist()
        [3, 2, 1]
        """
        counts = np.empty(len(self.shares), np.int64)
        of_parts = apportion(n_images, np.bincount(self.parts, weights=self.shares).astype(np.float64))
        for part, n in enumerate(of_parts.tolist()):
            members = self.parts == part
            counts[members] = apportion(n, self.shares[members])
        return counts

    def rates(self, n_images: int) -> npt.NDArray[np.float64]:
        """Return how often each sample is drawn in an epoch, float64 (M,), on average over epochs."""
        return (self.count(n_images) / self.sizes)[self.of]


def apportion(total: int, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Share a number out by the method of largest remainders, at least 1 to each.

    Parameters
    ----------
    total : int
    shares : array of float64, shape (S,)
        Above 0.

    Returns
    -------
    array of int64, shape (S,)
        Their sum is `total`. Of equal remainders, the first ones are rounded up.

    Raises
    ------
    ValueError
        If `total` is below S.

    Examples
    --------
    >>> apportion(10, np.array([5.0, 4.0, 0.1])).tolist()
    [5, 4, 1]
    """
    if total < len(shares):
        raise ValueError(
            f"Cannot draw from each of {len(shares)} strata: an epoch has {total} images for them. Join strata, or "
            "raise their share."
        )
    counts = np.ones(len(shares), np.int64)
    free = np.arange(len(shares))
    while len(free):
        ideal = (total - (len(shares) - len(free))) * (shares[free] / shares[free].sum())
        if (ideal >= 1).all():
            counts[free] = np.floor(ideal)
            missing = total - int(counts.sum())
            # Rounded, so that the last digit of a machine's arithmetic does not decide.
            order = np.argsort(-np.round(ideal - counts[free], 9), kind="stable")
            counts[free[order[:missing]]] += 1
            break
        free = free[ideal >= 1]
    return counts


def stratify(
    labels: npt.ArrayLike,
    *,
    power: float,
    parts: npt.ArrayLike | None = None,
    part_shares: npt.ArrayLike | None = None,
) -> Strata:
    """Make strata of classes: the stratum of a sample is its rarest class.

    Parameters
    ----------
    labels : array of 0 and 1, shape (M, K)
    power : float
        From 0 to 1. A stratum of n samples gets the share n ^ (1 - power): with 0, each sample is drawn equally often
        (and there are no strata of classes); with 1, each stratum is.
    parts : sequence of int, shape (M,), optional
        The part of each sample, from 0 to P - 1. A class is then a stratum in each part.
    part_shares : sequence of float, shape (P,), optional
        The share of each part in an epoch. By default, parts have what their strata have.

    Returns
    -------
    Strata
        Samples without a class are a stratum of their own.
    """
    if not 0 <= power <= 1:
        raise ValueError(f"power must be from 0 to 1. Received: {power=}. Pass 0.5 for the square root.")
    given = np.asarray(labels)
    if given.ndim != 2:
        raise ValueError(
            f"labels must have the shape (samples, classes). Received: an array of shape {given.shape}. Pass one row "
            "of 0 and 1 for each sample."
        )
    of_parts = np.zeros(len(given), np.int64) if parts is None else np.asarray(parts)
    if of_parts.shape != (len(given),):
        raise ValueError(
            f"parts must have one number for each of {len(given)} samples. Received: an array of shape "
            f"{of_parts.shape}. Pass the part of each row of labels."
        )
    classes = find_rarest(given) if power else np.zeros(len(given), np.int64)
    n_classes = given.shape[1] + 1
    pairs, of, sizes = np.unique(of_parts * n_classes + classes, return_inverse=True, return_counts=True)
    strata = Strata(of=of, shares=sizes ** (1.0 - power), parts=pairs // n_classes)
    return strata if part_shares is None else _share_among_parts(strata, np.asarray(part_shares, np.float64))


def _share_among_parts(strata: Strata, wanted: npt.NDArray[np.float64]) -> Strata:
    """Scale the shares of strata so that those of each part add up to what is wanted for it, float64 (P,)."""
    found = np.bincount(strata.parts, weights=strata.shares)
    if wanted.shape != found.shape or not ((wanted > 0) & (wanted < np.inf)).all():
        raise ValueError(
            f"part_shares must be a number above 0 for each of {len(found)} parts. Received: {wanted.tolist()}. Leave "
            "out samples of parts that are not to be drawn."
        )
    return replace(strata, shares=strata.shares * (wanted / found)[strata.parts])


def find_rarest(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Return the rarest class of each sample, int64 (M,), from labels, (M, K); K for samples without a class."""
    n_samples, n_classes = labels.shape
    samples, classes = np.nonzero(labels)
    by_rarity = np.append(np.argsort(np.bincount(classes, minlength=n_classes), kind="stable"), n_classes)
    ranks = np.full(n_samples, n_classes)
    np.minimum.at(ranks, samples, np.argsort(by_rarity)[classes])
    return by_rarity[ranks]


class Rotation:
    """The samples of each epoch, stratum after stratum: each stratum is a cycle, and every epoch goes on along it.

    So in an epoch, each sample of a stratum is drawn as often as any other, or once more; and over any number of epochs
    from the first one, too.

    Parameters
    ----------
    indices : array of int64, shape (M,)
        Below `REPEAT`.
    strata : Strata
        Of these samples.
    counts : array of int64, shape (S,)
        Images of an epoch of each stratum.
    seed : int
        Of the order in each cycle.
    """

    def __init__(
        self, indices: npt.NDArray[np.int64], strata: Strata, counts: npt.NDArray[np.int64], *, seed: int
    ) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ROTATION,)))
        order = rng.permutation(len(indices))
        self._cycles = indices[order[np.argsort(strata.of[order], kind="stable")]]
        self._sizes = strata.sizes
        self._counts = counts

    def draw(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the key of each image of an epoch, int64: the index, plus `REPEAT` for each time before."""
        sizes, counts = self._sizes, self._counts
        turns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.array([epoch * count % size for count, size in zip(counts.tolist(), sizes.tolist(), strict=True)])
        of_each = np.repeat(sizes, counts)
        places = np.repeat(starts, counts) + turns
        keys = self._cycles[np.repeat(np.cumsum(sizes) - sizes, counts) + places % of_each]
        return keys + turns // of_each * REPEAT
