"""The samples that a run is trained on: what should be known of them before hours are spent, and what is refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpa_data.dataset import is_readable
from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_model.predict.reading import describe_difference


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What is notable of the samples that a run is trained on. Augmented copies and unreadable samples do not count."""

    n_samples: int

    without_class: tuple[tuple[str, str], ...]
    """Part and id of each sample whose labels name no class."""

    empty_parts: tuple[str, ...]
    """Parts of which no sample has a class."""

    same_id: tuple[str, ...]
    """Ids that several parts have."""

    mixed: tuple[tuple[str, str, str], ...] = ()
    """Part and id of each sample of parts that were read unlike the first, and how, in words."""

    def refuse_empty_parts(self) -> None:
        """Refuse parts without any class, whose labels are most likely missing: InputError."""
        if self.empty_parts:
            name = self.empty_parts[0]
            n_samples = sum(part == name for part, _ in self.without_class)
            raise InputError(
                f"Cannot train on part {name!r}: none of its {n_samples} samples has a class. Convert it with a label "
                "table that names classes, or pass --allow-unlabeled if its samples really show none."
            )

    def list_notices(self, *, legacy_leak: bool = False) -> list[Notice]:
        """Tell what is notable, the ids only if samples are kept together with their relatives."""
        notices = []
        if self.without_class:
            notices.append(
                Notice(
                    what=f"samples have no class, of {self.n_samples}",
                    n=len(self.without_class),
                    examples=tuple(f"{name} in part {part}" for part, name in self.without_class[:N_EXAMPLES]),
                    remedy="They are trained on as images that show none of the classes; take their rows out of the "
                    "label table if their classes are not known.",
                )
            )
        if self.same_id and not legacy_leak:
            notices.append(
                Notice(
                    what="several parts have the same ids",
                    n=len(self.same_id),
                    unit="id",
                    examples=self.same_id[:N_EXAMPLES],
                    remedy="Each is taken for one sample and kept in one fold; convert samples that differ with "
                    "other ids.",
                )
            )
        if self.mixed:
            part, _, differences = self.mixed[0]
            notices.append(
                Notice(
                    what=f"parts were converted with different settings, {part} with {differences}",
                    n=len(self.mixed),
                    examples=tuple(f"{name} in part {part}" for part, name, _ in self.mixed[:N_EXAMPLES]),
                    remedy="A network can tell such parts apart by their brightness; convert them with the same "
                    "settings, unless their files differ as the settings do.",
                )
            )
        return notices


def summarize_data(store: Store, parts: Sequence[str]) -> DataSummary:
    """Find what is notable of the samples of some parts; InputError if a part is missing or damaged."""
    n_samples = 0
    without_class: list[tuple[str, str]] = []
    empty_parts = []
    mixed: list[tuple[str, str, str]] = []
    first: Part | None = None
    numbers: Counter[str] = Counter()
    for name in dict.fromkeys(parts):
        part = store.part(name)
        if part.copies is not None or part.labels is None:
            continue
        rows = np.flatnonzero(is_readable(part.read_status()))
        ids = [part.ids[row] for row in rows.tolist()]
        found = [(name, ids[row]) for row in np.flatnonzero(~part.labels[rows].any(axis=1)).tolist()]
        if ids and len(found) == len(ids):
            empty_parts.append(name)
        n_samples += len(ids)
        without_class += found
        numbers.update(ids)
        first = part if first is None and part.manifest.import_settings is not None else first
        words = "" if first is None else describe_difference(part, first)
        mixed += [(name, each, f"{words} of {first and first.name}") for each in ids if words]
    return DataSummary(
        n_samples=n_samples,
        without_class=tuple(without_class),
        empty_parts=tuple(empty_parts),
        same_id=tuple(name for name, number in numbers.items() if number > 1),
        mixed=tuple(mixed),
    )
