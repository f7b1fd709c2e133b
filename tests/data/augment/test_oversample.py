"""Oversampling adds copies until each class has enough, as the paper's loop does."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.augment.oversample import plan_copies
from hpa_data.errors import InputError
from hpa_data.tables import read_label_table

LABELS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.just(5)), elements=st.integers(0, 1))


def _copy_one_by_one(labels: np.ndarray, min_count: int, order: list[int]) -> list[int]:
    """Add copy after copy, as the paper describes it, counting every label after each."""
    counts = labels.sum(axis=0).astype(int)
    copies = []
    for k in order:
        carriers = [row for row in range(len(labels)) if labels[row, k]]
        n = 0
        while carriers and counts[k] < min_count:
            row = carriers[n % len(carriers)]
            copies.append(row)
            counts += labels[row]
            n += 1
    return copies


@given(labels=LABELS, min_count=st.integers(1, 40), order=st.sampled_from(["index", "rarest"]))
def test_copies_are_those_of_adding_one_after_the_other(labels: np.ndarray, min_count: int, order: str) -> None:
    classes = list(range(5))
    if order == "rarest":
        classes.sort(key=lambda k: (labels[:, k].sum(), k))
    copies = plan_copies(labels, min_count, order)
    assert copies.tolist() == _copy_one_by_one(labels, min_count, classes)
    after = labels.sum(axis=0) + labels[copies].sum(axis=0)
    assert ((after >= min_count) | (labels.sum(axis=0) == 0)).all()


@given(labels=LABELS, eligible=st.lists(st.booleans(), min_size=30, max_size=30))
def test_only_eligible_samples_are_copied(labels: np.ndarray, eligible: list[bool]) -> None:
    allowed = np.array(eligible[: len(labels)])
    assert allowed[plan_copies(labels, 20, eligible=allowed)].all()


@pytest.mark.realdata
def test_the_paper_s_copies_of_the_real_table(real_data: Path) -> None:
    labels = read_label_table(real_data / "labels" / "train.csv").labels
    copies = plan_copies(labels, 500)
    assert len(copies) == 3026
    assert len(labels) + len(copies) == 34_098
    assert len(set(copies.tolist())) == 862
    assert np.bincount(copies).max() == 45
    after = (labels.sum(axis=0, dtype=int) + labels[copies].sum(axis=0, dtype=int)).tolist()
    assert after == [
        *(13820, 1255, 4017, 1603, 1922, 2906, 1207, 2844, 500, 688, 500, 1099, 692, 537),
        *(1131, 500, 850, 500, 977, 1541, 500, 3842, 807, 3091, 500, 8425, 500, 500),
    ]
    assert len(plan_copies(labels, 500, "rarest")) == 2855


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"min_count": 0}, "min_count must be from 1"), ({"order": "any"}, "order must be index or rarest")],
)
def test_arguments_that_are_not_valid_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_copies(np.ones((3, 2), np.uint8), **arguments)  # type: ignore[arg-type]


def test_more_than_300_000_copies_are_refused() -> None:
    with pytest.raises(InputError, match="at most 300000 copies"):
        plan_copies(np.eye(8, dtype=np.uint8), 100_000)
