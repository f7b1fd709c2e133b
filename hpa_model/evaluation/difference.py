"""Whether two runs differ: a paired bootstrap over the samples that both predict."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hpa_model.evaluation.resample import refit
from hpa_model.evaluation.scores import fit_decision, predict_headline
from hpa_model.metrics import f1_per_class
from hpa_model.metrics.intervals import bootstrap_macro_f1, find_difference
from hpa_model.runs.out_of_fold import OutOfFold


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much the headline of one run lies above that of another, over the samples that both predict."""

    run: str
    other: str
    n_samples: int
    """Samples that both predict, with the same labels."""

    n_left_out: int
    """Samples that only one of them predicts; so is the next."""

    n_other_labels: int
    """Samples that both predict, but whose labels differ; they are left out, too."""

    difference: float | None
    """Of macro-F1, `run` minus `other`; None without samples to compare on, or of other classes."""

    low: float | None
    """Of its interval, which holds together with those of the other pairs; so is the next."""

    high: float | None

    @property
    def differs(self) -> bool:
        """Whether one is better than the other: the interval does not contain 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def compare_rows(run: str, rows: OutOfFold, other: str, other_rows: OutOfFold, *, n_comparisons: int = 1) -> Difference:
    """Compare two runs on the same samples; see `find_difference`.

    Parameters
    ----------
    run, other : str
        Their names.
    rows, other_rows : OutOfFold
        Samples are matched by part and id; by id alone if one of the runs does not name parts.
    n_comparisons : int
        How many pairs of runs are compared in all.
    """
    found = _match(rows, other_rows)
    same_classes = rows.labels.shape[1] == other_rows.labels.shape[1]
    same = np.zeros(len(found[0]), np.bool_)
    if same_classes:
        same = (rows.labels[found[0]] == other_rows.labels[found[1]]).all(axis=1)
    chosen = found[0][same], found[1][same]
    n_samples = int(same.sum())
    outcome = Difference(
        run=run,
        other=other,
        n_samples=n_samples,
        n_left_out=len(rows.ids) + len(other_rows.ids) - 2 * len(found[0]),
        n_other_labels=len(same) - n_samples,
        difference=None,
        low=None,
        high=None,
    )
    if n_samples < 2:
        return outcome
    labels = rows.labels[chosen[0]]
    predictions = [predict_headline(each)[index] for each, index in zip((rows, other_rows), chosen, strict=True)]
    groups = _choose_groups(rows, other_rows, chosen)
    scores = [float(f1_per_class(labels, predicted).mean()) for predicted in predictions]
    drawn = [bootstrap_macro_f1(labels, predicted, groups) for predicted in predictions]
    refitted = [_refit(each, index, groups) for each, index in zip((rows, other_rows), chosen, strict=True)]
    comparable = len(refitted[0]) == len(refitted[1]) > 1
    interval = find_difference(
        scores[0] - scores[1],
        drawn[0] - drawn[1],
        refitted[0] - refitted[1] if comparable else None,
        n_comparisons=n_comparisons,
    )
    return replace(outcome, difference=scores[0] - scores[1], low=interval.low, high=interval.high)


def _refit(
    rows: OutOfFold, index: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float64]:
    decision = fit_decision(rows, n_folds=int(rows.folds.max()) + 1)
    chosen = OutOfFold(
        ids=[rows.ids[i] for i in index],
        labels=rows.labels[index],
        probs=rows.probs[index],
        folds=rows.folds[index],
        groups=groups,
    )
    return refit(chosen, decision.scale(chosen.probs, chosen.folds), fill=decision.fill)


def _match(rows: OutOfFold, other: OutOfFold) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the samples that are in both, int64 (M,) each, in the order of the first."""
    by_part = rows.parts is not None and other.parts is not None
    keys, other_keys = ((each.keys if by_part else each.ids) for each in (rows, other))
    places = {key: index for index, key in enumerate(other_keys)}
    pairs = [(index, places[key]) for index, key in enumerate(keys) if key in places]
    ours, theirs = np.array(pairs, np.int64).reshape(-1, 2).T
    return ours, theirs


def _choose_groups(
    rows: OutOfFold, other: OutOfFold, chosen: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64] | None:
    """Return the groups of the run that knows more related samples; None if neither does."""
    known = [each.groups[index] for each, index in zip((rows, other), chosen, strict=True) if each.groups is not None]
    return min(known, key=lambda groups: len(np.unique(groups))) if known else None
