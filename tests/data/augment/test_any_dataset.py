"""Copies of images of any shape and any number of channels."""

from pathlib import Path

import numpy as np
import pytest

from hpa_data.augment.execute import augment_store
from hpa_data.augment.operations import OPERATIONS
from hpa_data.augment.plan import plan_augmentation
from hpa_data.augment.policies import draw_transform
from hpa_data.augment.transform import parse_transform, replay
from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from tests.builders import build_store


def _list_channels(n_channels: int) -> tuple[Channel, ...]:
    return tuple(Channel(name=f"c{n}", role="signal" if n == 1 else "reference") for n in range(n_channels))


def _draw(height: int, width: int, n_channels: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(30, 200, (4, 4, n_channels), np.uint8)
    return np.kron(coarse, np.ones((-(-height // 4), -(-width // 4), 1), np.uint8))[:height, :width].copy()


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5, 6, 9])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 384), (33, 70)])
def test_every_operation_takes_images_of_any_shape_and_treats_each_channel_as_if_it_were_alone(
    n_channels: int, height: int, width: int
) -> None:
    channels, image = _list_channels(n_channels), _draw(height, width, n_channels)
    rng = np.random.default_rng(0)
    for operation in OPERATIONS.values():
        if not operation.is_possible(channels):
            assert (operation.name, n_channels) in {("drop", 1)}
            continue
        parameters = operation.draw(rng, channels) | ({"quarters": 2} if operation.name == "turn" else {})
        changed = operation.transform(image, parameters, channels)
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        if operation.name not in {"noise", "brightness", "drop"}:
            for c in range(n_channels):
                alone = operation.transform(image[..., c : c + 1].copy(), parameters, channels[:1])
                assert np.abs(alone[..., 0].astype(int) - changed[..., c]).max() <= 1


def test_brightness_has_a_factor_for_each_channel_and_drop_never_takes_the_signal() -> None:
    channels = _list_channels(6)
    rng = np.random.default_rng(0)
    image = _draw(33, 70, 6)
    for _ in range(50):
        factors = OPERATIONS["brightness"].draw(rng, channels)["factors"]
        assert len(factors) == 6
        changed = OPERATIONS["brightness"].transform(image, {"factors": factors}, channels)
        assert np.abs(changed - (image * np.array(factors)).clip(0, 255)).max() <= 1
        assert OPERATIONS["drop"].draw(rng, channels)["channel"] != "c1"


def test_images_that_are_not_square_are_rotated_by_180_degrees_or_not_at_all() -> None:
    drawn = [
        parse_transform(draw_transform("strong", seed=0, parent=f"s{n}", number=0, is_square=False))[0].parameters
        for n in range(200)
    ]
    quarters = [parameters["quarters"] for parameters in drawn]
    assert set(quarters) == {0, 2}
    assert 60 < quarters.count(2) < 140
    image = _draw(33, 70, 4)
    turn = '[{"operation":"turn","done":true,"quarters":%d}]'
    assert (replay(image, turn % 2) == image[::-1, ::-1]).all()
    with pytest.raises(InputError, match="an image of 33 x 70 pixels cannot be rotated by 90 degrees"):
        replay(image, turn % 1)


@pytest.mark.parametrize(("height", "width", "n_channels"), [(33, 70, 6), (64, 64, 1)])
def test_a_store_of_any_data_set_gets_copies(tmp_path: Path, height: int, width: int, n_channels: int) -> None:
    dataset = Dataset(
        name="mine",
        channels=_list_channels(n_channels),
        classes=("round", "flat", "long"),
        height=height,
        width=width,
    )
    store = build_store(tmp_path / "a.zarr", dataset, np.eye(3)[[0, 0, 0, 0, 1, 1]])
    plan = plan_augmentation(store, min_count=20, policy="strong", seed=1)
    assert plan.summary.counts_after == (20, 20, 0)
    assert plan.summary.below_minimum == ("long",)
    assert augment_store(plan).n_ok == 34
    part = open_store(tmp_path / "a.zarr").part("augmented")
    assert part.manifest.dataset == dataset
    assert part.layout.image_shape == (height, width, n_channels)
