"""Scores of a run, and how the thresholds of each were obtained."""

from dataclasses import dataclass, field

from hpa_data.folds.leak_check import LeakCheck
from hpa_data.stats.labels import choose_classes, explain_choice
from hpa_model.metrics import CalibrationError, Interval
from hpa_model.thresholds import NoSkill


@dataclass(frozen=True, kw_only=True)
class Thresholding:
    """A way to obtain thresholds, and how scores with them are labeled wherever they are shown."""

    name: str
    """Fields of scores are called after it: `Scores.macro_f1_NAME`, `FoldScore.macro_f1_NAME`, `ClassScore.f1_NAME`."""

    label: str
    """A few letters, for the head of a column."""

    description: str


# The headline first: of all of them, it was closest to the scores of predictions for new samples
# (`python -m benchmarks.headline`).
THRESHOLDINGS = (
    Thresholding(
        name="cross_fitted",
        label="other folds",
        description="honest: thresholds fitted on the other folds",
    ),
    Thresholding(
        name="within_fold",
        label="same fold",
        description="honest: thresholds fitted on other samples of the same fold",
    ),
    Thresholding(
        name="in_sample",
        label="same rows",
        description="optimistic: thresholds fitted on the rows they are scored on, as in the paper",
    ),
    Thresholding(name="at_half", label="0.5", description="threshold 0.5 for every class"),
)
HEADLINE = THRESHOLDINGS[0]
# In place of the first one, where there are no other folds.
OTHER_HALF = Thresholding(
    name=HEADLINE.name,
    label="other half",
    description="honest: thresholds fitted on the other half of the validation samples",
)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """The score of one class over the out-of-fold rows."""

    name: str
    support: int
    """Samples that show the class."""

    threshold: float
    """The one to predict with, fitted on all out-of-fold rows; 1 means never predicted."""

    precision: float
    """With the thresholds of the headline; so is `recall`."""

    recall: float
    f1_within_fold: float
    f1_cross_fitted: float
    f1_in_sample: float
    f1_at_half: float

    average_precision: float | None = None
    """Over all rows; so is `roc_auc`. None for a class without positive samples, or without negative ones."""

    roc_auc: float | None = None

    calibration_error: CalibrationError | None = None
    """Of the probabilities that thresholds apply to."""

    calibrated_error: CalibrationError | None = None
    """Once each fold's are corrected by what was fitted on the other folds, see `thresholds.class_calibration`."""

    @property
    def f1(self) -> float:
        """With the thresholds of the headline."""
        return float(getattr(self, f"f1_{HEADLINE.name}"))


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """Macro-F1 of the validation rows of one fold, by the model that was not trained on them."""

    fold: int
    n_samples: int
    macro_f1_within_fold: float
    macro_f1_cross_fitted: float
    macro_f1_in_sample: float
    """With thresholds fitted on the rows of this fold alone, as the paper scored its folds."""

    macro_f1_at_half: float

    macro_average_precision: float | None = None
    macro_roc_auc: float | None = None

    no_skill: dict[str, NoSkill] = field(default_factory=dict)
    """What each of these scores is without skill, by the name of its field."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What a class is confused with, at the thresholds of the headline."""

    name: str
    n_false_negatives: int
    predicted_instead: tuple[tuple[str, int], ...]
    """Of the false negatives: classes that were wrongly predicted more often than for other samples, with how often;
    the largest excess first."""

    n_false_positives: int
    was_actually: tuple[tuple[str, int], ...]
    """Of the false positives: classes that the samples show and that were missed more often than elsewhere, with how
    often."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Macro-F1 of the out-of-fold rows of a run, over all classes, once for each of `THRESHOLDINGS`.

    The epoch of each fold's model was chosen by the loss on the same fold that is scored: a small bias in favor of all
    of them.
    """

    n_samples: int
    macro_f1_within_fold: float
    macro_f1_cross_fitted: float
    macro_f1_in_sample: float
    macro_f1_at_half: float

    macro_f1_chance: float
    """Expected of predicting each class at random, as often as it occurs: the mean of the class frequencies. No
    yardstick for scores with fitted thresholds, see `no_skill`."""

    macro_f1_without_fill: float
    """As the headline, but samples for which no class is predicted stay so."""

    fill: bool
    """Whether such samples get their most probable class: if every sample of the data shows one. So do those that are
    predicted. Holds for the scores whose thresholds were fitted on other samples."""

    temperatures: tuple[float, ...]
    """What the logits of each fold's model are divided by, before its probabilities meet thresholds; not for 0.5."""

    macro_average_precision: float | None = None
    """Mean over the classes for which it is known, see `ClassScore`; so is `macro_roc_auc`."""

    macro_roc_auc: float | None = None

    intervals: dict[str, Interval] = field(default_factory=dict)
    """Bootstrap intervals of 95 %, by the name of the field of each score, see `metrics.intervals.find_interval`.
    Related samples are drawn together. Classes without a sample stay without, and count as 0."""

    no_skill: dict[str, NoSkill] = field(default_factory=dict)
    """What each score is for the same probabilities in a random order, with the same fitting; by the name of its
    field."""

    calibration_error: CalibrationError | None = None
    """Of the labels of all classes together, as in `ClassScore`; so is `calibrated_error`."""

    calibrated_error: CalibrationError | None = None

    classes: tuple[ClassScore, ...]
    folds: tuple[FoldScore, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """Of the classes with the lowest F1 of the headline, among those with a sample."""

    legacy_leak: bool = False
    """Whether copies of validation samples were trained on, which inflates all scores."""

    leak_check: LeakCheck | None = None
    """Which duplicates were looked for, and kept in one fold; None if that is not known, as of rows without a run."""

    no_better_than_no_skill: tuple[str, ...] = ()
    """The fields whose scores lie inside the band of scores without skill, or below it."""

    @property
    def is_of_one_fold(self) -> bool:
        """Whether a single model is scored, on the samples that validated it."""
        return len(self.folds) == 1

    @property
    def thresholdings(self) -> tuple[Thresholding, ...]:
        """How thresholds were obtained for each score, the headline first."""
        return (OTHER_HALF, *THRESHOLDINGS[1:]) if self.is_of_one_fold else THRESHOLDINGS

    @property
    def headline(self) -> float:
        """The macro-F1 to quote: the best estimate of what `hpa predict` scores on new samples."""
        return float(getattr(self, f"macro_f1_{HEADLINE.name}"))

    def beats_no_skill(self, name: str) -> bool:
        """Return whether the score in a field lies above the band of scores without skill."""
        return name not in self.no_better_than_no_skill

    @property
    def shown(self) -> list[int]:
        """Indices of the classes that figures and tables show, see `choose_classes`."""
        return choose_classes([score.support for score in self.classes])

    @property
    def choice(self) -> str:
        """Which classes are shown, in one sentence; empty if all."""
        return explain_choice([score.support for score in self.classes])

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes without a positive sample: they are never predicted, and count as 0."""
        return tuple(score.name for score in self.classes if score.support == 0)
