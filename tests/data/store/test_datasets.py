from pathlib import Path

import numpy as np
import pytest
import zarr

from hpa_data.dataset import HPA_2018, Channel, Dataset, Sample
from hpa_data.errors import InputError
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.store import open_store

CELLS = Dataset(
    name="cells",
    channels=(Channel(name="DAPI", color="#0000ff"), Channel(name="GFP", role="signal"), Channel(name="actin")),
    classes=("round", "flat"),
    height=32,
    width=48,
)


def _build(path: Path, dataset: Dataset, name: str = "train") -> list[np.ndarray]:
    """Write three samples of a data set, drawn at random."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, dataset.image_shape, dtype=np.uint8) for _ in range(3)]
    plan = PartPlan(
        path=path,
        name=name,
        ids=("a", "b", "c"),
        labels=np.eye(3, len(dataset.classes), dtype=np.uint8),
        settings={},
        dataset=dataset,
    )
    build_part(plan, images, lambda image: Sample(image=image), expected_bytes=lambda n: n)
    return images


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 9])
def test_a_store_keeps_the_images_and_the_description_of_any_data_set(tmp_path: Path, n_channels: int) -> None:
    channels = tuple(Channel(name=f"c{number}") for number in range(n_channels))
    dataset = Dataset(name="mine", channels=channels, classes=("round", "flat", "long"), height=33, width=70)
    images = _build(tmp_path / "store", dataset)
    store = open_store(tmp_path / "store")
    manifest = store.part("train").manifest
    assert manifest.dataset == dataset
    assert manifest.statistics is not None
    assert np.allclose(manifest.statistics.mean, np.mean(images, axis=(0, 1, 2)))
    with store.reader(["train"]) as reader:
        assert reader.dataset == dataset
        assert (reader.read([2, 0]) == np.stack([images[2], images[0]])).all()
    assert (zarr.open_group(tmp_path / "store", mode="r")["train"]["images"][:] == np.stack(images)).all()


def test_parts_of_two_data_sets_are_not_read_together(tmp_path: Path) -> None:
    _build(tmp_path, CELLS)
    _build(tmp_path, Dataset(name="others", channels=CELLS.channels, classes=("x", "y"), height=32, width=48), "other")
    with pytest.raises(
        InputError, match="parts must be of one data set. Received: train, of cells, and other, of others"
    ):
        open_store(tmp_path).reader(["train", "other"])


def test_a_part_is_not_continued_with_another_data_set(tmp_path: Path) -> None:
    _build(tmp_path, CELLS)
    with pytest.raises(InputError, match="created for data set cells, and this command has hpa2018"):
        _build(tmp_path, HPA_2018.resized(32, 48))


def test_the_default_data_set_changes_nothing_in_a_store() -> None:
    plan = PartPlan(path=Path("s"), name="train", ids=("a",), labels=None, settings={})
    assert plan.manifest.settings == {"codec": "lz4hc", "shard_samples": 64, "image_size": 512}
