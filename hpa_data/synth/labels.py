"""Draw label sets like those of the real table, or with each class equally often."""

import itertools
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError

Labels = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float64]

N_CLASSES = len(HPA_2018.classes)

# Number of the 31,072 training samples with 1, 2, 3, 4 and 5 labels.
SET_SIZES = (15126, 12485, 3160, 299, 2)
# Samples that show this class and no other.
ALONE = (
    *(2414, 271, 808, 654, 1077, 983, 622, 1163, 31, 17, 0, 601, 232, 157),  # classes 0 to 13
    *(484, 0, 27, 0, 314, 522, 98, 1058, 213, 1653, 122, 1470, 134, 1),  # classes 14 to 27
)
# How often two classes occur together: line i holds the counts of class i with the classes i + 1 to 27.
PAIRS_OF_TWO = (  # in samples of two labels
    "317 996 383 75 479 52 668 5 0 0 150 84 67 129 3 75 14 153 395 36 769 192 572 42 1998 81 2",
    "60 8 26 15 19 11 0 0 0 5 1 0 2 0 0 0 2 7 0 20 3 31 1 101 0 0",
    "0 23 18 29 71 10 0 0 36 2 2 40 0 2 0 9 20 1 75 13 128 4 301 0 0",
    "8 5 17 26 4 0 0 5 1 6 6 0 1 0 1 7 0 18 11 29 3 132 7 0",
    "5 2 21 0 0 0 11 13 5 10 0 0 0 5 10 2 76 13 44 8 269 16 0",
    "11 44 0 0 0 14 10 2 23 0 3 3 9 12 0 64 13 27 24 350 2 0",
    "22 0 0 0 0 1 2 3 0 4 0 6 3 6 22 2 5 0 80 0 0",
    "0 0 0 2 1 3 7 0 19 1 7 9 0 38 8 3 4 173 1 0",
    "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    "17 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    "1 8 2 0 3 0 1 6 0 11 7 3 16 66 0 0",
    "10 10 0 0 0 2 6 0 55 0 4 0 68 0 0",
    "2 0 0 0 12 0 0 57 4 0 0 50 0 0",
    "0 30 15 5 9 0 17 3 2 0 91 0 0",
    "0 0 0 0 0 0 0 0 0 0 0 0",
    "2 0 0 0 14 2 4 1 29 0 0",
    "5 8 0 11 0 0 0 22 0 0",
    "0 0 18 3 5 10 143 0 0",
    "0 23 4 24 0 136 0 0",
    "0 0 1 0 4 0 0",
    "72 20 5 425 5 0",
    "8 3 36 0 0",
    "3 101 0 2",
    "35 0 0",
    "35 0",
    "0",
)
PAIRS_OF_MORE = (  # in samples of three and more
    "283 739 188 22 327 37 424 0 0 0 109 116 111 88 9 211 61 126 219 22 574 133 230 36 1633 34 5",
    "87 11 26 24 2 45 0 0 0 8 6 14 2 0 0 0 9 12 0 56 4 14 0 160 0 0",
    "4 25 41 50 118 1 0 0 45 23 12 34 10 46 7 9 36 5 141 39 98 8 481 11 1",
    "15 9 7 14 0 0 0 9 3 2 11 0 4 0 4 13 0 17 5 22 0 140 5 0",
    "0 0 21 0 0 0 4 11 6 8 0 10 0 11 6 0 59 11 0 0 60 1 1",
    "3 36 0 0 0 11 10 7 7 8 17 0 4 15 0 56 7 18 6 205 9 4",
    "2 0 11 11 1 1 0 3 0 5 0 0 1 0 9 0 0 0 71 0 0",
    "1 0 0 3 14 18 7 0 18 5 2 13 0 101 21 4 1 238 0 0",
    "0 0 0 0 0 0 0 0 0 0 0 0 2 0 0 0 2 0 0",
    "11 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    "2 1 7 0 2 0 0 16 0 11 2 2 2 73 0 0",
    "8 1 0 2 0 2 9 0 77 5 14 0 88 7 0",
    "0 0 0 0 0 11 0 54 7 3 0 76 0 0",
    "0 72 31 3 3 0 25 0 1 0 66 0 0",
    "9 0 0 0 0 0 0 0 0 0 0 0",
    "75 26 13 0 24 12 5 5 121 2 0",
    "44 2 0 16 1 3 0 54 0 0",
    "0 0 44 8 10 0 115 2 0",
    "0 51 10 11 1 140 0 1",
    "0 0 16 0 5 0 0",
    "53 49 4 496 11 0",
    "10 2 73 0 0",
    "1 96 3 0",
    "18 0 0",
    "19 0",
    "0",
)

# Every fourth sample of a uniform data set has a second label, so that the data stay multilabel.
UNIFORM_PERIOD = 4
# Seeds are lists of numbers; the last one is never 0 and keeps random streams of different uses apart.
STREAM_LABELS, STREAM_CYCLE, STREAM_EXTRAS = 2, 3, 4


