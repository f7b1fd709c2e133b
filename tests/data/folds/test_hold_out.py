"""A share of the samples that validates the only model: stratified, in whole groups, and the same each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.folds.assign import TRAINING_ONLY, hold_out


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.001, 0.98),
    n_samples=st.integers(3, 60),
    method=st.sampled_from(["stratified", "contiguous", "grouped-stratified"]),
)
def test_both_sides_have_samples_and_groups_stay_whole(seed: int, share: float, n_samples: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n_samples, 4)) < 0.3).astype(np.uint8)
    groups = np.arange(n_samples) // 2 if method == "grouped-stratified" else None
    if groups is not None and n_samples < 5:
        return
    found = hold_out(labels, share, method, groups, seed)  # type: ignore[arg-type]
    assert set(found.tolist()) == {0, TRAINING_ONLY}
    units = np.arange(n_samples) if groups is None else groups
    assert len(set(units[found == 0].tolist())) >= 2, "each half is scored with thresholds of the other"
    assert (hold_out(labels, share, method, groups, seed) == found).all()  # type: ignore[arg-type]
    if groups is not None:
        assert all(len(set(found[groups == group].tolist())) == 1 for group in groups)


def test_each_class_has_its_share_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((1000, 6)) < [0.5, 0.3, 0.1, 0.05, 0.03, 0.02]).astype(np.uint8)
    for groups in (None, np.arange(1000) // 2):
        held_out = hold_out(labels, 0.1, "stratified" if groups is None else "grouped-stratified", groups) == 0
        assert held_out.sum() == pytest.approx(100, abs=8)
        assert np.abs(labels[held_out].sum(axis=0) - 0.1 * labels.sum(axis=0)).max() <= 8


def test_samples_that_belong_together_cannot_be_split() -> None:
    with pytest.raises(
        InputError, match=r"there must be 3 that do not belong together\. Received: 3 samples in 1 group "
    ):
        hold_out(np.ones((3, 1), np.uint8), 0.1, "grouped-stratified", [7, 7, 7])
    with pytest.raises(InputError, match=r"Received: 2 samples\. Pass --folds 0"):
        hold_out(np.ones((2, 1), np.uint8), 0.1)
