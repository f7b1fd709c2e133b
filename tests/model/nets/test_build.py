"""`nets.build` and `gapnet`, compared with a reference implementation in NumPy; resizing and symmetries."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.reader.batches import count_symmetries
from hpa_model import nets
from hpa_model.augment.symmetry import ApplySymmetry, apply_symmetry
from hpa_model.nets.catalog import list_layers
from hpa_model.nets.resize import AreaResize, area_weights, image_input
from hpa_model.nets.summary import count_macs
from hpa_model.nets.symmetry import with_symmetry_input
from tests.builders import randomise


def test_gapnet_has_the_parameters_of_the_paper() -> None:
    model = nets.build("gapnet", image_shape=(512, 512, 4), n_classes=28)
    assert model.count_params() == 597_388
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 2_120
    assert model.input.dtype == "uint8"
    assert model.output.shape == (None, 28)


def run_gapnet(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Compute the forward pass of `gapnet` in float64, layer by layer as the specification has it."""
    norms = iter([layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)])
    weighted = iter([layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)])

    def norm(x: np.ndarray) -> np.ndarray:
        gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in next(norms).weights)
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def conv(x: np.ndarray, stride: int = 1) -> np.ndarray:
        kernel, bias = (np.asarray(w, np.float64) for w in next(weighted).weights)
        windows = np.lib.stride_tricks.sliding_window_view(norm(x), (3, 3), axis=(1, 2))[:, ::stride, ::stride]
        return np.maximum(np.einsum("byxcij,ijcf->byxf", windows, kernel) + bias, 0)

    def pool(x: np.ndarray) -> np.ndarray:
        y, x_ = (n // 2 * 2 for n in x.shape[1:3])
        return norm(x)[:, :y, :x_].reshape(len(x), y // 2, 2, x_ // 2, 2, -1).max(axis=(2, 4))

    def dense(x: np.ndarray) -> np.ndarray:
        kernel, bias = (np.asarray(w, np.float64) for w in next(weighted).weights)
        return x @ kernel + bias

    tap_1 = pool(conv(images / 255))
    tap_2 = pool(conv(conv(conv(tap_1, stride=2))))
    tap_3 = conv(conv(conv(tap_2)))
    x = np.concatenate([tap.mean(axis=(1, 2)) for tap in (tap_1, tap_2, tap_3)], axis=1)
    for _ in range(2):
        x = np.maximum(dense(norm(x)), 0)
    return 1 / (1 + np.exp(-dense(x)))


def test_gapnet_computes_what_its_specification_says() -> None:
    model = nets.build("gapnet", image_shape=(80, 78, 4), n_classes=28)
    randomise(model)
    images = np.random.default_rng(1).integers(0, 256, (2, 80, 78, 4), np.uint8)
    probs = np.asarray(model(images, training=False))
    expected = run_gapnet(model, images)
    assert np.ptp(expected) > 0.1
    assert probs == pytest.approx(expected, abs=1e-5)


def test_dropout_comes_before_pooling_and_before_the_next_block() -> None:
    """In training, the second block must see the same dropped values as the pooled features."""
    model = nets.build("gapnet", image_shape=(80, 80, 4))
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in drops] == [0.4] * 5
    for layer in drops[:2]:
        users = {node.operation.__class__.__name__ for node in layer._outbound_nodes}
        assert users == {"GlobalAveragePooling2D", "BatchNormalization"}
    assert {node.operation.__class__.__name__ for node in drops[2]._outbound_nodes} == {"GlobalAveragePooling2D"}


def test_dropout_on_the_tap_alone_leaves_what_the_next_block_sees() -> None:
    model = nets.build("gapnet", image_shape=(80, 80, 4), options={"dropout_place": "tap"})
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in drops] == [0.4] * 5
    for layer in drops[:3]:
        users = {node.operation.__class__.__name__ for node in layer._outbound_nodes}
        assert users == {"GlobalAveragePooling2D"}
    assert model.count_params() == 597_388


