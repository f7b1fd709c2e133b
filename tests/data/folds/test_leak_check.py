"""Duplicates stay in one fold by default, and the plan says which were looked for."""

from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.folds import relations
from hpa_data.folds.leak_check import NOT_CHECKED, LeakCheck
from hpa_data.folds.leakage import audit_store_folds
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.folds.plan import FoldPlan, plan_training
from hpa_data.store.store import open_store
from hpa_data.system.records import decode_record, encode_record
from tests.builders import Hpa, assert_refused

METHODS: list[FoldMethod] = ["stratified", "contiguous", "grouped-stratified"]
# Of the 12 samples of `related`: 0 and 6 have the same pixels, 7 is another export of 1.
EXACT, NEAR = (0, 6), (1, 7)
FOUND_NEAR = LeakCheck(searched="near", n_samples=12, n_groups=2, n_in_groups=4, n_exact=2)
FOUND_EXACT = LeakCheck(searched="exact", n_samples=12, n_groups=1, n_in_groups=2, n_exact=2)


def plan(path: Path, method: FoldMethod = "stratified", seed: int = 0, **arguments: object) -> FoldPlan:
    store = open_store(path)
    with store.reader(["train"]) as reader:
        options = {"legacy_leak": False} | arguments
        return plan_training(store, ["train"], reader, 3, method=method, seed=seed, **options)  # type: ignore[arg-type]


def together(planned: FoldPlan, pair: tuple[int, int]) -> bool:
    return bool(planned.folds[pair[0]] == planned.folds[pair[1]])


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_are_in_one_fold_by_default_whatever_the_method(related: Path, method: FoldMethod) -> None:
    planned = [plan(related, method, seed) for seed in range(5)]
    assert all(together(each, pair) for each in planned for pair in (EXACT, NEAR))
    assert {each.leak_check for each in planned} == {FOUND_NEAR}
    assert all(np.bincount(each.folds).min() >= 2 for each in planned)


@pytest.mark.parametrize("method", METHODS)
def test_exact_duplicates_are_in_one_fold_where_near_ones_would_take_too_long(
    related: Path, method: FoldMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "NEAR_BUDGET_S", 0.0)
    planned = [plan(related, method, seed) for seed in range(8)]
    assert all(together(each, EXACT) for each in planned)
    # Groups were asked for, whatever the time they take.
    assert {each.leak_check for each in planned} == {FOUND_NEAR if method == "grouped-stratified" else FOUND_EXACT}
    assert all(together(each, NEAR) for each in planned) == (method == "grouped-stratified")


def test_what_was_not_looked_at_is_told_with_the_option_that_does_it(
    related: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan(related).leak_check.list_notices() == []
    monkeypatch.setattr(relations, "NEAR_BUDGET_S", 0.0)
    (notice,) = plan(related).leak_check.list_notices()
    assert str(notice).startswith("Warning: near duplicates were not looked for, ")
    assert ", 12 samples. Pass --duplicates near to look for them" in str(notice)


@pytest.mark.parametrize(
    ("duplicates", "found"), [("near", FOUND_NEAR), ("exact", FOUND_EXACT), ("ignore", NOT_CHECKED)]
)
def test_a_search_that_is_asked_for_does_not_depend_on_its_time(
    related: Path, duplicates: DuplicateSearch, found: LeakCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    for budget in (0.0, 1e9):
        monkeypatch.setattr(relations, "NEAR_BUDGET_S", budget)
        assert plan(related, duplicates=duplicates).leak_check == found


def test_duplicates_are_split_where_they_are_ignored_and_by_the_paper_s_leak(related: Path) -> None:
    ignored = [plan(related, seed=seed, duplicates="ignore") for seed in range(8)]
    assert not all(together(each, EXACT) for each in ignored)
    leaky = plan(related, legacy_leak=True)
    assert leaky.leak_check == NOT_CHECKED
    assert leaky.folds.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert plan(related, "grouped-stratified", duplicates="ignore").leak_check == FOUND_NEAR  # as version 0.1.0 did


def test_a_report_has_the_folds_of_a_training(related: Path, hpa: Hpa) -> None:
    store = open_store(related)
    searches: list[DuplicateSearch] = ["auto", "near", "exact", "ignore"]
    for duplicates in searches:
        report = audit_store_folds(store, None, 3, seed=1, duplicates=duplicates)
        planned = plan(related, seed=1, duplicates=duplicates)
        assert report.n_validation == tuple(np.bincount(planned.folds).tolist())
        leaked = {leak.relation: sum(leak.leaked) for leak in report.leaks}
        assert leaked["exact duplicate"] == 2 * (not together(planned, EXACT))
        assert leaked["any"] == 2 * (not together(planned, EXACT)) + 2 * (not together(planned, NEAR))
    assert audit_store_folds(store, None, 3, seed=1).n_leaked == 0
    line = next(line for line in hpa("folds", related).out.splitlines() if "an exact duplicate" in line)
    assert line.split()[-5:] == ["0", "0", "0", "1", "groups"]
    assert_refused(hpa("folds", related, "--duplicates", "near", "--no-near-duplicates"), "with --duplicates near")
    assert_refused(hpa("folds", related, "--duplicates", "near", "--legacy-leak"), "--duplicates: it has no effect")


def test_a_record_says_in_one_line_what_was_looked_for() -> None:
    lines = [found.describe() for found in (FOUND_NEAR, FOUND_EXACT, NOT_CHECKED)]
    assert lines == [
        "Leak check: exact and near duplicates were looked for; of 12 samples, 4 are in 2 groups of duplicates (2 have "
        "the same pixels as another), each group in one fold",
        "Leak check: exact duplicates were looked for, near duplicates were not; of 12 samples, 2 are in 1 group of "
        "duplicates (2 have the same pixels as another), each group in one fold",
        "Leak check: duplicates were not looked for, and may be in both training and validation",
    ]
    for found in (FOUND_NEAR, NOT_CHECKED):
        assert decode_record(LeakCheck, encode_record(found), name="a record") == found
    for wrong in ({"n_samples": -1}, {"n_groups": 2}, {"n_in_groups": 5}, {"searched": "far"}):
        with pytest.raises(InputError, match="Cannot read a record"):
            decode_record(LeakCheck, encode_record(FOUND_EXACT) | {"n_samples": 4} | wrong, name="a record")


def test_samples_that_show_nothing_are_no_duplicates(related: Path) -> None:
    black = [plan(related, seed=seed).folds[[2, 8]] for seed in range(8)]
    assert any(one != other for one, other in black)


def test_folds_that_groups_cannot_fill_are_refused_with_the_reason(related: Path) -> None:
    store = open_store(related)
    with store.reader(["train"]) as reader:
        for n_folds, message in ((13, "number of samples, 12"), (12, "at most the number of groups, 10")):
            with pytest.raises(InputError, match=message):
                plan_training(store, ["train"], reader, n_folds, method="stratified", seed=0, legacy_leak=False)
