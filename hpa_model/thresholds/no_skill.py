"""What probabilities without skill score under the same fitting: the yardstick that a score must leave behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

N_DRAWS = 20
# Of the band: so many scores without skill lie inside it.
COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True)
class NoSkill:
    """The score of probabilities without skill."""

    mean: float
    sd: float
    """Standard deviation over the draws."""

    low: float
    high: float
    """95 % of scores without skill lie from `low` to `high`."""

    def beaten_by(self, score: float) -> bool:
        """Return whether a score lies above the band."""
        return score > self.high


def summarize_draws(scores: npt.NDArray[np.float64]) -> NoSkill:
    """Describe scores of draws, float64 (D,), D at least 2, and where 95 % of further ones lie, if they are normal."""
    mean, sd = float(scores.mean()), float(scores.std(ddof=1))
    width = float(student_t.ppf((1 + COVERAGE) / 2, len(scores) - 1)) * sd * float(np.sqrt(1 + 1 / len(scores)))
    return NoSkill(mean=mean, sd=sd, low=mean - width, high=mean + width)


def measure_no_skill(
    score: Callable[[npt.NDArray[np.uint8]], Mapping[str, float]],
    labels: npt.NDArray[np.uint8],
    folds: npt.NDArray[np.int64],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> dict[str, NoSkill]:
    """Measure scores of the same probabilities for samples in a random order.

    Parameters
    ----------
    score : function of array of uint8, shape (N, K)
        From labels to scores by name, with all fitting that they include.
    labels : array of 0 and 1, shape (N, K)
        They are shuffled within folds: then they have nothing to do with the probabilities, but each fold has the
        same classes, together as often, as before.
    folds : array of int, shape (N,)
    n_draws : int
    seed : int

    Returns
    -------
    dict of str to NoSkill
    """
    rng = np.random.default_rng(seed)
    by_fold = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    draws: dict[str, list[float]] = {}
    for _ in range(n_draws):
        order = np.arange(len(labels))
        for rows in by_fold:
            order[rows] = rng.permutation(rows)
        for name, value in score(labels[order]).items():
            draws.setdefault(name, []).append(value)
    return {name: summarize_draws(np.array(values)) for name, values in draws.items()}
