"""Classical features: any number of channels, any size, always finite, and sensitive to what they are named after."""

import numpy as np
import numpy.typing as npt
import pytest

from hpa_data.dataset import HPA_2018, Channel
from hpa_model.baseline.features import find_signals, measure_image, name_features

CHANNELS = HPA_2018.channels


def measure(image: npt.NDArray[np.uint8], channels: tuple[Channel, ...] = CHANNELS, size: int = 64) -> dict[str, float]:
    return dict(zip(name_features(channels), measure_image(image, channels, size).tolist(), strict=True))


def draw_nucleus(size: int = 64) -> npt.NDArray[np.uint8]:
    """Draw a nucleus in the middle of the blue channel."""
    image = np.zeros((size, size, 4), np.uint8)
    image[24:40, 24:40, 2] = 200
    return image


@pytest.mark.parametrize("n_channels", [1, 2, 5, 64])
@pytest.mark.parametrize("shape", [(64, 64), (8, 8), (1, 1), (40, 90)])
def test_images_of_any_channels_and_sizes_have_finite_features(n_channels: int, shape: tuple[int, int]) -> None:
    channels = tuple(Channel(name=f"c{n}") for n in range(n_channels))
    image = np.random.default_rng(0).integers(0, 256, (*shape, n_channels), np.uint8)
    assert np.isfinite(list(measure(image, channels).values())).all()


@pytest.mark.parametrize("level", [0, 1, 255])
def test_constant_images_have_finite_features(level: int) -> None:
    features = measure(np.full((64, 64, 4), level, np.uint8))
    assert np.isfinite(list(features.values())).all()
    assert features["green: mean"] == pytest.approx(level / 255)


def test_a_large_image_is_reduced_first() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 4), np.uint8)
    enlarged = image.repeat(4, axis=0).repeat(4, axis=1)
    assert measure_image(enlarged, CHANNELS, 32) == pytest.approx(measure_image(image, CHANNELS, 32), abs=1e-4)


def test_the_signal_is_compared_with_all_other_channels_and_without_roles_all_are() -> None:
    assert [CHANNELS[index].name for index in find_signals(CHANNELS)] == ["green"]
    assert find_signals([Channel(name=name) for name in "abc"]) == (0, 1, 2)
    names = name_features(CHANNELS)
    assert len(set(names)) == len(names)
    assert {"green around blue: ring 0 share", "green and red: correlation"} < set(names)


def test_the_protein_inside_the_nuclei_and_around_them_is_told_apart() -> None:
    inside, around = draw_nucleus(), draw_nucleus()
    inside[28:36, 28:36, 1] = 150
    around[14:50, 14:50, 1] = 150
    around[24:40, 24:40, 1] = 0

    def share_inside(image: npt.NDArray[np.uint8]) -> float:
        return sum(
            value
            for name, value in measure(image).items()
            if name in {f"green around blue: ring {n} share" for n in range(3)}
        )

    assert share_inside(inside) == pytest.approx(1)
    assert share_inside(around) < 0.05


def test_channels_that_agree_correlate() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[..., 0] = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    image[..., 1] = image[..., 0] // 2
    image[..., 2] = 255 - image[..., 0]
    features = measure(image)
    assert features["green and red: correlation"] == pytest.approx(1, abs=0.01)
    assert features["green and blue: correlation"] == pytest.approx(-1, abs=0.01)
    assert features["green and yellow: correlation"] == 0


def test_lines_are_told_from_spots() -> None:
    lines, spots = np.zeros((2, 64, 64, 4), np.uint8)
    lines[::8, :, 1] = 200
    spots[4::8, 4::8, 1] = 200
    lines_features, spots_features = measure(lines), measure(spots)
    assert lines_features["green: coherence 1"] > spots_features["green: coherence 1"] + 0.3
    assert lines_features["green: spots among ridges 1"] < spots_features["green: spots among ridges 1"]