@pytest.mark.parametrize("size", [75, 76])
def test_images_below_the_minimum_size_are_refused(size: int) -> None:
    if size >= 76:
        assert nets.build("gapnet", image_shape=(size, size, 4)).output.shape == (None, 28)
    else:
        with pytest.raises(InputError, match="image_size must be at least 76 for gapnet. Received: image_size=75"):
            nets.build("gapnet", image_shape=(size, size, 4))
        with pytest.raises(InputError, match="at least 76"):
            nets.build("gapnet", image_size=size)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(InputError, match="model must be one of gapnet, .* Received: model='gepnet'"):
        nets.build("gepnet")


@settings(deadline=None, max_examples=15)
@given(y=st.integers(5, 40), x=st.integers(5, 40), size=st.integers(2, 12))
def test_resizing_averages_areas(y: int, x: int, size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, y, x, 3), np.uint8)
    resized = np.asarray(AreaResize(size)(images))
    expected = np.einsum("iy,byxc,jx->bijc", area_weights(y, size), images, area_weights(x, size))
    assert resized == pytest.approx(expected, abs=1e-3)


def test_resizing_is_that_of_opencv() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 4), np.uint8)
    for size in (128, 200):
        expected = cv2.resize(images[0].astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
        assert np.asarray(AreaResize(size)(images))[0] == pytest.approx(expected, abs=0.01)


def test_resizing_adds_no_weights() -> None:
    assert nets.build("gapnet", image_size=100).count_params() == 597_388


def test_each_code_is_its_own_flip_and_rotation() -> None:
    images = np.random.default_rng(0).integers(0, 255, (8, 5, 5, 4), np.uint8)
    transformed = keras.ops.convert_to_numpy(apply_symmetry(images, np.arange(8, dtype=np.uint8)))
    assert transformed.dtype == np.uint8
    for code in range(8):
        expected = images[code]
        expected = expected[::-1] if code & 1 else expected
        expected = expected[:, ::-1] if code & 2 else expected
        expected = expected.transpose(1, 0, 2) if code & 4 else expected
        assert (transformed[code] == expected).all()
    one = np.broadcast_to(images[:1], images.shape)
    assert len({image.tobytes() for image in keras.ops.convert_to_numpy(apply_symmetry(one, np.arange(8)))}) == 8


def test_a_model_with_a_symmetry_input_shares_all_weights() -> None:
    model = nets.build("gapnet", (76, 76, 4), 28)
    wrapped = with_symmetry_input(model)
    images = np.random.default_rng(0).integers(0, 255, (3, 76, 76, 4), np.uint8)
    codes = np.array([0, 3, 6], np.uint8)
    expected = model.predict_on_batch(keras.ops.convert_to_numpy(apply_symmetry(images, codes)))
    assert np.allclose(wrapped.predict_on_batch([images, codes]), expected, atol=1e-6)
    assert wrapped.count_params() == model.count_params()


@pytest.mark.parametrize(
    ("image_shape", "image_size"), [((160, 160, 4), (80, 80)), ((150, 150, 4), (80, 80)), ((160, 240, 4), (80, 120))]
)
def test_images_are_turned_after_the_resize_to_the_same_effect(
    image_shape: tuple[int, int, int], image_size: tuple[int, int]
) -> None:
    inputs, x = image_input(image_shape, image_size)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    model = keras.Model(inputs, keras.layers.Dense(5, "sigmoid")(x))  # which sees where a pixel is, unlike `gapnet`
    wrapped = with_symmetry_input(model)
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    codes = np.arange(8, dtype=np.uint8) % count_symmetries(image_shape)
    expected = model.predict_on_batch(keras.ops.convert_to_numpy(apply_symmetry(images, codes)))
    assert np.ptp(expected, axis=0).max() > 0.01
    assert wrapped.predict_on_batch([images, codes]) == pytest.approx(expected, abs=1e-5)
    turned = next(layer for layer in wrapped.layers if isinstance(layer, ApplySymmetry))
    assert tuple(turned.output.shape[1:3]) == image_size
    assert {id(v) for v in wrapped.variables} == {id(v) for v in model.variables}


def test_images_are_turned_before_a_resize_that_makes_squares_rectangles() -> None:
    model = nets.build("gapnet", (160, 160, 4), 5, image_size=(80, 120))
    turned = next(each for each in with_symmetry_input(model).layers if isinstance(each, ApplySymmetry))
    assert tuple(turned.output.shape[1:3]) == (160, 160)


def test_a_model_with_a_symmetry_input_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    model = nets.build("gapnet", (160, 160, 4), 5, image_size=80)
    with_symmetry_input(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=nets.LAYERS)
    images = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 4), np.uint8)
    assert (loaded.predict_on_batch(images) == model.predict_on_batch(images)).all()
    assert with_symmetry_input(loaded).count_params() == model.count_params()


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a network with a model inside it, a rate above 1, and an option without a rule."""

    def build_nested(
        image_shape: tuple[int, int, int],
        n_classes: int,
        *,
        image_size: tuple[int, int],
        dropout: float = 2.0,
        depth: int = 3,
    ) -> keras.Model:
        backbone = keras.Sequential(
            [keras.Input((*image_size, 4)), keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization()]
        )
        inputs = keras.Input(image_shape, dtype="uint8")
        x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
        return keras.Model(inputs, keras.layers.Dense(n_classes, "sigmoid")(x))

    net = nets.Net(
        build=build_nested,
        summary="nested",
        min_size=lambda **_: 3,
        options={"dropout": 2.0, "depth": 3},
        rules={"dropout": ("from 1 to 3", lambda value: 1 <= float(value) <= 3)},
    )
    monkeypatch.setitem(nets.NETS, "nested", net)


@pytest.mark.usefixtures("nested")
def test_a_model_inside_a_network_has_its_momentum_and_its_multiply_adds_counted() -> None:
    model = nets.build("nested", (10, 12, 4), 5, bn_momentum=0.7)
    norms = [layer for layer in list_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    assert [layer.momentum for layer in norms] == [0.7]
    assert count_macs(model) == 8 * 10 * (3 * 3 * 4 * 8) + 8 * 5


@pytest.mark.usefixtures("nested")
def test_each_network_has_rules_of_its_own_for_its_options() -> None:
    nets.build("nested", (10, 10, 4), options={"dropout": 3, "depth": 7})
    with pytest.raises(InputError, match=r"Option dropout of nested must be from 1 to 3\. Received: 0\.5\."):
        nets.build("nested", (10, 10, 4), options={"dropout": 0.5})
    with pytest.raises(InputError, match=r"Option depth of nested must be a whole number\. Received: 'deep'\."):
        nets.build("nested", (10, 10, 4), options={"depth": "deep"})
    with pytest.raises(InputError, match="Option dropout of gapnet must be at least 0 and below 1"):
        nets.build("gapnet", (80, 80, 4), options={"dropout": 2.0})
    with pytest.raises(InputError, match="Option dropout_place of gapnet must be inline or tap"):
        nets.build("gapnet", (80, 80, 4), options={"dropout_place": "tab"})


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [("unit", [0.0, 0.2, 1.0]), ("signed", [-1.0, -0.6, 1.0]), ("zscore", [-0.90, -0.43, 1.455])],
)
def test_gray_levels_are_scaled_as_the_option_says(scaling: str, expected: list[float]) -> None:
    model = nets.build("deepyeast", (8, 8, 1), options={"scaling": scaling})
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    scaled = keras.Model(model.input, first.input)
    images = np.array([0, 51, 255], np.uint8).repeat(22)[:64].reshape(1, 8, 8, 1)
    values = np.unique(keras.ops.convert_to_numpy(scaled(images)).round(2))
    assert values == pytest.approx(np.array(expected), abs=0.02)


def test_a_rectangle_has_the_four_flips_and_rotations_that_keep_its_shape() -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 33, 70, 6), np.uint8)
    transformed = keras.ops.convert_to_numpy(apply_symmetry(images, np.arange(4, dtype=np.uint8)))
    for code, (y, x) in enumerate([(1, 1), (-1, 1), (1, -1), (-1, -1)]):
        assert (transformed[code] == images[code, ::y, ::x]).all()
    assert count_symmetries((33, 70, 6)) == 4
    assert count_symmetries((70, 70, 6)) == 8
