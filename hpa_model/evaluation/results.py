"""What a report is made from: a run's description, scores, rows and histories, and the runs that belong to it."""

import contextlib
import csv
import io
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_model.baseline.settings import CLASSIFIERS, IN_WORDS
from hpa_model.evaluation.contributions import Contributions, read_contributions
from hpa_model.evaluation.records import HEADLINE, Scores
from hpa_model.evaluation.scores import predict_rows, score_run
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.baseline import CLASSIFIERS_FILE, IMPORTANCES_FILE
from hpa_model.runs.decision import calibrate_rows, fit_decision
from hpa_model.runs.folder import (
    CONFIG_FILE,
    CORRUPTION_ERRORS,
    REPORT_FILE,
    RunDescription,
    read_run,
)
from hpa_model.runs.history import EpochRecord, read_history
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.runs.seal import SealError, read_file
from hpa_model.thresholds import search_thresholds

MAX_NEIGHBORS = 500  # folders beside a run that are looked into


@dataclass(frozen=True, kw_only=True)
class RunLink:
    """Another run, and the way to its report."""

    name: str
    href: str
    """Relative to the run folder; empty if that run has no report."""


@dataclass(frozen=True, kw_only=True)
class Classifiers:
    """What a run of `hpa baseline` holds beside its scores; empty where a file is missing or damaged."""

    scores: dict[str, float]
    """The headline score of each classifier, by its name in words."""

    features: tuple[tuple[str, float], ...]
    """The features that matter most to the trees, with their importance, of which the sum over all features is 1."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """A finished run."""

    folder: Path
    description: RunDescription
    scores: Scores
    rows: OutOfFold

    scaled: npt.NDArray[np.float64]
    """Probabilities with the temperature of each fold, (N, K), which thresholds apply to."""

    calibrated: npt.NDArray[np.float64]
    """The same, each class calibrated by what was fitted on the other folds, (N, K)."""

    predictions: npt.NDArray[np.uint8]
    """As the headline scores them, (N, K)."""

    class_intervals: npt.NDArray[np.float64]
    """Where 95 % of the F1 of each class lie over resampled samples, (2, K): low and high."""

    histories: dict[int, list[EpochRecord]]
    """Of the folds that this run trained, by their numbers. A fold without a history is left out."""

    base: RunLink | None
    """The run that was fine-tuned, if its folder is there."""

    base_rows: OutOfFold | None
    """Its rows, if they are of the same samples in the same order."""

    finetuned: tuple[RunLink, ...]
    """Runs in neighboring folders that fine-tuned this one."""

    classifiers: Classifiers | None = None
    """None for networks."""

    contributions: Contributions | None = None
    """What each member adds to an ensemble; None for other runs, or if the file is missing or damaged."""

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.folder.absolute().name


def read_results(run: Path, scores: Scores | None = None) -> Results:
    """Read what the report of a run shows, and score it unless that was just done; InputError if it is not finished."""
    description = read_run(run)
    scores = scores or score_run(run)
    rows = read_out_of_fold(run)
    histories = read_history(run, description.config.folds)
    base = _find_base(run, description)
    decision = fit_decision(rows, n_folds=description.config.folds)
    predictions = predict_rows(rows, decision)[HEADLINE.name]
    return Results(
        folder=run,
        description=description,
        scores=scores,
        rows=rows,
        scaled=decision.scale(rows.probs, rows.folds),
        calibrated=calibrate_rows(rows, decision),
        predictions=predictions,
        class_intervals=resample_f1(rows, predictions),
        histories={fold: histories[fold] for fold in description.trained_folds if histories[fold]},
        base=None if base is None else link_run(run, base),
        base_rows=None if base is None else _read_same_rows(base, rows),
        finetuned=tuple(link_run(run, other) for other in find_finetuned(run)),
        classifiers=None if description.baseline is None else _read_classifiers(run),
        contributions=None if description.ensemble is None else _read_contributions(run, description),
    )


def _read_contributions(run: Path, description: RunDescription) -> Contributions | None:
    """Read what each member adds, which a report can do without; SealError if it is not as it was sealed."""
    try:
        return read_contributions(run, n_classes=len(description.classes))
    except SealError:
        raise
    except InputError:
        return None


def _read_classifiers(run: Path) -> Classifiers:
    scores: dict[str, float] = {}
    features: list[tuple[str, float]] = []
    classifiers, importances = _read_if_whole(run / CLASSIFIERS_FILE), _read_if_whole(run / IMPORTANCES_FILE)
    with contextlib.suppress(*CORRUPTION_ERRORS):
        saved = json.loads(classifiers)
        scores = {IN_WORDS[name]: float(saved[name][HEADLINE.name]) for name in CLASSIFIERS}
    with contextlib.suppress(*CORRUPTION_ERRORS):
        file = io.StringIO(importances.decode(), newline="")
        features = [(row["feature"], float(row["importance"])) for row in itertools.islice(csv.DictReader(file), 15)]
    return Classifiers(scores=scores, features=tuple(features))


def _read_if_whole(path: Path) -> bytes:
    """Read a file that a report can do without; SealError if it is not as it was sealed."""
    try:
        return read_file(path, max_bytes=MAX_TEXT_BYTES)
    except SealError:
        raise
    except (OSError, ValueError):
        return b""


def resample_f1(
    rows: OutOfFold, predictions: npt.NDArray[np.uint8], *, n_resamples: int = 300, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return where 95 % of the F1 of each class lie, over samples drawn with replacement, float64 (2, K).

    Samples of one group are drawn together.
    """
    truth, predicted = rows.labels.astype(np.float64), predictions.astype(np.float64)
    numbers = np.arange(len(truth)) if rows.groups is None else np.unique(rows.groups, return_inverse=True)[1]
    n_groups = int(numbers.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, n_groups, (n_resamples, n_groups))
    weights = np.stack([np.bincount(each, minlength=n_groups)[numbers] for each in drawn]).astype(np.float64)
    true_positives, total = weights @ (truth * predicted), weights @ (truth + predicted)
    f1 = np.divide(2 * true_positives, total, out=np.zeros_like(total), where=total > 0)
    return np.quantile(f1, [0.025, 0.975], axis=0)


