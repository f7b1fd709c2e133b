"""Networks for images of any shape: their input, their smallest images, and resizing that keeps the ratio of sides."""

import itertools

import cv2
import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model import nets
from hpa_model.nets.resize import AreaResize

# The large ones take seconds to build.
LARGE = {"resnet50v2", "inceptionv3", "convnext-tiny", "efficientnetv2-b0"}
QUICK_AND_SLOW = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in nets.NETS]
QUICK_AND_SLOW_WITHOUT_OPTIONS = [pytest.param(*each.values, {}, marks=each.marks) for each in QUICK_AND_SLOW]


def _predict(model: keras.Model) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]), np.uint8)
    return keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
@pytest.mark.parametrize(("shape", "n_classes"), [((128, 192, 1), 1), ((200, 130, 9), 1108)])
def test_every_network_takes_rectangles_of_any_number_of_channels_and_classes(
    name: str, shape: tuple[int, int, int], n_classes: int
) -> None:
    probs = _predict(nets.build(name, shape, n_classes, image_size=128))
    assert probs.shape == (2, n_classes)
    assert np.isfinite(probs).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *QUICK_AND_SLOW_WITHOUT_OPTIONS,
        *(("gapnet", {"stride": s, "padding": p}) for s, p in itertools.product((1, 2), ("valid", "same"))),
    ],
)
def test_the_smallest_image_of_a_network_leaves_something_to_its_last_layer(
    name: str, options: dict[str, int | str]
) -> None:
    size = nets.NETS[name].min_size(**options)
    assert np.isfinite(_predict(nets.build(name, (size, size + 9, 3), 5, options=options))).all()
    with pytest.raises(InputError, match=f"image_size must be at least {size} for {name}"):
        nets.build(name, (size - 1, size + 9, 3), 5, options=options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ("gapnet", "gapnet-pl", "deepyeast", "mcnn")),  # Keras asks for 32 in densenet121
        *(("gapnet", {"stride": s, "padding": p}) for s, p in itertools.product((1, 2), ("valid", "same"))),
    ],
)
def test_no_image_is_refused_that_a_network_could_take(name: str, options: dict[str, int | str]) -> None:
    net = nets.NETS[name]
    size = net.min_size(**options) - 1

    def predict() -> np.ndarray:
        return _predict(net.build((size, size, 3), 5, image_size=(size, size), **options))

    try:
        is_defined = bool(np.isfinite(predict()).all())
    except (ValueError, ZeroDivisionError):  # the network cannot even be built
        is_defined = False
    assert not is_defined


def test_a_network_that_cannot_take_small_images_names_those_that_can() -> None:
    with pytest.raises(
        InputError,
        match=r"at least 76 for gapnet. Received: image_size=64. Set options.stride=1; or set options.padding=same; or "
        "choose a model that takes it: gapnet-pl, deepyeast, densenet121, resnet50v2, convnext-tiny, efficientnetv2-b0"
        ".",
    ):
        nets.build("gapnet", (64, 64, 4))
    with pytest.raises(InputError, match=r"Received: image_size=33. Set options.padding=same; or choose a model"):
        nets.build("gapnet", (33, 70, 4))
    with pytest.raises(
        InputError, match=r"128 for mcnn. Received: image_size=64. Choose a larger image_size, up to 256"
    ):
        nets.build("mcnn", (256, 384, 4), image_size=64)


@pytest.mark.parametrize(
    ("image_size", "seen"), [(None, (256, 384)), (256, (256, 384)), (128, (128, 192)), ((96, 100), (96, 100))]
)
def test_one_number_is_the_shorter_side_and_keeps_the_ratio(
    image_size: int | tuple[int, int] | None, seen: tuple[int, int]
) -> None:
    model = nets.build("gapnet", (256, 384, 3), image_size=image_size)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    assert first.input.shape == (None, *seen, 3)


def test_deepyeast_resizes_the_shorter_side_to_192_and_enlarges_nothing() -> None:
    for shape, seen in [((256, 384, 3), (192, 288)), ((1024, 1024, 3), (192, 192)), ((64, 64, 3), (64, 64))]:
        first = next(layer for layer in nets.build("deepyeast", shape).layers if isinstance(layer, keras.layers.Conv2D))
        assert first.input.shape == (None, *seen, 3)


def test_a_size_beyond_the_images_is_refused() -> None:
    with pytest.raises(InputError, match="at most 256, the size of the shorter side of the images. Received: .*=300"):
        nets.build("gapnet", (256, 384, 3), image_size=300)
    with pytest.raises(InputError, match="at most 256 x 384, the size of the images. Received: .*=.384, 256."):
        nets.build("gapnet", (256, 384, 3), image_size=(384, 256))


def test_resizing_to_a_rectangle_is_that_of_opencv() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 256, 384, 3), np.uint8)
    for rows, columns in [(128, 192), (100, 96), (64, 250)]:
        expected = cv2.resize(images[0].astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
        assert np.asarray(AreaResize((rows, columns))(images))[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("size", [20, (20, 30)])
def test_a_resizing_layer_is_read_from_its_configuration(size: int | tuple[int, int]) -> None:
    config = AreaResize(size).get_config()
    assert AreaResize.from_config(config).size == size
    # Of a saved model, whose JSON has lists.
    inputs = keras.Input((40, 60, 2), dtype="uint8")
    model = keras.Model(inputs, AreaResize(size)(inputs))
    again = keras.models.model_from_json(model.to_json(), custom_objects={"AreaResize": AreaResize})
    assert again.layers[-1].size == size
