"""Bootstrap intervals of the scores of out-of-fold rows, with thresholds that are fitted again."""

import numpy as np
import numpy.typing as npt

from hpa_model.evaluation.records import HEADLINE, THRESHOLDINGS
from hpa_model.metrics import Interval, f1_per_class, predict_classes
from hpa_model.metrics.intervals import bootstrap_macro_f1, bootstrap_ranking, draw_rows, find_interval, number_samples
from hpa_model.metrics.ranking import mean_of_known, rank_samples
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import predict_cross_fitted, predict_within_folds, search_thresholds
from hpa_model.thresholds.cross_fit import find_held_out

# Resamples to which thresholds are fitted: enough for a standard deviation that is off by a tenth.
N_REFITS = 50


def find_intervals(
    rows: OutOfFold, scaled: npt.NDArray[np.float64], predictions: dict[str, npt.NDArray[np.uint8]], *, fill: bool
) -> dict[str, Interval]:
    """Find the interval of each score of all rows, by the name of its field in `records.Scores`.

    Parameters
    ----------
    rows : OutOfFold
    scaled : array of float64, shape (N, K)
        Their probabilities, scaled by temperature.
    predictions : dict of str to array of 0 and 1, shape (N, K)
        By the names of `THRESHOLDINGS`.
    fill : bool
        As in `records.Scores`.
    """
    intervals = {}
    for kind in THRESHOLDINGS:
        score = float(f1_per_class(rows.labels, predictions[kind.name]).mean())
        values = bootstrap_macro_f1(rows.labels, predictions[kind.name], rows.groups)
        refitted = None if kind.name == "at_half" else refit(rows, scaled, kind.name, fill=fill)
        intervals[f"macro_f1_{kind.name}"] = find_interval(score, values, refitted)
    ranking = rank_samples(scaled)
    observed = {
        "macro_average_precision": ranking.average_precision(rows.labels),
        "macro_roc_auc": ranking.roc_auc(rows.labels),
    }
    drawn = bootstrap_ranking(rows.labels, scaled, rows.groups)
    for (name, of_classes), values in zip(observed.items(), drawn, strict=True):
        known = ~np.isnan(of_classes)
        if known.any():
            intervals[name] = find_interval(mean_of_known(of_classes), values[:, known].mean(axis=1))
    return intervals


def refit(
    rows: OutOfFold,
    scaled: npt.NDArray[np.float64],
    name: str = HEADLINE.name,
    *,
    fill: bool,
    n_refits: int = N_REFITS,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Compute macro-F1 of resamples, float64 (n_refits,), with thresholds fitted to each, as those of all rows were.

    A sample that is drawn twice stays on one side wherever thresholds are fitted on one and applied to the other.
    """
    groups = number_samples(len(rows.labels), rows.groups)
    scores, n_folds = [], min(2, len(np.unique(rows.folds)))
    for drawn in draw_rows(len(rows.labels), rows.groups, n_refits, seed=seed):
        labels, probs, folds = rows.labels[drawn], scaled[drawn], rows.folds[drawn]
        if len(np.unique(folds)) < n_folds:  # of very few rows
            continue
        if name == "within_fold":
            predicted = predict_within_folds(labels, probs, folds, groups[drawn], fill=fill)
        elif name == "cross_fitted":
            held_out = find_held_out(labels, folds, groups[drawn])
            predicted = predict_cross_fitted(labels, probs, held_out, fill=fill)
        else:
            predicted = predict_classes(probs, search_thresholds(labels, probs))
        scores.append(f1_per_class(labels, predicted).mean())
    return np.array(scores)
