from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.augment.oversample import plan_copies
from hpa_data.errors import InputError
from hpa_data.folds.assign import assign_folds, split_fold
from hpa_data.tables import read_label_table

LABELS = hnp.arrays(np.uint8, st.tuples(st.integers(12, 40), st.just(4)), elements=st.integers(0, 1))


@settings(deadline=None, max_examples=40)
@given(
    labels=hnp.arrays(np.uint8, st.tuples(st.integers(12, 60), st.just(6)), elements=st.integers(0, 1)),
    n_folds=st.integers(2, 4),
    method=st.sampled_from(["stratified", "contiguous"]),
    seed=st.integers(0, 99),
)
def test_every_fold_has_samples_and_the_same_arguments_give_the_same_folds(
    labels: np.ndarray, n_folds: int, method: str, seed: int
) -> None:
    folds = assign_folds(labels, n_folds, method=method, seed=seed)  # type: ignore[arg-type]
    assert sorted(set(folds.tolist())) == list(range(n_folds))
    assert (folds == assign_folds(labels, n_folds, method=method, seed=seed)).all()  # type: ignore[arg-type]


def test_stratified_folds_distribute_a_rare_class() -> None:
    labels = np.zeros((300, 28), np.uint8)
    labels[:, 0] = 1
    labels[:6, 5] = 1
    folds = assign_folds(labels, 3)
    assert np.bincount(folds[:6], minlength=3).tolist() == [2, 2, 2]


@pytest.mark.parametrize("n_folds", [0, 1, 5])
def test_fewer_than_2_or_more_folds_than_samples_are_refused(n_folds: int) -> None:
    with pytest.raises(InputError, match="folds must be from 2 to the number of samples, 4"):
        assign_folds(np.ones((4, 2), np.uint8), n_folds)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="method must be one of stratified, contiguous"):
        assign_folds(np.ones((4, 2), np.uint8), 2, method="random")  # type: ignore[arg-type]


@pytest.mark.realdata
def test_contiguous_thirds_of_the_real_table_distribute_rare_classes_badly(real_data: Path) -> None:
    labels = read_label_table(real_data / "labels" / "train.csv").labels
    folds = assign_folds(labels, 3, method="contiguous")
    assert [int(labels[folds == fold, 15].sum()) for fold in range(3)] == [2, 13, 6]
    assert [int(labels[folds == fold, 27].sum()) for fold in range(3)] == [6, 2, 3]


@pytest.mark.realdata
def test_stratified_folds_of_the_real_table_hold_a_third_of_each_class(real_data: Path) -> None:
    labels = read_label_table(real_data / "labels" / "train.csv").labels
    for n_folds in (3, 5, 10):
        folds = assign_folds(labels, n_folds)
        counts = np.array([labels[folds == fold].sum(axis=0) for fold in range(n_folds)], int)
        assert (counts.min(axis=0) > 0).all()  # each class has n_folds samples or more
        assert n_folds != 3 or (counts.max(axis=0) - counts.min(axis=0)).max() <= 3


@settings(deadline=None, max_examples=40)
@given(groups=hnp.arrays(np.int64, 60, elements=st.integers(0, 25)), seed=st.integers(0, 9))
def test_groups_are_never_split(groups: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 2, (60, 4), np.uint8)
    if len(set(groups.tolist())) < 2:
        with pytest.raises(InputError, match="at most the number of groups, 1"):
            assign_folds(labels, 2, "grouped-stratified", groups, seed)
        return
    folds = assign_folds(labels, 2, "grouped-stratified", groups, seed)
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group].tolist())) == 1


def test_groups_are_required_by_grouped_folds_and_refused_by_others() -> None:
    labels = np.ones((8, 2), np.uint8)
    with pytest.raises(InputError, match="groups must be given for grouped-stratified"):
        assign_folds(labels, 2, "grouped-stratified")
    with pytest.raises(InputError, match="groups must be given for grouped-stratified"):
        assign_folds(labels, 2, "stratified", np.arange(8))


@settings(deadline=None, max_examples=60)
@given(
    labels=LABELS,
    n_folds=st.integers(2, 4),
    method=st.sampled_from(["stratified", "contiguous", "grouped-stratified"]),
    seed=st.integers(0, 99),
    min_count=st.integers(1, 30),
    group_size=st.integers(1, 3),
)
def test_copies_are_in_training_where_their_parent_is_and_never_in_validation(  # noqa: PLR0917 - hypothesis names them
    labels: np.ndarray, n_folds: int, method: str, seed: int, min_count: int, group_size: int
) -> None:
    n_originals = len(labels)
    groups = np.arange(n_originals) // group_size if method == "grouped-stratified" else None
    try:
        folds = assign_folds(labels, n_folds, method, groups, seed)  # type: ignore[arg-type]
    except InputError:  # groups too few for the folds
        assert groups is not None
        return
    copies = plan_copies(labels, min_count)
    parents = np.concatenate([np.full(n_originals, -1), copies])
    folds = np.concatenate([folds, np.full(len(copies), -1)])
    validated: list[int] = []
    for fold in range(n_folds):
        training, validation = split_fold(folds, parents, fold)
        trained = set(training.tolist())
        assert not trained & set(validation.tolist())
        for row in range(n_originals, len(folds)):
            assert (row in trained) == (int(parents[row]) in trained)
        if groups is not None:
            originals = training[training < n_originals]
            assert not set(groups[originals].tolist()) & set(groups[validation].tolist())
        validated += validation.tolist()
    assert sorted(validated) == list(range(n_originals))
