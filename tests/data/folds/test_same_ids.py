"""One sample in several parts, such as in two sizes: parts may have the same ids."""

import shutil

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.folds.assign import assign_folds
from hpa_data.folds.leakage import FoldReport, audit_store_folds
from hpa_data.folds.options import FoldMethod
from hpa_data.folds.plan import FoldPlan, plan_training
from hpa_data.store.store import Store, open_store
from tests.builders import Hpa, convert, draw_image, write_sample, write_table

SHARED = {f"sample-{index:02}" for index in range(2, 8)}


@pytest.fixture(scope="module")
def store(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold parts `train` (12 samples) and `full`: other images with the ids of six of them, and two with new ids."""
    folder = tmp_path_factory.mktemp("parts")
    shutil.copytree(store.path, folder / "hpa.zarr")
    names = [*sorted(SHARED), "other-0", "other-1"]
    for index, name in enumerate(names):
        write_sample(folder / "full", name, draw_image(200 + index))
    table = write_table(folder / "full.csv", {name: f"{index % 3}" for index, name in enumerate(names)})
    convert(folder / "full", folder / "hpa.zarr", labels=table, part="full")
    return open_store(folder / "hpa.zarr")


def plan(store: Store, method: FoldMethod = "stratified", *, legacy_leak: bool = False) -> tuple[list[str], FoldPlan]:
    parts = ["train", "full"]
    with store.reader(parts) as reader:
        return reader.ids, plan_training(store, parts, reader, 3, method=method, seed=0, legacy_leak=legacy_leak)


@pytest.mark.parametrize("method", ["stratified", "contiguous", "grouped-stratified"])
def test_samples_with_the_same_id_are_in_the_same_fold(store: Store, method: FoldMethod) -> None:
    ids, planned = plan(store, method)
    assert np.bincount(planned.folds).min() >= 4
    folds = dict(zip(ids[:12], planned.folds[:12], strict=True))
    assert [folds[name] for name in ids[12:18]] == planned.folds[12:18].tolist()


def test_samples_of_one_part_are_assigned_as_without_ids(store: Store) -> None:
    with store.reader(["train"]) as reader:
        planned = plan_training(store, ["train"], reader, 3, method="stratified", seed=5, legacy_leak=False)
        assert (planned.folds == assign_folds(reader.labels, 3, seed=5)).all()  # type: ignore[arg-type]


def test_a_fold_report_tells_what_several_parts_have_and_that_it_does_not_leak(store: Store, hpa: Hpa) -> None:
    report = audit_store_folds(store, ["train", "full"], 3, near=False)
    assert leaked(report, "id") == [0, 0, 0]
    assert report.n_same_id == 6
    assert sum(leaked(audit_store_folds(store, ["train", "full"], 3, near=False, legacy_leak=True), "id")) > 0
    words = ("folds", store.path, "--part", "train", "--part", "full", "--no-near-duplicates")
    assert "In several parts: 6 ids, each taken for one sample and kept in one fold" in hpa(*words).out
    assert "with the same id in training" in hpa(*words, "--legacy-leak").out
    assert "same id" not in hpa("folds", store.path, "--part", "train", "--no-near-duplicates").out


def leaked(report: FoldReport, relation: str) -> list[int]:
    (found,) = [leak for leak in report.leaks if leak.relation == relation]
    return list(found.leaked)


def test_there_are_at_most_as_many_folds_as_different_samples(store: Store) -> None:
    with store.reader(["train", "full"]) as reader, pytest.raises(InputError, match="number of samples, 14"):
        plan_training(store, ["train", "full"], reader, 15, method="stratified", seed=0, legacy_leak=False)


def test_three_parts_that_share_some_ids_and_pixels_keep_what_is_related_together(store: Store) -> None:
    path = store.path.with_name("three.zarr")
    shutil.copytree(store.path, path)
    shutil.copytree(path / "full", path / "again")  # the same ids and the same pixels
    parts = ["train", "full", "again"]
    with open_store(path).reader(parts) as reader:
        planned = plan_training(
            open_store(path), parts, reader, 3, method="grouped-stratified", seed=0, legacy_leak=False
        )
        folds: dict[str, set[int]] = {}
        for name, fold in zip(reader.ids, planned.folds.tolist(), strict=True):
            folds.setdefault(name, set()).add(fold)
    assert {len(found) for found in folds.values()} == {1}
    report = audit_store_folds(open_store(path), parts, 3, near=False)
    assert (report.n_same_id, report.n_leaked) == (8, 0)
