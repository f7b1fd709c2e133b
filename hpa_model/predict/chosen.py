"""The models of a run that predict together, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_model.config import TrainConfig, list_unused
from hpa_model.runs.decision import Decision, fit_calibration, fit_decision, read_decision
from hpa_model.runs.folder import RunDescription, find_last_file, fold_folder, read_folds, read_run
from hpa_model.runs.out_of_fold import OutOfFold, check_finished, read_out_of_fold
from hpa_model.runs.seal import SealError

# Predicted classes a sample are far off those of the training data: by this factor, over so many samples at least. Real
# samples have 1.6, standard deviation 0.7.
FAR_OFF, N_LEAST = 2.0, 10
# Settings in which a run without folds differs from one that it takes thresholds from.
OF_VALIDATION = {
    *("folds", "validation", "keep", "fold_method", "duplicates", "legacy_leak", "seed", "stop_epochs"),
    *("finetune_epochs", "finetune_loss", "finetune_folds"),
}


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
    """The out-of-fold rows of the run, or of that whose thresholds are used; None if there are none."""

    samples: Sequence[tuple[str, str, int]] = ()
    """Part, empty where ids tell them apart, id and validation fold of each sample of the run, as far as known."""

    notices: tuple[Notice, ...] = ()

    @property
    def temperatures(self) -> npt.NDArray[np.float64]:
        """Of each model, float64 (M,)."""
        return self.decision.temperatures[list(self.folds)]

    @property
    def labels_per_sample(self) -> float:
        """Classes of a sample of the training data, on average; NaN if that is not known."""
        return float("nan") if self.rows is None else float(self.rows.labels.sum(axis=1).mean())


def choose_models(
    run: Path,
    folds: Sequence[int] | None = None,
    thresholds: Path | None = None,
    *,
    calibrated: bool = False,
    decides: bool = True,
) -> ChosenModels:
    """Open a run to predict with.

    Parameters
    ----------
    run : Path
    folds : sequence of int, optional
        Those whose models predict; thresholds and temperatures are then fitted to their out-of-fold rows alone. By
        default all, with the thresholds and temperatures of the run.
    thresholds : Path, optional
        For a run without folds: another run, whose thresholds are used.
    calibrated : bool
        Whether each class must have a calibration; that of a few folds is fitted to their rows alone, too.
    decides : bool
        Whether probabilities will become classes. If not, what is wrong with thresholds is not told.

    Raises
    ------
    InputError
        If the run is not finished, or does not have a fold or a calibration, or `thresholds` do not fit.
    """
    description = read_run(run)
    n_folds = description.config.folds
    if not n_folds:
        models = _choose_final(run, description, folds, thresholds, calibrated=calibrated)
        return models if decides else replace(models, notices=())
    if thresholds is not None:
        raise InputError(
            f"thresholds must be left out for a run that has its own. Received: thresholds={thresholds}. Leave it out."
        )
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
        few = rows.select(of_folds)
        decision = replace(fit_decision(few, n_folds=n_folds), fill=bool(rows.labels.any(axis=1).all()))
        decision = fit_calibration(few, decision) if calibrated else decision
        if absent and decides:
            notices.append(
                Notice(
                    what=f"classes are never predicted, as no sample of fold {_list(chosen)} shows them",
                    n=len(absent),
                    unit="class",
                    examples=tuple(absent[:N_EXAMPLES]),
                    remedy="Pass further folds by --fold.",
                )
            )
    if calibrated:
        _check_calibration(run, decision)
    notices += _notice_mixture(description, chosen)
    samples = _list_samples(run) if n_folds == 1 else [] if rows is None else _list_rows(rows)
    return ChosenModels(
        run=run,
        description=description,
        folds=chosen,
        decision=decision,
        rows=rows,
        samples=samples,
        notices=tuple(notices),
    )


def _list_rows(rows: OutOfFold) -> list[tuple[str, str, int]]:
    return [(*key, fold) for key, fold in zip(rows.keys, rows.folds.tolist(), strict=True)]


def _list_samples(run: Path) -> list[tuple[str, str, int]]:
    """List the samples of a run of which only some are validated, or none."""
    try:
        return read_folds(run)
    except SealError:
        raise
    except InputError:
        return []  # predictions can do without


def _check_calibration(run: Path, decision: Decision) -> None:
    if decision.calibrations is None:
        raise InputError(
            f"Cannot calibrate with run {run}: it was scored by a version before 0.9.0. Run `hpa evaluate {run}`."
        )


def _choose_final(
    run: Path, description: RunDescription, folds: Sequence[int] | None, thresholds: Path | None, *, calibrated: bool
) -> ChosenModels:
    """Open a run of one model that was trained on all samples, with thresholds of another run, or 0.5."""
    if folds is not None:
        raise InputError(
            f"fold must be left out for a run without folds. Received: {_list(folds)}. Leave it out: it has one model."
        )
    last_file = fold_folder(run, 0) / find_last_file(description.config)
    check_finished(run, last_file)
    classes, rows, calibrations = description.classes, None, None
    if thresholds is None and calibrated:
        raise InputError(
            f"Cannot calibrate with run {run}: it was trained on all samples, so that nothing tells how often it is "
            "right. Use a run with folds; `hpa predict` also takes one of the same settings by --thresholds RUN."
        )
    if thresholds is None:
        values: npt.NDArray[np.float64] = np.full(len(classes), 0.5)
        fill = True
        notices = [
            Notice(
                what="the run has no thresholds, as it was trained on all samples: 0.5 is used for every class",
                n=len(classes),
                unit="class",
                remedy="Pass --thresholds RUN, a run of the same settings with folds.",
            )
        ]
    else:
        other = read_run(thresholds)
        if other.classes != classes:
            raise InputError(
                f"thresholds must be of a run of the same classes, in the same order. Received: thresholds="
                f"{thresholds}, which has {len(other.classes)} classes, {run} has {len(classes)}. Pass another run."
            )
        decision, rows = read_decision(thresholds, classes, other.config.n_models), read_out_of_fold(thresholds)
        if calibrated:
            _check_calibration(thresholds, decision)
        values, fill, calibrations = decision.thresholds, decision.fill, decision.calibrations
        notices = _notice_other_settings(description, other, thresholds)
    return ChosenModels(
        run=run,
        description=description,
        folds=(0,),
        decision=Decision(thresholds=values, temperatures=np.ones(1), fill=fill, calibrations=calibrations),
        rows=rows,
        samples=_list_samples(run),
        notices=tuple(notices),
    )


def _notice_other_settings(description: RunDescription, other: RunDescription, thresholds: Path) -> list[Notice]:
    """Tell that thresholds were fitted to models that were trained with other settings."""
    unused = list_unused(description.config).keys() & list_unused(other.config).keys()
    names = [
        name
        for name in TrainConfig.__dataclass_fields__
        if name not in OF_VALIDATION | unused and getattr(description.config, name) != getattr(other.config, name)
    ]
    if description.fingerprints != other.fingerprints:
        names.append("part")
    if not names:
        return []
    return [
        Notice(
            what=f"the thresholds are those of {thresholds}, which was trained with other settings, and may not fit",
            n=len(names),
            unit="setting",
            examples=tuple(names[:N_EXAMPLES]),
            remedy="Pass a run that differs in its folds alone.",
        )
    ]


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
