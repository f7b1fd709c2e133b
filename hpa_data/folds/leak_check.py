"""The record of which duplicates were looked for before samples were assigned to folds. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from hpa_data.errors import Notice

Searched = Literal["near", "exact", "nothing"]

_SEARCHED: dict[Searched, str] = {
    "near": "exact and near duplicates were looked for",
    "exact": "exact duplicates were looked for, near duplicates were not",
    "nothing": "duplicates were not looked for, and may be in both training and validation",
}


@dataclass(frozen=True, kw_only=True)
class LeakCheck:
    """Which duplicates were looked for, and how many were found; those found are kept in one fold."""

    searched: Searched
    """``near``: samples with the same pixels and other exports of the same image; ``exact``: only those with the same
    pixels; ``nothing``."""

    n_samples: int = 0
    """Samples that were looked at, without augmented copies; 0 where that is not known."""

    n_groups: int = 0
    """Groups of two or more duplicates."""

    n_in_groups: int = 0
    """Samples in these groups."""

    n_exact: int = 0
    """Those of them that have the same pixels as another sample."""

    def __post_init__(self) -> None:
        """Check that the counts fit together; ValueError if they do not."""
        if (
            not 0 <= self.n_exact <= self.n_in_groups <= self.n_samples
            or not 0 <= 2 * self.n_groups <= self.n_in_groups
        ):
            raise ValueError("the counts of duplicates do not fit together")

    def describe(self) -> str:
        """Say it in one line.

        Examples
        --------
        >>> LeakCheck(searched="near", n_samples=9).describe()
        'Leak check: exact and near duplicates were looked for; 9 samples, no duplicates'
        """
        text = f"Leak check: {_SEARCHED[self.searched]}"
        if self.searched == "nothing" or not self.n_samples:
            return text
        if not self.n_groups:
            return f"{text}; {self.n_samples} samples, no duplicates"
        return (
            f"{text}; of {self.n_samples} samples, {self.n_in_groups} are in {self.n_groups} "
            f"group{'s' * (self.n_groups != 1)} of duplicates ({self.n_exact} have the same pixels as another), each "
            "group in one fold"
        )

    def list_notices(self) -> list[Notice]:
        """Tell how many samples were not compared where only exact duplicates were looked for."""
        if self.searched != "exact":
            return []
        return [
            Notice(
                what="near duplicates were not looked for, other exports of the same image, which may be in both "
                "training and validation",
                n=self.n_samples,
                remedy="Pass --duplicates near to look for them, which reads every image.",
            )
        ]


NOT_CHECKED = LeakCheck(searched="nothing")
