"""The models of a run that predict together, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_model.runs.decision import Decision, fit_decision, read_decision
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.runs.seal import SealError

# Predicted classes a sample are far off those of the training data: by this factor, over so many samples at least. Real
# samples have 1.6, standard deviation 0.7.
FAR_OFF, N_LEAST = 2.0, 10


@dataclass(frozen=True, kw_only=True)
class ChosenModels:
    """The models of some folds of a run; their probabilities are averaged."""

    run: Path
    description: RunDescription

    folds: tuple[int, ...]
    """Of the models."""

    decision: Decision
    """How the mean becomes classes."""

    rows: OutOfFold | None
    """The out-of-fold rows of the run; None if they are gone."""

    notices: tuple[Notice, ...] = ()

    @property
    def temperatures(self) -> npt.NDArray[np.float64]:
        """Of each model, float64 (M,)."""
        return self.decision.temperatures[list(self.folds)]

    @property
    def labels_per_sample(self) -> float:
        """Classes of a sample of the training data, on average; NaN if that is not known."""
        return float("nan") if self.rows is None else float(self.rows.labels.sum(axis=1).mean())


def choose_models(run: Path, folds: Sequence[int] | None = None) -> ChosenModels:
    """Open a run to predict with.

    Parameters
    ----------
    run : Path
    folds : sequence of int, optional
        Those whose models predict; thresholds and temperatures are then fitted to their out-of-fold rows alone. By
        default all, with the thresholds and temperatures of the run.

    Raises
    ------
    InputError
        If the run is not finished, or does not have a fold.
    """
    description = read_run(run)
    n_folds = description.config.folds
    decision = read_decision(run, description.classes, n_folds)
    chosen = tuple(range(n_folds)) if folds is None else tuple(sorted(set(folds)))
    if not chosen or not all(0 <= fold < n_folds for fold in chosen):
        raise InputError(
            f"fold must be from 0 to {n_folds - 1}, as the run has {n_folds}. Received: {_list(folds or ())}. Choose "
            "among them."
        )
    notices: list[Notice] = []
    if len(chosen) == n_folds:
        try:
            rows = read_out_of_fold(run)
        except SealError:
            raise
        except InputError:
            rows = None  # predictions need its thresholds alone
    else:
        rows = read_out_of_fold(run)
        of_folds = np.isin(rows.folds, chosen)
        absent = [
            name
            for name, k in zip(description.classes, range(rows.labels.shape[1]), strict=True)
            if rows.labels[:, k].any() and not rows.labels[of_folds, k].any()
        ]
        decision = fit_decision(
            replace(rows, labels=rows.labels[of_folds], probs=rows.probs[of_folds], folds=rows.folds[of_folds]),
            n_folds=n_folds,
        )
        decision = replace(decision, fill=bool(rows.labels.any(axis=1).all()))
        if absent:
            notices.append(
                Notice(
                    what=f"classes are never predicted, as no sample of fold {_list(chosen)} shows them",
                    n=len(absent),
                    unit="class",
                    examples=tuple(absent[:N_EXAMPLES]),
                    remedy="Pass further folds by --fold.",
                )
            )
    notices += _notice_mixture(description, chosen)
    return ChosenModels(
        run=run, description=description, folds=chosen, decision=decision, rows=rows, notices=tuple(notices)
    )


def _list(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))


def _notice_mixture(description: RunDescription, folds: Sequence[int]) -> list[Notice]:
    """Tell that some of the models were fine-tuned and others were not."""
    tuned = [fold for fold in folds if fold in description.finetuned_folds]
    if not description.finetuned_from or len(tuned) in {0, len(folds)}:
        return []
    flags = " ".join(f"--fold {fold}" for fold in tuned)
    return [
        Notice(
            what=f"the predictions are the mean of models that were fine-tuned, of fold {_list(tuned)}, and of models "
            "that were not",
            n=len(folds),
            unit="model",
            remedy=f"Pass {flags} for the fine-tuned alone, as the paper did.",
        )
    ]


def notice_count(predictions: npt.NDArray[np.uint8], rows: OutOfFold | None) -> list[Notice]:
    """Tell if samples get far more or fewer classes, predictions (N, K), than those of the training data have."""
    if rows is None or len(predictions) < N_LEAST:
        return []
    expected, found = float(rows.labels.sum(axis=1).mean()), float(predictions.sum(axis=1).mean())
    if expected / FAR_OFF <= found <= expected * FAR_OFF:
        return []
    return [
        Notice(
            what=f"{found:.1f} classes a row are predicted, the training data has {expected:.1f}",
            n=len(predictions),
            unit="row",
            remedy="Check that the images are like those of the run, for example by `hpa preview`, and that its scores "
            "are above those without skill, by `hpa evaluate`.",
        )
    ]
