"""The networks that the paper compares with, each compared with a reference implementation in NumPy."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model import nets
from hpa_model.nets.head import freeze_backbone
from hpa_model.nets.summary import count_macs
from tests.builders import randomise
from tests.model.nets.test_shapes import QUICK_AND_SLOW


@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [("gapnet-pl", 630_076), ("deepyeast", 78_110_876), ("mcnn", 9_035_724), ("densenet121", 7_069_340)],
)
def test_each_network_has_its_published_number_of_parameters(name: str, n_parameters: int) -> None:
    model = nets.build(name, image_shape=(512, 512, 4), n_classes=28)
    assert model.count_params() == n_parameters
    assert (model.input.dtype, model.input.shape, model.output.shape) == ("uint8", (None, 512, 512, 4), (None, 28))


def test_multiply_adds_are_counted() -> None:
    assert count_macs(nets.build("gapnet")) / 1e9 == pytest.approx(2.91, abs=0.005)
    assert count_macs(nets.build("gapnet", options={"stride": 1})) / 1e9 == pytest.approx(11.4, abs=0.05)


def test_the_multiply_adds_of_a_dense_layer_are_counted_for_each_pixel() -> None:
    inputs = keras.Input((5, 6, 3))
    assert count_macs(keras.Model(inputs, keras.layers.Dense(7)(inputs))) == 5 * 6 * 3 * 7


class Weights:
    """The weights of a model, layer by layer in the order in which it was built."""

    def __init__(self, model: keras.Model) -> None:
        def take(kind: type) -> Iterator[list[np.ndarray]]:
            # In the order in which they were built, by the number in the names that Keras gives; ours come last.
            layers = [layer for layer in model.layers if isinstance(layer, kind)]
            if model.name != "densenet121":
                layers.sort(
                    key=lambda layer: int("0" + layer.name.rpartition("_")[2]) if layer.name[:4] == "conv" else 0
                )
            return iter([[np.asarray(w, np.float64) for w in layer.weights] for layer in layers])

        self._convs, self._denses = take(keras.layers.Conv2D), take(keras.layers.Dense)
        self._norms = take(keras.layers.BatchNormalization)

    def conv(self, x: np.ndarray, stride: int = 1, pad: int | None = None) -> np.ndarray:
        """Convolve as TensorFlow does with padding ``same``, or with `pad` zeros on each side."""
        kernel, *bias = next(self._convs)
        size = len(kernel)
        if pad is None:
            total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3]]
            pads = [(n // 2, n - n // 2) for n in total]
        else:
            pads = [(pad, pad)] * 2
        padded = np.pad(x, [(0, 0), *pads, (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        return np.einsum("byxcij,ijcf->byxf", windows, kernel, optimize=True) + (bias[0] if bias else 0)

    def dense(self, x: np.ndarray) -> np.ndarray:
        kernel, bias = next(self._denses)
        return x @ kernel + bias

    def norm(self, x: np.ndarray, epsilon: float = 1e-3) -> np.ndarray:
        gamma, beta, mean, variance = next(self._norms)
        return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def pool(x: np.ndarray, size: int = 2, reduce: Callable[..., np.ndarray] = np.max) -> np.ndarray:
    """Reduce each square of pixels to one; incomplete squares at the end are dropped."""
    y, x_ = (n // size for n in x.shape[1:3])
    squares = x[:, : y * size, : x_ * size].reshape(len(x), y, size, x_, size, -1)
    return reduce(squares, axis=(2, 4))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def selu(x: np.ndarray) -> np.ndarray:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def run_gapnet_pl(weights: Weights, images: np.ndarray) -> np.ndarray:
    mean, std = images.mean(axis=(1, 2), keepdims=True), images.std(axis=(1, 2), keepdims=True)
    x = (images - mean) / np.sqrt(std**2 + 1e-3)
    tap_1 = x = pool(selu(weights.conv(x, stride=2)))
    x = selu(weights.conv(x, stride=2))
    for _ in range(3):
        x = selu(weights.conv(x))
    tap_2 = x = pool(x)
    for _ in range(3):
        x = selu(weights.conv(x))
    x = np.concatenate([tap.mean(axis=(1, 2)) for tap in (tap_1, tap_2, x)], axis=1)
    for _ in range(2):
        x = selu(weights.dense(x))
    return weights.dense(x)


def run_deepyeast(weights: Weights, images: np.ndarray) -> np.ndarray:
    x = images / 255
    for n_convs in (2, 2, 4):
        for _ in range(n_convs):
            x = relu(weights.norm(weights.conv(x)))
        x = pool(x)
    x = x.reshape(len(x), -1)
    for _ in range(2):
        x = relu(weights.norm(weights.dense(x)))
    return weights.dense(x)


def run_mcnn(weights: Weights, images: np.ndarray) -> np.ndarray:
    features = []
    for scale in range(7):
        x = pool(images / 255, 2**scale)
        for _ in range(3):
            x = relu(weights.conv(x))
        features.append(pool(x, 2 ** (6 - scale)))
    x = relu(weights.conv(np.concatenate(features, axis=-1)))
    x = pool(x).reshape(len(x), -1)
    return weights.dense(relu(weights.dense(x)))


def run_densenet121(weights: Weights, images: np.ndarray) -> np.ndarray:
    epsilon = 1.001e-5  # as in Keras
    x = relu(weights.norm(weights.conv(images / 255, stride=2, pad=3), epsilon))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    x = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))
    for number, n_layers in enumerate((6, 12, 24, 16)):
        for _ in range(n_layers):
            narrow = weights.conv(relu(weights.norm(x, epsilon)))
            x = np.concatenate([x, weights.conv(relu(weights.norm(narrow, epsilon)))], axis=-1)
        if number < 3:
            x = pool(weights.conv(relu(weights.norm(x, epsilon))), 2, np.mean)
    x = relu(weights.norm(x, epsilon)).mean(axis=(1, 2))
    return weights.dense(x)


@pytest.mark.parametrize(
    ("name", "run", "size"),
    [
        ("gapnet-pl", run_gapnet_pl, 34),
        ("deepyeast", run_deepyeast, 18),
        ("mcnn", run_mcnn, 130),
        ("densenet121", run_densenet121, 64),
    ],
)
def test_each_network_computes_what_its_specification_says(
    name: str, run: Callable[[Weights, np.ndarray], np.ndarray], size: int
) -> None:
    model = nets.build(name, image_shape=(size, size, 4), image_size=size, n_classes=28)
    randomise(model)
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 4), np.uint8)
    expected = 1 / (1 + np.exp(-run(Weights(model), images.astype(np.float64))))
    assert np.ptp(expected) > 0.05
    assert np.asarray(model(images, training=False)) == pytest.approx(expected, abs=2e-4)


def test_deepyeast_sees_192_pixels_by_default() -> None:
    first = next(layer for layer in nets.build("deepyeast").layers if isinstance(layer, keras.layers.Conv2D))
    assert first.input.shape == (None, 192, 192, 4)
    assert nets.build("deepyeast", image_size=64).count_params() < 20_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": 0.1}, "one of: dropout, dropout_place, stride, padding. Received: 'drop'"),
        ({"dropout": 1.0}, "dropout of gapnet must be at least 0 and below 1. Received: 1.0"),
        ({"dropout": float("nan")}, "dropout of gapnet must be"),
        ({"stride": 3}, "stride of gapnet must be 1 or 2"),
        ({"stride": 2.0}, "stride of gapnet must be"),
        ({"padding": "full"}, "padding of gapnet must be valid or same"),
        ({"padding": 1}, "padding of gapnet must be"),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        nets.build("gapnet", options=options)


def test_options_reach_the_network() -> None:
    model = nets.build("gapnet", (80, 80, 4), options={"dropout": 0, "stride": 1, "padding": "same"})
    assert {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)} == {0.0}
    assert {layer.padding for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {"same"}
    assert {layer.strides for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {(1, 1)}
    with pytest.raises(InputError, match="one of: none"):
        nets.build("resnet50v2", options={"dropout": 0.1})


def test_the_momentum_of_batch_normalization_reaches_every_layer() -> None:
    for name in ("gapnet", "densenet121"):
        model = nets.build(name, (80, 80, 4), bn_momentum=0.7)
        assert {x.momentum for x in model.layers if isinstance(x, keras.layers.BatchNormalization)} == {0.7}


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_freezing_leaves_only_the_classification_head_trainable(name: str) -> None:
    model = nets.build(name, (128, 128, 4))
    freeze_backbone(model)
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    assert trained
    assert all(layer.startswith("head_") for layer in trained)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions
    assert not any(layer.trainable for layer in convolutions)


def test_precision_is_that_of_the_layers_and_of_nothing_else() -> None:
    model = nets.build("gapnet", (80, 80, 4), precision="mixed_bfloat16")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {(layer.compute_dtype, layer.variable_dtype) for layer in convolutions} == {("bfloat16", "float32")}
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(InputError, match="at least 76"):
        nets.build("gapnet", (75, 75, 4), precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"
