"""What probabilities without skill score under the same fitting: the yardstick that a score must leave behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_model.metrics import f1_per_class
from hpa_model.thresholds.search import bin_probs, find_best, renumber_bins

# By the number of labels up to which there are so many draws.
DRAWS = {100_000: 79, float("inf"): 39}
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
    """Describe scores of draws, float64 (D,), D at least 2, and where 95 % of further ones lie.

    That is between two of the sorted scores, whatever their distribution: of D + 1 scores in a random order, each is
    as likely as the others to be the new one. With 39, 79, 119, … draws it is exactly 95 %.
    """
    ordered = np.sort(scores)
    n_outside = max(0, round((1 - COVERAGE) / 2 * (len(ordered) + 1)) - 1)  # on each side
    mean = min(max(float(ordered.mean()), float(ordered[0])), float(ordered[-1]))  # equal scores may be rounded
    return NoSkill(
        mean=mean,
        sd=float(ordered.std(ddof=1)),
        low=float(ordered[n_outside]),
        high=float(ordered[-1 - n_outside]),
    )


def choose_draws(n_labels: int) -> int:
    """Choose a number of draws that takes seconds, for so many labels: samples times classes."""
    return next(n_draws for limit, n_draws in DRAWS.items() if n_labels <= limit)


def measure_no_skill(
    score: Callable[[npt.NDArray[np.int64]], Mapping[str, float]],
    folds: npt.NDArray[np.int64],
    *,
    n_draws: int,
    seed: int = 0,
) -> dict[str, NoSkill]:
    """Measure scores of the same probabilities for samples in a random order.

    Parameters
    ----------
    score : function of array of int64, shape (N,)
        From the sample whose probabilities each sample gets to scores by name, with all fitting that they include.
    folds : array of int, shape (N,)
        Probabilities are shuffled within folds: then they have nothing to do with the labels, but each fold has the
        same ones as before.
    n_draws : int
        At least 2.
    seed : int

    Returns
    -------
    dict of str to NoSkill
        Without scores that are NaN: those of data that do not have them.
    """
    rng = np.random.default_rng(seed)
    by_fold = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    draws: dict[str, list[float]] = {}
    for _ in range(n_draws):
        order = np.arange(len(folds))
        for rows in by_fold:
            order[rows] = rng.permutation(rows)
        for name, value in score(order).items():
            draws.setdefault(name, []).append(value)
    return {name: summarize_draws(np.array(values)) for name, values in draws.items() if np.isfinite(values).all()}


def measure_best_without_skill(
    labels: npt.NDArray[np.uint8], probs: npt.NDArray[np.floating], *, n_draws: int = min(DRAWS.values())
) -> NoSkill:
    """Measure macro-F1 at the best thresholds of a set of samples, for the same probabilities in a random order.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
    n_draws : int
        At least 2.
    """
    truth, folds = labels != 0, np.zeros(len(labels), np.int64)
    bins, n_steps = renumber_bins(bin_probs(probs), folds)

    def score(order: npt.NDArray[np.int64]) -> dict[str, float]:
        shuffled = bins[order]
        return {"best": float(f1_per_class(labels, shuffled > find_best(truth, shuffled, n_steps=n_steps)).mean())}

    return measure_no_skill(score, folds, n_draws=n_draws)["best"]
