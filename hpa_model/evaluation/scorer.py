"""The macro-F1 of out-of-fold rows, once for each way to obtain thresholds, and measures of ranking.

What does not change when the probabilities are shuffled is computed once: that is done often, to see what they score
without skill.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_model.metrics import confusion_counts
from hpa_model.metrics.f1 import Counts
from hpa_model.metrics.ranking import mean_of_known, rank_samples
from hpa_model.runs.decision import Decision
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds.cross_fit import N_SPLITS, find_held_out, predict_held_out, split_rows
from hpa_model.thresholds.search import bin_probs, find_best, renumber_bins

Order = npt.NDArray[np.int64]
"""Which probabilities each row gets, (N,): those of another row of its fold. Labels and splits stay."""


class Scorer:
    """Score rows with their own probabilities, or with those of other rows.

    Parameters
    ----------
    rows : OutOfFold
    decision : Decision
        Its temperatures and `fill` are used; its thresholds are not.
    """

    def __init__(self, rows: OutOfFold, decision: Decision) -> None:
        self._labels = rows.labels
        self._truth = rows.labels != 0
        self._folds = rows.folds
        self._probs = decision.scale(rows.probs, rows.folds)
        bins, raw_bins = bin_probs(self._probs), bin_probs(rows.probs)
        self._bins, self._n_steps = renumber_bins(bins, np.zeros_like(rows.folds))
        # Where only rows of one fold meet.
        self._fold_bins, self._n_fold_steps = renumber_bins(bins, rows.folds)
        self._raw_bins, self._n_raw_steps = renumber_bins(raw_bins, rows.folds)
        self._at_half = (np.asarray(rows.probs, np.float64) > 0.5).astype(np.uint8)
        self._splits = split_rows(rows.labels, N_SPLITS, rows.groups)
        self._held_out = find_held_out(rows.labels, rows.folds, rows.groups)
        self._ranking = rank_samples(self._probs)
        self._in_folds = {int(fold): np.flatnonzero(rows.folds == fold) for fold in np.unique(rows.folds)}
        self._fold_rankings = {fold: rank_samples(rows.probs[in_fold]) for fold, in_fold in self._in_folds.items()}
        self._fill = decision.fill

    def predict(self, order: Order | None = None, *, fill: bool | None = None) -> dict[str, npt.NDArray[np.uint8]]:
        """Predict the rows, uint8 (N, K), once for each of `THRESHOLDINGS`, by its name."""
        chosen = slice(None) if order is None else order
        bins, probs, at_half = self._bins[chosen], self._probs[chosen], self._at_half[chosen]
        fold_bins, splits, folds = self._fold_bins[chosen], self._splits, self._folds
        held_out = self._held_out
        together, fill = np.zeros_like(folds), self._fill if fill is None else fill
        truth, n_steps, n_fold_steps = self._truth, self._n_steps, self._n_fold_steps
        return {
            "within_fold": predict_held_out(truth, fold_bins, probs, splits, folds, fill=fill, n_steps=n_fold_steps),
            "cross_fitted": predict_held_out(truth, bins, probs, held_out, together, fill=fill, n_steps=n_steps),
            "in_sample": (bins > find_best(truth, bins, n_steps=n_steps)).astype(np.uint8),
            "at_half": at_half,
        }

    def score(self, order: Order | None = None) -> dict[str, float]:
        """Compute the scores of all rows by the names of the fields of `Scores`.

        Those of a fold have its number in front, as "0/macro_f1_at_half", and the names of the fields of `FoldScore`.
        """
        order = np.arange(len(self._labels)) if order is None else order
        predictions = self.predict(order)
        by_fold = [
            {
                name: confusion_counts(self._truth[in_fold], predicted[in_fold])
                for name, predicted in predictions.items()
            }
            for in_fold in self._in_folds.values()
        ]
        f1 = {name: sum_counts([counts[name] for counts in by_fold]).f1.mean() for name in predictions}
        ranking = self._ranking.shuffle(order)
        values = name_scores(f1, ranking.average_precision(self._labels), ranking.roc_auc(self._labels))
        for (fold, in_fold), counts in zip(self._in_folds.items(), by_fold, strict=True):
            bins, truth = self._raw_bins[order[in_fold]], self._truth[in_fold]
            # Of the fold alone, as the paper scored its folds.
            best = find_best(truth, bins, n_steps=self._n_raw_steps)
            counts["in_sample"] = confusion_counts(truth, bins > best)
            of_fold = np.searchsorted(in_fold, order[in_fold])
            ranking = self._fold_rankings[fold].shuffle(of_fold)
            labels = self._labels[in_fold]
            f1 = {name: each.f1.mean() for name, each in counts.items()}
            of_fold_scores = name_scores(f1, ranking.average_precision(labels), ranking.roc_auc(labels))
            values |= {f"{fold}/{name}": value for name, value in of_fold_scores.items()}
        return values


def sum_counts(counts: list[Counts]) -> Counts:
    """Add the counts of sets of samples."""
    return Counts(
        support=np.sum([each.support for each in counts], axis=0),
        predicted=np.sum([each.predicted for each in counts], axis=0),
        true_positives=np.sum([each.true_positives for each in counts], axis=0),
    )


def name_scores(
    f1: dict[str, Any], precisions: npt.NDArray[np.float64], areas: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Return scores under the names of the fields that hold them."""
    return {f"macro_f1_{name}": float(value) for name, value in f1.items()} | {
        "macro_average_precision": mean_of_known(precisions),
        "macro_roc_auc": mean_of_known(areas),
    }
