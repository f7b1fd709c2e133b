"""Comparing runs side by side, as table 4.1 of the paper compares networks."""

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import combinations
from pathlib import Path

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.tables import write_table
from hpa_model.config import format_image_size
from hpa_model.evaluation.difference import Difference, compare_rows
from hpa_model.evaluation.records import HEADLINE, THRESHOLDINGS, Scores
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.history import read_history
from hpa_model.runs.out_of_fold import read_out_of_fold

# Macro-F1 that Madeira and Parreira (2018) report for each network before oversampling, that of `gapnet` on Kaggle's
# test set, by submission; and for `gapnet` after oversampling and fine-tuning, on the validation fold that its
# thresholds were fitted on.
PAPER = {"deepyeast": 0.145, "mcnn": 0.235, "densenet121": 0.319, "gapnet": 0.433}
PAPER_FINETUNED = {"bce": 0.604469, "f1": 0.580270}

# Of up to so many runs, all pairs are compared; of more, the best with each other.
N_ALL_PAIRS = 3


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in the table."""

    run: str
    """The name of its folder."""

    model: str
    loss: str
    """Empty for a baseline, which has no epochs, either."""

    image_size: int | str
    """Pixels of the shorter side that the network saw, or rows and columns, ``256x384``; 0: its default."""

    folds: int
    epochs: int
    n_samples: int
    finetuned: bool
    macro_f1_within_fold: float
    """See `records.Scores`, as for the next three."""

    macro_f1_cross_fitted: float
    macro_f1_in_sample: float
    macro_f1_at_half: float
    interval_low: float
    """Of the bootstrap interval of the headline; so is the next."""

    interval_high: float

    no_skill_mean: float
    """Of the headline without skill; the next is the upper end of the band."""

    no_skill_high: float

    macro_average_precision: float | None
    """See `records.Scores`, as for the next."""

    macro_roc_auc: float | None

    best_fold_in_sample: float
    """Of the fold that scores best with thresholds fitted on the same fold: the number that the paper reports."""

    images_per_s: float
    """Of training, in the fastest epoch; median over the folds, NaN without a history."""

    paper: float | None
    """What the paper reports for the network, on Kaggle's data of 2018; None for runs that predict other classes, or
    are of some of the channels."""

    paper_kind: str
    """What the paper scored: ``test set``, Kaggle's, by submission, or ``same rows``, the fold that thresholds were
    fitted on; empty without `paper`."""

    dataset: str
    """Name of the data set."""

    legacy_leak: bool
    """Whether the scores are inflated, because copies of validation samples were trained on."""

    @property
    def headline(self) -> float:
        """The macro-F1 to quote."""
        return float(getattr(self, f"macro_f1_{HEADLINE.name}"))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side."""

    rows: tuple[RunRow, ...]
    """The highest headline score first."""

    same_data: bool
    """Whether all were trained on the same samples; otherwise the scores say little about the networks."""

    differences: tuple[Difference, ...]
    """Of the best run from each other one, or of all pairs of up to three runs; see `N_ALL_PAIRS`."""

    same_classes: bool
    """Whether all predict the same classes; otherwise their scores cannot be compared at all."""


def compare_runs(runs: Sequence[Path]) -> Comparison:
    """Score runs and put them side by side.

    Raises
    ------
    InputError
        If there is none, one is named twice, or one is not finished.
    """
    if not runs or len({run.resolve() for run in runs}) < len(runs):
        raise InputError(
            f"runs must be at least one, each named once. Received: {', '.join(map(str, runs)) or 'none'}. Name each "
            "run folder once."
        )
    descriptions = {run: read_run(run) for run in runs}
    rows = [_make_row(run, description, score_run(run)) for run, description in descriptions.items()]
    classes = [description.classes for description in descriptions.values()]
    fingerprints = [description.fingerprints for description in descriptions.values()]
    order = sorted(range(len(rows)), key=lambda index: -rows[index].headline)
    same_classes = all(each == classes[0] for each in classes)
    return Comparison(
        rows=tuple(rows[index] for index in order),
        differences=_compare_pairs([(rows[index].run, list(runs)[index]) for index in order]) if same_classes else (),
        same_data=all(each == fingerprints[0] for each in fingerprints),
        same_classes=same_classes,
    )


def _compare_pairs(runs: Sequence[tuple[str, Path]]) -> tuple[Difference, ...]:
    """Compare runs, by name and folder, the best first, over the samples that both predict.

    The best one was chosen by the same scores, so that intervals are those of all pairs together.
    """
    rows = [read_out_of_fold(folder) for _, folder in runs]
    pairs = list(combinations(range(len(runs)), 2))
    return tuple(
        compare_rows(runs[one][0], rows[one], runs[other][0], rows[other], n_comparisons=len(pairs))
        for one, other in pairs
        if one == 0 or len(runs) <= N_ALL_PAIRS
    )


def _make_row(run: Path, description: RunDescription, scores: Scores) -> RunRow:
    config = description.config
    has_no_training = description.baseline is not None or description.ensemble is not None
    finetuned = bool(description.finetuned_from)
    histories = read_history(run, config.folds)
    speeds = [max(record.images_per_s for record in history) for history in histories if history]
    reported = PAPER_FINETUNED.get(config.loss) if finetuned and config.model == "gapnet" else PAPER.get(config.model)
    headline = f"macro_f1_{HEADLINE.name}"
    interval, no_skill = scores.intervals[headline], scores.no_skill[headline]
    is_other = description.dataset is not None and (
        description.classes != HPA_2018.classes
        or set(description.channels) != set(description.full_store_dataset.channel_names)
    )
    return RunRow(
        run=run.absolute().name,
        model=config.model,
        loss="" if has_no_training else config.loss,
        image_size=config.image_size if isinstance(config.image_size, int) else format_image_size(config.image_size),
        folds=config.folds,
        epochs=0 if has_no_training else config.epochs,
        n_samples=scores.n_samples,
        finetuned=finetuned,
        **{name: getattr(scores, name) for name in [f"macro_f1_{kind.name}" for kind in THRESHOLDINGS]},
        macro_average_precision=scores.macro_average_precision,
        macro_roc_auc=scores.macro_roc_auc,
        best_fold_in_sample=max(fold.macro_f1_in_sample for fold in scores.folds),
        interval_low=interval.low,
        interval_high=interval.high,
        no_skill_mean=no_skill.mean,
        no_skill_high=no_skill.high,
        images_per_s=statistics.median(speeds) if speeds else float("nan"),
        paper=None if is_other else reported,
        paper_kind="" if is_other or reported is None else "same rows" if finetuned else "test set",
        dataset=description.full_dataset.name,
        legacy_leak=scores.legacy_leak,
    )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the table as CSV, one row per run."""
    write_table(
        path, [field.name for field in fields(RunRow)], [astuple(row) for row in comparison.rows], for_people=True
    )
