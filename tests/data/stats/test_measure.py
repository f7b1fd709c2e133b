"""A store is measured over the parts and samples that can be."""

import shutil
from pathlib import Path

import pytest

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.stats.measure import measure_store
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from tests.builders import convert, write_table


@pytest.fixture(scope="module")
def mixed(kaggle: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold labeled originals, one of them failed, their copies, and originals without labels; not to be changed."""
    tmp_path = tmp_path_factory.mktemp("mixed")
    source = tmp_path / "train"
    shutil.copytree(kaggle / "train", source)
    (source / "sample-00_green.png").write_bytes(b"no image")
    table = write_table(tmp_path / "t.csv", {f"sample-{index:02}": str(index % 3) for index in range(12)})
    convert(source, tmp_path / "hpa.zarr", labels=table)
    convert(kaggle / "test", tmp_path / "hpa.zarr", part="test")
    augment_store(plan_augmentation(open_store(tmp_path / "hpa.zarr"), min_count=5))
    return open_store(tmp_path / "hpa.zarr")


def test_copies_are_counted_beside_originals_and_failed_samples_nowhere(mixed: Store) -> None:
    seen: list[int] = []
    statistics = measure_store(mixed, progress=Progress(start=seen.append, advance=seen.append))
    assert statistics.labels is not None
    assert statistics.labels.counts[:3] == (3, 4, 4)
    assert statistics.labels.copies[:3] == (2, 1, 1)
    measured = [(part.part, part.n_samples) for part in statistics.intensities]
    assert measured == [("augmented", 4), ("test", 3), ("train", 11)]
    assert statistics.n_left_out == 1
    assert seen[0] == sum(seen[1:]) == 18


def test_labels_are_measured_without_images_and_images_without_labels(mixed: Store) -> None:
    assert measure_store(mixed, ["train"], pixels=False).intensities == ()
    assert measure_store(mixed, ["test"]).labels is None


@pytest.mark.parametrize(
    ("parts", "pixels", "message"),
    [
        (["test"], False, "no original in test has any"),
        (["train", "train"], True, "parts must be given, and each once. Received: train twice"),
        ([], True, "parts must be given, and each once. Received: none"),
        (["ghost"], True, "part must be in the store"),
    ],
)
def test_parts_that_cannot_be_measured_are_refused(mixed: Store, parts: list[str], pixels: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure_store(mixed, parts, pixels=pixels)
