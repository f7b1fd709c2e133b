"""Which samples of a reader can be assigned to folds."""

import shutil
from pathlib import Path

import pytest

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.folds.leakage import audit_store_folds
from hpa_data.folds.plan import plan_folds
from hpa_data.store.store import open_store
from tests.builders import convert, unseal


def test_failed_samples_and_their_copies_are_not_used(related: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / "s05_red.png").write_bytes(b"")
    convert(tmp_path / "source", related, labels=tmp_path / "t.csv", codec="lz4", overwrite=True)
    store = open_store(related)
    augment_store(plan_augmentation(store, min_count=7))
    with store.reader(["train", "augmented"]) as reader:
        plan = plan_folds(reader, 2)
        failed = reader.ids.index("s05")
        for fold in range(2):
            assert all(failed not in rows for rows in plan.split(fold))
    assert audit_store_folds(store, ["train", "augmented"], 2).n_left_out == 1


def test_copies_without_their_parents_are_refused(related: Path) -> None:
    store = open_store(related)
    augment_store(plan_augmentation(store, min_count=7))
    with (
        store.reader(["augmented"]) as reader,
        pytest.raises(InputError, match="copies without the part of their parents"),
    ):
        plan_folds(reader, 2)


def test_parts_without_labels_or_with_pending_samples_are_refused(related: Path, tmp_path: Path) -> None:
    convert(tmp_path / "source", related, part="test", codec="lz4")
    with (
        open_store(related).reader(["test"]) as reader,
        pytest.raises(InputError, match="a part was converted without a label table"),
    ):
        plan_folds(reader, 2)
    shutil.rmtree(unseal(related) / "train" / "status" / "c")
    with (
        open_store(related).reader(["train"]) as reader,
        pytest.raises(InputError, match="12 of them are still pending"),
    ):
        plan_folds(reader, 2)
