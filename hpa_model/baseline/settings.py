"""The settings of a baseline. Imports nothing heavy."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from hpa_data.errors import InputError

# In `TrainConfig.model` of a run that holds no network.
NAME = "baseline"
# A change of what the features measure takes the next number: classifiers know only those that they were fitted on.
FEATURES_VERSION = 1

# Settings of a network's training that a baseline shares: those that decide what is trained and validated on what.
SHARED_SETTINGS = ("parts", "channels", "folds", "fold_method", "duplicates", "legacy_leak", "seed")

Classifier = Literal["trees", "logistic", "mean"]
CLASSIFIERS: tuple[Classifier, ...] = get_args(Classifier)
IN_WORDS: dict[str, str] = {
    "trees": "extra trees",
    "logistic": "logistic regression",
    "mean": "the mean of both",
}


@dataclass(frozen=True, kw_only=True)
class BaselineSettings:
    """How the baseline of a run was made; part of its `config.json`."""

    model: Classifier = "trees"
    """Whose probabilities the run predicts with: those of extra trees, of logistic regression, or the mean of both."""

    image_size: int = 128
    """Pixels of the shorter side of the images that are measured; smaller images are measured as they are."""

    n_trees: int = 300
    """Of the forest of each fold."""

    inverse_penalty: float = 0.3
    """What logistic regression divides its penalty on the weights by: ``C`` of scikit-learn."""

    features_version: int = FEATURES_VERSION

    def __post_init__(self) -> None:
        """Check each value."""
        if self.model not in CLASSIFIERS:
            raise InputError(
                f"model must be one of {', '.join(CLASSIFIERS)}. Received: model={self.model!r}. Choose one of them."
            )
        for name, lowest, highest in (("image_size", 16, 2**15), ("n_trees", 1, 10**4), ("inverse_penalty", 1e-6, 1e6)):
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise InputError(
                    f"{name} must be from {lowest:g} to {highest:g}. Received: {name}={value}. Pass another number."
                )


def compare_settings(existing: BaselineSettings | None, wanted: BaselineSettings | None) -> list[str]:
    """List the differences between the settings of two baselines, in words; none if one is not given."""
    if existing is None or wanted is None:
        return []
    here = asdict(wanted)
    return [f"{name} ({old} there, {here[name]} here)" for name, old in asdict(existing).items() if old != here[name]]
