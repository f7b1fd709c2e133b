"""The plan of an augmented part: which samples are copied, and which requests are refused."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from tests.builders import convert, write_table


def test_failed_and_black_samples_are_not_copied(kaggle: Path, tmp_path: Path) -> None:
    source = tmp_path / "train"
    shutil.copytree(kaggle / "train", source)
    (source / "sample-00_green.png").write_bytes(b"no image")
    black = np.zeros((512, 512), np.uint8)
    for channel in ("red", "green", "blue", "yellow"):
        path = source / f"sample-03_{channel}.png"
        assert cv2.imwrite(str(path), black)
    rows = {f"sample-{index:02}": str(index % 3) for index in range(12)}
    convert(source, tmp_path / "hpa.zarr", labels=write_table(tmp_path / "t.csv", rows), codec="lz4")
    plan = plan_augmentation(open_store(tmp_path / "hpa.zarr"), min_count=8)
    assert plan.summary.counts_before[:3] == (3, 4, 4)
    assert plan.summary.counts_after[:3] == (8, 8, 8)
    assert (plan.summary.n_failed, plan.summary.n_black) == (1, 1)
    assert plan.part.copies is not None
    assert not {"sample-00", "sample-03"} & set(plan.part.copies.parents)
    assert plan.summary.below_minimum[:2] == ("Nucleoli fibrillar center", "Nuclear speckles")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("test",), "has no labels"),
        (("augmented",), "it holds copies"),
        (("train", "again"), "is in two of them"),
        (("nothing",), "part must be in the store"),
        ((), "parts must not be empty"),
    ],
)
def test_parts_that_cannot_be_copied_from_are_refused(
    kaggle: Path, originals: Path, parts: tuple[str, ...], message: str
) -> None:
    augment_store(plan_augmentation(open_store(originals), min_count=5))
    convert(kaggle / "test", originals, part="test")
    convert(kaggle / "train", originals, part="again", labels=kaggle / "train.csv")
    with pytest.raises(InputError, match=message):
        plan_augmentation(open_store(originals), parts=parts)


@pytest.mark.parametrize("part", ["train", "test"])
def test_originals_are_never_replaced_by_copies(kaggle: Path, originals: Path, part: str) -> None:
    convert(kaggle / "test", originals, part="test")
    with pytest.raises(InputError, match="part must be new or hold copies"):
        plan_augmentation(open_store(originals), min_count=9, part=part)
