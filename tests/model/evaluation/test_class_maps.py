"""Class maps: the formulas, computed by hand for small networks, and where the cells lie."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from hpa_data.errors import InputError
from hpa_model import nets
from hpa_model.evaluation.class_maps import find_pooled, make_mapper, to_shares, weigh_channels
from hpa_model.evaluation.figure_class_maps import ClassMap, find_top, overlay
from hpa_model.nets.catalog import dtype_policy
from hpa_model.nets.grid import find_grid
from hpa_model.nets.resize import AreaResize

SHAPE = (12, 20, 2)
N_CLASSES = 4
Ending = Callable[[Any], Any]


def draw(n: int = 3, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def build(*, hidden: int = 0, window: int = 1, ending: Ending | None = None) -> keras.Model:
    """Build a network of one convolution with ReLU and pooling, its average, and a head."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE, dtype="uint8")
    x = layers.Conv2D(5, 1, activation="relu", name="seen", bias_initializer="normal")(
        layers.Rescaling(1 / 255)(inputs)
    )
    if window > 1:
        x = layers.AveragePooling2D(window, name="pooled")(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    if hidden:
        x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    if ending is not None:
        return keras.Model(inputs, ending(layers.Dense(N_CLASSES, name="head_outputs", bias_initializer="normal")(x)))
    output = layers.Dense(N_CLASSES, activation="sigmoid", name="head_outputs", bias_initializer="normal")
    return keras.Model(inputs, output(x))


def see(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Compute what the convolution of `build` gives, float64 (B, Y, X, F)."""
    kernel, bias = (value.astype(np.float64) for value in model.get_layer("seen").get_weights())
    return np.maximum(images / 255 @ kernel[0, 0] + bias, 0)


def by_the_paper(activations: np.ndarray, slopes: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Compute Grad-CAM++ as it is printed: (B, Y, X) of activations and gradients, (B, Y, X, F), and logits, (B,)."""
    score = np.exp(logits)[:, None, None, None]  # Y^c
    first, second, third = score * slopes, score * slopes**2, score * slopes**3
    total = activations.sum(axis=(1, 2), keepdims=True)
    bottom = 2 * second + total * third
    alpha = np.divide(second, bottom, out=np.zeros_like(second), where=bottom != 0)
    weights = (alpha * np.maximum(first, 0)).sum(axis=(1, 2))
    return np.maximum(np.einsum("byxf,bf->byx", activations, weights), 0)


def test_score_maps_are_class_activation_maps_and_their_mean_is_the_logit_less_the_bias() -> None:
    model, images = build(), draw()
    kernel, bias = model.get_layer("head_outputs").get_weights()
    maps, probs = make_mapper(model, method="score")(images, [2, 0])
    expected = np.einsum("byxf,fm->bmyx", see(model, images), kernel[:, [2, 0]])
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    logits = np.log(probs / (1 - probs))[:, [2, 0]]
    np.testing.assert_allclose(maps.mean(axis=(2, 3)) + bias[[2, 0]], logits, atol=1e-4)
    np.testing.assert_allclose(probs, model.predict_on_batch(images), atol=1e-6)


@pytest.mark.parametrize("hidden", [0, 7])
def test_grad_cam_plus_plus_is_that_of_the_paper(hidden: int) -> None:
    model, images = build(hidden=hidden), draw()
    activations = see(model, images)
    found = activations.mean(axis=(1, 2))
    kernel, bias = (value.astype(np.float64) for value in model.get_layer("head_outputs").get_weights())
    by_feature = np.broadcast_to(kernel, (len(images), *kernel.shape))  # (B, F, K): of logits by averages
    if hidden:
        inner, offset = (value.astype(np.float64) for value in model.get_layer("hidden").get_weights())
        found = found @ inner + offset
        by_feature = np.einsum("fh,bh,hk->bfk", inner, found > 0, kernel)
        found = np.maximum(found, 0)
    logits = found @ kernel + bias
    maps, _ = make_mapper(model, layer="seen")(images, range(N_CLASSES))
    assert maps.dtype == np.float32
    for k in range(N_CLASSES):
        slopes = np.broadcast_to(by_feature[:, None, None, :, k], activations.shape) / np.prod(SHAPE[:2])
        expected = by_the_paper(activations, slopes, logits[:, k])
        means = expected.mean(axis=(1, 2), keepdims=True)
        expected = np.divide(expected, means, out=np.zeros_like(expected), where=means > 0)
        np.testing.assert_allclose(maps[:, k], expected, rtol=1e-3, atol=1e-4)


def test_values_below_zero_do_not_make_weights_without_bound() -> None:
    activations = np.full((1, 2, 2, 1), -1, np.float32)
    for slope in (0.4, 0.5, 0.6):  # with the plain sum, -4, 0.5 would be divided by 0
        weights = weigh_channels(activations, np.full_like(activations, slope))
        np.testing.assert_allclose(weights, 4 * slope / 2)


@pytest.mark.parametrize(
    "ending", [layers.Activation("sigmoid"), ops.sigmoid, lambda x: layers.Activation("linear")(ops.sigmoid(x))]
)
def test_the_gradient_is_of_the_logit_however_a_network_ends(ending: Ending) -> None:
    images = draw()
    expected, _ = make_mapper(build(hidden=7), layer="seen")(images, [0, 1, 2])
    maps, _ = make_mapper(build(hidden=7, ending=ending), layer="seen")(images, [0, 1, 2])
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-3)


def test_a_map_moves_with_what_it_shows_by_a_cell() -> None:
    model, images = build(hidden=7, window=4), draw()
    mapper = make_mapper(model, layer="pooled")
    assert mapper.grid.size == (3, 5)
    maps, _ = mapper(images, [0, 1, 2, 3])
    moved, _ = mapper(np.roll(images, (4, -4), axis=(1, 2)), [0, 1, 2, 3])
    assert maps.any(axis=(2, 3)).sum() > 4
    np.testing.assert_allclose(moved, np.roll(maps, (1, -1), axis=(2, 3)), atol=1e-4)


@pytest.mark.parametrize("method", ["grad-cam++", "score"])
def test_images_do_not_depend_on_those_beside_them_and_no_class_gives_no_map(method: Any) -> None:
    mapper, images = make_mapper(build(), method=method), draw()
    classes = np.array([[0, 3, -1], [-1, 1, 2], [2, 2, 2]])
    maps, probs = mapper(images, classes)
    assert maps.shape == (3, 3, 12, 20)
    assert not maps[classes < 0].any()
    for n in range(3):
        alone, its_probs = mapper(images[n : n + 1], classes[n])
        np.testing.assert_allclose(alone[0], maps[n], atol=1e-5)
        np.testing.assert_allclose(its_probs[0], probs[n], atol=1e-6)


def test_few_gradients_at_a_time_give_the_same_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    mapper, images = make_mapper(build(), layer="seen"), draw()
    maps, _ = mapper(images, [3, 2, 1, 0])
    monkeypatch.setattr("hpa_model.evaluation.class_maps.MAX_BYTES", 1)
    np.testing.assert_array_equal(mapper(images, [3, 2, 1, 0])[0], maps)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_gives_nearly_the_same_maps(precision: str) -> None:
    images = draw()
    expected, _ = make_mapper(build(hidden=7), layer="seen")(images, range(N_CLASSES))
    with dtype_policy(precision):
        model = build(hidden=7)
    maps, _ = make_mapper(model, layer="seen")(images, range(N_CLASSES))
    np.testing.assert_allclose(maps, expected, rtol=0.1, atol=0.05)
    assert maps.any()


def test_shares_average_to_one_or_are_zero_everywhere() -> None:
    maps = np.stack([np.full((3, 4), 1e-12, np.float32), np.zeros((3, 4), np.float32)])
    shares = to_shares(maps)
    np.testing.assert_allclose(shares[0], 1, rtol=1e-6)
    assert not shares[1].any()


def test_cells_lie_in_the_middle_of_what_they_see() -> None:
    inputs = keras.Input((24, 30, 1))
    x = AreaResize((12, 15))(inputs)
    x = layers.Conv2D(1, 3, kernel_initializer="ones", name="valid")(layers.ZeroPadding2D(((2, 1), (1, 0)))(x))
    x = layers.Conv2D(1, 3, strides=2, padding="same", kernel_initializer="ones", name="same")(x)
    x = layers.AveragePooling2D(2, strides=1, name="pooled")(layers.Activation("relu")(x))
    model = keras.Model(inputs, x)
    pixels = np.eye(24 * 30, dtype=np.float32).reshape(-1, 24, 30, 1)  # one bright pixel each
    for name in ("valid", "same", "pooled"):
        layer = model.get_layer(name)
        seen = (
            keras.Model(inputs, layer.output).predict_on_batch(pixels)[..., 0].reshape(24, 30, *layer.output.shape[1:3])
        )
        grid = find_grid(model, layer)
        for axis, cells in ((0, grid.rows), (1, grid.columns)):
            weights = seen.sum(axis=(1 - axis, 3 - axis))  # (pixels, cells) along this axis
            middles = (weights * (np.arange(len(weights))[:, None] + 0.5)).sum(axis=0) / weights.sum(axis=0)
            inside = slice(2, -2)  # padding moves the middle of those at the border
            expected = cells.first + cells.step * np.arange(cells.n)
            np.testing.assert_allclose(middles[inside], expected[inside], atol=1e-3)


def test_a_map_is_spread_over_the_image_where_its_cells_are() -> None:
    model = build(window=4)
    grid = find_grid(model, model.get_layer("pooled"))
    cells = np.random.default_rng(0).random(grid.size).astype(np.float32)
    shown = grid.spread(cells, 12, 20)
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown[1:3, 1:3].mean(), cells[0, 0], atol=0.2)
    np.testing.assert_allclose(grid.spread(cells, 24, 40)[[3, 4]][:, [3, 4]].mean(), cells[0, 0], atol=0.1)
    np.testing.assert_allclose(grid.spread(np.ones_like(cells), 7, 9), 1, atol=1e-6)


