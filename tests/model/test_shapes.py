"""Training and prediction on images that are not square, on every backend's batches."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.reader.batches import draw_orientations
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store
from hpa_model import nets
from hpa_model.backend import _generate
from hpa_model.config import TrainConfig, make_config
from hpa_model.pipeline import dataset
from hpa_model.predict import predict_probs
from hpa_model.training.train import train
from tests.builders import build_store
from tests.model.drawing import draw_symmetries

CELLS = Dataset(
    name="cells",
    channels=(Channel(name="DNA"), Channel(name="GFP", role="signal")),
    classes=("round", "flat"),
    height=48,
    width=64,
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 12 samples of 48 x 64 pixels; not to be changed."""
    labels = np.eye(2, dtype=np.uint8)[np.arange(12) % 2]
    return build_store(tmp_path_factory.mktemp("cells") / "a.zarr", CELLS, labels)


def test_the_orientations_of_rectangles_are_the_four_without_transposition(cells: Store) -> None:
    with cells.reader() as reader:
        sampler = BatchSampler(np.arange(12), 5, seed=2)
        draw = draw_symmetries(reader.image_shape, seed=2)
        codes = [images[1].numpy() for images, _ in dataset(reader, np.arange(12), 5, seed=2, epochs=2, draw=draw)]
        generated = [images[1] for images, _ in _generate(reader, sampler, epochs=2, resume_at=(0, 0), draw=draw)]
    expected = [draw_orientations(sampler.indices(step), seed=2, epoch=step // 3, n_symmetries=4) for step in range(6)]
    for each in (codes, generated):
        assert all((one == other).all() for one, other in zip(each, expected, strict=True))
    assert set(np.concatenate(expected).tolist()) == {0, 1, 2, 3}


def test_probabilities_of_rectangles_are_averaged_over_four_symmetries(cells: Store) -> None:
    model = nets.build("gapnet-pl", (48, 64, 2), 2)
    with cells.reader() as reader:
        images = reader.read([0, 1, 2])
        probs = predict_probs([model], reader, np.arange(3), 2, tta=True)
    views = [images[:, ::y, ::x] for y in (1, -1) for x in (1, -1)]
    expected = np.mean([np.asarray(model(np.ascontiguousarray(view), training=False)) for view in views], axis=0)
    assert probs == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("image_size", [pytest.param(24, marks=pytest.mark.slow), (24, 30)])
def test_a_run_on_rectangles_trains_with_symmetries_and_resumes_its_settings(
    cells: Store, tmp_path: Path, image_size: int | tuple[int, int]
) -> None:
    config = TrainConfig(
        model="gapnet-pl", folds=2, epochs=1, batch_size=4, image_size=image_size, symmetries=True, seed=3
    )
    scores = train(cells, config, tmp_path / "run")
    assert scores is not None
    again = make_config(dataclasses.asdict(config))
    assert again == config
    train(cells, again, tmp_path / "run")  # the same settings: nothing is refused