def link_run(run: Path, other: Path) -> RunLink:
    """Link another run from the report of a run."""
    report = other / REPORT_FILE
    href = Path(os.path.relpath(report.resolve(), run.resolve())).as_posix() if report.is_file() else ""
    return RunLink(name=other.absolute().name, href=href)


def _find_base(run: Path, description: RunDescription) -> Path | None:
    """Find the run that was fine-tuned, where it was or beside this one, if both were moved."""
    if not description.finetuned_from:
        return None
    recorded = Path(description.finetuned_from)
    candidates = (recorded, run.absolute().parent / recorded.name)
    return next((path for path in candidates if (path / CONFIG_FILE).is_file()), None)


def _read_same_rows(base: Path, rows: OutOfFold) -> OutOfFold | None:
    with contextlib.suppress(InputError):
        found = read_out_of_fold(base)
        if found.keys == rows.keys and found.labels.shape == rows.labels.shape:
            return found
    return None


def find_finetuned(run: Path) -> list[Path]:
    """Find the runs in neighboring folders that were fine-tuned from this one."""
    found = []
    own = run.resolve()
    with contextlib.suppress(OSError):
        for path in sorted(itertools.islice(own.parent.iterdir(), MAX_NEIGHBORS)):
            if path == own or not (path / CONFIG_FILE).is_file():
                continue
            with contextlib.suppress(InputError):
                described = read_run(path)
                base = _find_base(path, described)
                if base is not None and base.resolve() == own:
                    found.append(path)
    return found


def score_change(results: Results) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the F1 of each class before and after fine-tuning, on the folds that were fine-tuned.

    Thresholds are fitted on the rows of each fold, as in the paper. Both are float64, (K,).
    """
    assert results.base_rows is not None
    in_folds = np.isin(results.rows.folds, results.description.trained_folds)
    before, after = (_score_within(rows, in_folds) for rows in (results.base_rows, results.rows))
    return before, after


def _score_within(rows: OutOfFold, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    predictions = np.zeros_like(rows.labels)
    for fold in np.unique(rows.folds[chosen]):
        in_fold = rows.folds == fold
        labels, probs = rows.labels[in_fold], rows.probs[in_fold]
        predictions[in_fold] = predict_classes(probs, search_thresholds(labels, probs))
    return f1_per_class(rows.labels[chosen], predictions[chosen])