def test_the_default_layer_has_enough_cells_where_one_leads_to_the_last_alone() -> None:
    model = nets.build("gapnet-pl", (128, 128, 2), 3)
    assert make_mapper(model).layer == "conv_5"  # 16 x 16
    assert make_mapper(model, layer="conv_8").grid.size == (8, 8)
    assert find_pooled(model) is None
    model = nets.build("mcnn", (128, 128, 2), 3)  # its last convolution joins scales
    mapper = make_mapper(model)
    assert mapper.grid.size == (2, 2)
    assert isinstance(model.get_layer(mapper.layer), layers.Conv2D)


def test_what_a_network_does_not_have_is_refused_in_a_line() -> None:
    model = build(hidden=7)
    with pytest.raises(InputError, match=r"layer must be one of functional.* with rows and columns; .* seen.*'seem'"):
        make_mapper(model, layer="seem")
    with pytest.raises(InputError, match="method must be grad-cam\\+\\+ for .* Received: method='score'"):
        make_mapper(model, method="score")
    with pytest.raises(InputError, match="layer must be left out for score maps"):
        make_mapper(build(), layer="seen", method="score")
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match="none of its layers has rows and columns"):
        make_mapper(keras.Model(inputs, layers.Dense(2)(inputs)))


def test_an_overlay_is_gray_where_a_map_is_zero() -> None:
    base = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    values = np.zeros((4, 6), np.float32)
    values[0] = 2
    colored = overlay(base, values, 2)
    assert (colored[1:] == colored[1:, :, :1]).all()
    assert (colored[0] != colored[0, :, :1]).any(axis=-1).all()
    np.testing.assert_array_equal(overlay(base, -values, 2), overlay(base, np.zeros_like(values), 2))
    assert (overlay(base, -values, 2, signed=True)[0] != overlay(base, values, 2, signed=True)[0]).any()