def draw_labels(n_samples: int, *, seed: int, uniform: bool = False) -> Labels:
    """Draw the label sets of a training table.

    Parameters
    ----------
    n_samples : int
        N, at least 1.
    seed : int
        At least 0. Row i depends on the seed and on i alone, so a longer table begins with the shorter one.
    uniform : bool
        Draw each class equally often: every 28 rows, counted from the first, show all classes, and every 112 rows show
        each class five times. Otherwise classes, set sizes and pairs are as frequent as in the real training table.

    Returns
    -------
    array of uint8, shape (N, K)
        Multi-hot; no row is empty.

    Raises
    ------
    InputError
        If `n_samples` or `seed` is too small.

    Examples
    --------
    >>> bool(draw_labels(28, seed=0, uniform=True).any(axis=0).all())
    True
    """
    if n_samples < 1:
        raise InputError(f"n_samples must be at least 1. Received: n_samples={n_samples}. Pass a larger number.")
    if seed < 0:
        raise InputError(f"seed must be at least 0. Received: seed={seed}. Pass another seed.")
    return draw_split_labels(n_samples, seed=seed, split=0, uniform=uniform)


def draw_split_labels(n_samples: int, *, seed: int, split: int, uniform: bool) -> Labels:
    """Draw the label sets of one split (0 training, 1 test) as `draw_labels` does; N may be 0."""
    labels = np.zeros((n_samples, N_CLASSES), np.uint8)
    for row in range(n_samples):
        if uniform:
            labels[row, pick_uniform_set(row, seed=seed, split=split)] = 1
        else:
            labels[row, pick_real_set(np.random.default_rng([seed, split, row, STREAM_LABELS]))] = 1
    return labels


def pick_uniform_set(row: int, *, seed: int, split: int) -> list[int]:
    """Pick the class that follows in the cycle, and for every fourth row a second one."""
    cycle, position = divmod(row, N_CLASSES)
    chosen = [draw_cycle(seed, split, cycle)[position]]
    if row % UNIFORM_PERIOD == 0:
        block, position = divmod(row // UNIFORM_PERIOD, N_CLASSES)
        chosen.append(draw_extras(seed, split, block)[position])
    return chosen


@lru_cache(maxsize=64)
def draw_cycle(seed: int, split: int, cycle: int) -> list[int]:
    """Shuffle all classes for 28 rows."""
    order: list[int] = np.random.default_rng([seed, split, cycle, STREAM_CYCLE]).permutation(N_CLASSES).tolist()
    return order


@lru_cache(maxsize=64)
def draw_extras(seed: int, split: int, block: int) -> list[int]:
    """Shuffle all classes as second labels for 112 rows, none for a row that already shows the same class."""
    rng = np.random.default_rng([seed, split, block, STREAM_EXTRAS])
    first_row = block * UNIFORM_PERIOD * N_CLASSES
    rows = range(first_row, first_row + UNIFORM_PERIOD * N_CLASSES, UNIFORM_PERIOD)
    taken = [draw_cycle(seed, split, row // N_CLASSES)[row % N_CLASSES] for row in rows]
    while True:  # on average one shuffle in e = 2.7 fits
        extras: list[int] = rng.permutation(N_CLASSES).tolist()
        if all(extra != number for extra, number in zip(extras, taken, strict=True)):
            return extras


def pick_real_set(rng: np.random.Generator) -> list[int]:
    """Pick a label set with its frequency in the real table: exact for one and two labels, approximate for more."""
    alone, of_two, of_more = load_tables()
    size = pick(rng, np.array(SET_SIZES, np.float64)) + 1
    if size == 1:
        return [pick(rng, alone)]
    chosen = list(divmod(pick(rng, (of_two if size == 2 else of_more).ravel()), N_CLASSES))
    together = of_more + of_more.T
    while len(chosen) < size:
        # A class is added only if it occurs with each of those chosen. The geometric mean keeps every class of 200 and
        # more samples within 3 % of its real frequency; the plain product would favor the frequent ones.
        weights = np.prod(together[chosen], axis=0) ** (1 / len(chosen))
        weights[chosen] = 0
        if not weights.any():
            break
        chosen.append(pick(rng, weights))
    return chosen


def pick(rng: np.random.Generator, weights: Weights) -> int:
    """Pick an index with a probability proportional to its weight."""
    heights = np.cumsum(weights)
    return int(np.searchsorted(heights, rng.random() * heights[-1], side="right"))


@lru_cache(maxsize=1)
def load_tables() -> tuple[Weights, Weights, Weights]:
    """Convert the constants to arrays: alone (K,); pairs of two and of more, both (K, K), filled above the diagonal."""
    tables = []
    for lines in (PAIRS_OF_TWO, PAIRS_OF_MORE):
        table = np.zeros((N_CLASSES, N_CLASSES))
        table[np.triu_indices(N_CLASSES, 1)] = [int(n) for n in itertools.chain(*(line.split() for line in lines))]
        tables.append(table)
    return np.array(ALONE, np.float64), tables[0], tables[1]
