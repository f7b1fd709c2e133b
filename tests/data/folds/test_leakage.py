"""Copies and duplicates are never in training and validation at the same time."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.dataset import decode_labels
from hpa_data.errors import InputError
from hpa_data.folds.leakage import audit_store_folds, audit_table_folds, report_folds
from hpa_data.folds.options import FoldMethod
from hpa_data.folds.plan import FoldPlan
from hpa_data.folds.relations import Relations
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import open_store
from hpa_data.system.progress import Progress
from hpa_data.tables import read_label_table
from tests.builders import convert, draw_image, write_sample, write_table

LABELS = hnp.arrays(np.uint8, st.tuples(st.integers(12, 40), st.just(4)), elements=st.integers(0, 1))


@given(
    folds=hnp.arrays(np.int64, 20, elements=st.integers(-1, 2)),
    groups=hnp.arrays(np.int64, 20, elements=st.integers(0, 8)),
)
def test_a_leak_is_a_validation_sample_with_a_related_one_in_training(folds: np.ndarray, groups: np.ndarray) -> None:
    plan = FoldPlan(n_folds=3, folds=folds, parents=np.full(20, -1))
    report = report_folds(plan, np.zeros((20, 2), np.uint8), Relations(groups={"copy": groups}), classes=("a", "b"))
    for fold in range(3):
        expected = sum(
            folds[i] == fold and any(folds[j] not in {-1, fold} and groups[i] == groups[j] for j in range(20))
            for i in range(20)
        )
        assert report.leaks[0].leaked[fold] == expected


@pytest.mark.realdata
def test_the_paper_s_split_of_the_real_table_leaks_every_rare_sample_of_its_first_fold(real_data: Path) -> None:
    table = real_data / "labels" / "train.csv"
    leaky = audit_table_folds(table, 3, min_count=500, legacy_leak=True)
    assert leaky.n_validation == (11_366, 11_366, 11_366)
    assert leaky.leaks[0].leaked[0] == 417
    labels = read_label_table(table).labels[:11_366]
    assert labels[:, [8, 9, 10, 15, 17, 20, 24, 26, 27]].any(axis=1).sum() == 417
    for method in ("contiguous", "stratified"):
        report = audit_table_folds(table, 3, method=method, min_count=500)  # type: ignore[arg-type]
        assert report.leaks[0].leaked == (0, 0, 0)
        assert sum(report.n_validation) == 31_072


@pytest.mark.realdata
def test_antibodies_of_the_external_table_stay_together_and_classes_even(real_data: Path) -> None:
    report = audit_table_folds(real_data / "labels" / "HPAv18RBGY_wodpl.csv", 3, method="grouped-stratified")
    (antibody,) = (leak for leak in report.leaks if leak.relation == "antibody")
    assert antibody.leaked == (0, 0, 0)
    assert antibody.n_groups > 12_000
    assert max(report.n_validation) - min(report.n_validation) < 0.01 * sum(report.n_validation)
    counts = np.array(report.counts)
    shares = (counts / counts.sum(axis=1, keepdims=True))[counts.sum(axis=1) > 100]
    assert shares.min() > 0.26
    assert shares.max() < 0.41


def test_leaking_duplicates_are_found_and_black_samples_are_none(related: Path) -> None:
    report = audit_store_folds(open_store(related), ["train"], 2, method="contiguous", duplicates="ignore")
    found = {leak.relation: (leak.n_groups, leak.leaked) for leak in report.leaks}
    twice = (2, (2, 2))
    assert found == {"copy": (0, (0, 0)), "exact duplicate": (1, (1, 1)), "near duplicate": twice, "any": twice}
    assert report.n_leaked == 4


def test_grouped_folds_keep_duplicates_and_copies_together(related: Path) -> None:
    store = open_store(related)
    augment_store(plan_augmentation(store, min_count=7))
    report = audit_store_folds(store, ["train", "augmented"], 2, method="grouped-stratified")
    assert report.n_leaked == 0
    assert sum(report.n_validation) == 12
    leaky = audit_store_folds(store, ["train", "augmented"], 2, legacy_leak=True, near=False)
    assert [leak.relation for leak in leaky.leaks] == ["copy", "exact duplicate", "any"]
    assert leaky.n_leaked > 0


def test_the_paper_s_split_has_copies_at_the_end_whatever_the_order_of_the_parts(related: Path) -> None:
    store = open_store(related)
    augment_store(plan_augmentation(store, min_count=7))
    reports = [
        audit_store_folds(store, parts, 2, legacy_leak=True)
        for parts in (["train", "augmented"], ["augmented", "train"])
    ]
    assert reports[0] == reports[1]


@settings(deadline=None, max_examples=20)
@given(labels=LABELS, n_folds=st.integers(2, 4), min_count=st.integers(1, 30), grouped=st.booleans())
def test_no_table_leaks_copies(labels: np.ndarray, n_folds: int, min_count: int, grouped: bool) -> None:
    with TemporaryDirectory() as folder:
        names = [f"{row // 2}_{row}" for row in range(len(labels))]
        rows = dict(zip(names, decode_labels(labels), strict=True))
        table = write_table(Path(folder) / "t.csv", rows)
        method = "grouped-stratified" if grouped else "stratified"
        try:
            report = audit_table_folds(table, n_folds, method=method, min_count=min_count)  # type: ignore[arg-type]
        except InputError:  # a fold without a group
            assert grouped
            return
    assert report.n_leaked == 0
    if grouped:
        assert [sum(leak.leaked) for leak in report.leaks] == [0, 0, 0]


def test_a_part_that_is_all_black_has_no_duplicates(tmp_path: Path) -> None:
    for index in range(3):
        write_sample(tmp_path / "source", f"s{index}", np.zeros((512, 512, 4), np.uint8))
    table = write_table(tmp_path / "t.csv", {f"s{index}": "0" for index in range(3)})
    convert(tmp_path / "source", tmp_path / "hpa.zarr", labels=table)
    report = audit_store_folds(open_store(tmp_path / "hpa.zarr"), None, 2)
    assert report.n_leaked == 0
    assert sum(report.n_validation) == 3


def test_antibodies_of_hpav18_are_a_relation_by_the_recorded_naming_scheme(related: Path, tmp_path: Path) -> None:
    for number, antibody in enumerate((7, 7, 8)):
        folder = tmp_path / "external" / str(antibody)
        write_sample(folder, f"p_A1_{number}", draw_image(20 + number))
    labels = write_table(tmp_path / "e.csv", {"7_p_A1_0": "0", "7_p_A1_1": "0", "8_p_A1_2": "1"})
    hpav18 = ImportOptions(source="hpav18")
    convert(tmp_path / "external", related, labels=labels, part="external", settings=hpav18)
    report = audit_store_folds(open_store(related), None, 2, method="grouped-stratified", near=False)
    assert [leak.relation for leak in report.leaks] == ["copy", "exact duplicate", "any", "antibody"]
    assert (report.leaks[-1].n_groups, report.leaks[-1].leaked) == (1, (0, 0))


def test_folds_that_cannot_be_are_refused_before_images_are_read(related: Path) -> None:
    read: list[int] = []
    progress = Progress(start=read.append)
    for method in get_args(FoldMethod):
        with pytest.raises(InputError, match="folds must be from 2 to the number of samples, 12"):
            audit_store_folds(open_store(related), ["train"], 13, method=method, progress=progress)
    assert read == []
    audit_store_folds(open_store(related), ["train"], 3, method="grouped-stratified", progress=progress)
    assert read == [12]