def test_the_scale_fits_the_classes_of_a_sample_and_ends_at_a_round_number() -> None:
    def make(value: float, *, is_true: bool | None = None) -> ClassMap:
        cells = np.array([[0, value]], np.float32)
        return ClassMap(name="a", cells=cells, prob=0.1, threshold=0.5, is_predicted=False, is_true=is_true)

    assert [find_top([make(value)]) for value in (0.0, 0.3, 1.9, 27.5)] == [1.5, 1.5, 2, 10]
    assert find_top([make(2.5, is_true=True), make(9, is_true=False)]) == 3
    assert [find_top([make(value)], signed=True) for value in (0.0, -0.031, 41)] == [1.5, 0.04, 50]


@pytest.mark.parametrize(
    ("prob", "is_predicted", "words"),
    [
        (0.5, False, "missed, p 0.50 ≤ 0.50"),  # as `predict_classes` has it
        (0.51, True, "found, p 0.51 > 0.50"),
        (0.5, True, "found, p 0.50, the highest"),
        (0.2, False, "missed, p 0.20 ≤ 0.50"),
    ],
)
def test_the_words_of_a_map_are_those_of_the_prediction(prob: float, is_predicted: bool, words: str) -> None:
    cells = np.zeros((2, 2), np.float32)
    shown = ClassMap(name="a", cells=cells, prob=prob, threshold=0.5, is_predicted=is_predicted, is_true=True)
    assert shown.words == words


@pytest.mark.parametrize("method", ["grad-cam++", "score"])
def test_a_sequential_network_has_the_maps_of_the_same_functional_one(method: Any) -> None:
    keras.utils.set_random_seed(1)
    parts = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(5, 3, activation="relu", name="seen"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(N_CLASSES, activation="sigmoid"),
    ]
    inputs = keras.Input(SHAPE, dtype="uint8")
    sequential = keras.Sequential([inputs, *parts], name="mine")
    layer = "seen" if method == "grad-cam++" else None
    mapper = make_mapper(sequential, layer=layer, method=method)
    maps, probs = mapper(draw(), [0, 2])
    assert (mapper.layer, mapper.grid.size) == ("seen", (10, 18))
    np.testing.assert_allclose(probs, sequential.predict(draw(), verbose=0), atol=1e-5)
    x = inputs
    for part in parts:
        x = keras.layers.deserialize(keras.layers.serialize(part))(x)
    functional = keras.Model(inputs, x)
    functional.set_weights(sequential.get_weights())
    expected, _ = make_mapper(functional, layer=layer, method=method)(draw(), [0, 2])
    np.testing.assert_allclose(maps, expected, atol=1e-5)


@pytest.mark.parametrize("number", range(4))
def test_a_network_whose_input_has_the_name_that_keras_gives_next_has_maps(number: int) -> None:
    keras.utils.clear_session()
    inputs = keras.Input(SHAPE, dtype="uint8", name="input_layer" + (f"_{number}" if number else ""))
    seen = layers.Conv2D(5, 1, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    output = layers.Dense(N_CLASSES, activation="sigmoid")(layers.GlobalAveragePooling2D()(seen))
    maps, _ = make_mapper(keras.Model(inputs, output))(draw(1), [0, 1])
    assert maps.shape == (1, 2, 12, 20)
