"""Each operation on the device, held against imgaug, SciPy and OpenCV; differences are in gray levels of 0 to 255."""

import cv2
import imgaug
import imgaug.augmenters as iaa
import numpy as np
import pytest
import scipy.ndimage

from hpa_data.augment.operations import OPERATIONS as COPIES
from hpa_data.dataset import Channel
from hpa_model.augment import OPERATIONS, plan_augmentation
from hpa_model.augment.kinds import Call, Frame
from hpa_model.augment.symmetry import COMPOSED, ROTATIONS, turn_array
from tests.model.augment.images import CHANNELS, change, make_images, read_real

AFFINE = (
    {"scale": [0.9, 1.1], "translate": [0.1, -0.05], "rotate": 17.0, "shear": 5.0},
    {"scale": [1.2, 0.8], "translate": [-0.2, 0.13], "rotate": -25.0, "shear": -8.0},
)


@pytest.fixture(params=["made up", pytest.param("real", marks=pytest.mark.realdata)])
def images(request: pytest.FixtureRequest) -> np.ndarray:
    """Two images, uint8 (2, Y, X, 4)."""
    return make_images() if request.param == "made up" else read_real()


# What imgaug rounds or cuts off, it has in its own arithmetic: whole gray levels after each operation, whole
# 256ths as the weights of a blur, 32nds of a pixel in an affine transformation.
@pytest.mark.parametrize(
    ("name", "parameters", "most"),
    [
        ("blur", [{"sigma": 0.5}, {"sigma": 0.3}], 1.6),
        ("contrast", [{"factor": 0.6}, {"factor": 1.4}], 1.0),
        ("brightness", [{"factors": [0.8, 0.9, 1.1, 1.2]}, {"factors": [1.15] * 4}], 1.0),
        ("drop", [{"channel": "red"}, {"channel": "yellow"}], 0.0),
        ("affine", AFFINE, 8.0),
    ],
)
def test_an_operation_is_that_of_imgaug(name: str, parameters: list, most: float, images: np.ndarray) -> None:
    numbers = {"red": 0, "yellow": 3}
    values = {
        key: [np.atleast_1d([numbers.get(x, x) for x in np.atleast_1d(each[key]).tolist()]) for each in parameters]
        for key in parameters[0]
    }
    expected = [COPIES[name].transform(image, each, CHANNELS) for image, each in zip(images, parameters, strict=True)]
    difference = np.abs(change(name, images, values) - np.array(expected, np.float32))
    assert difference.max() <= most
    assert difference.mean() < 1


def test_an_affine_transformation_is_that_of_scipy_with_the_matrix_of_imgaug(images: np.ndarray) -> None:
    values = {key: [np.atleast_1d(each[key]) for each in AFFINE] for key in AFFINE[0]}
    moved = change("affine", images, values)
    for image, each, ours in zip(images, AFFINE, moved, strict=True):
        pairs = {key: dict(zip("xy", each[key], strict=True)) for key in ("scale", "translate")}
        augmenter = iaa.Affine(
            scale=pairs["scale"], translate_percent=pairs["translate"], rotate=each["rotate"], shear=each["shear"]
        )
        drawn = augmenter._draw_samples(1, imgaug.random.RNG(0))
        inverse = np.linalg.inv(drawn.to_matrix(0, image.shape, image.shape, False)[0].astype(np.float64))
        expected = np.stack(
            [
                scipy.ndimage.affine_transform(
                    image[..., channel].astype(np.float64),
                    inverse[1::-1, 1::-1],
                    inverse[1::-1, 2],
                    order=1,
                    mode="grid-constant",
                )
                for channel in range(4)
            ],
            axis=-1,
        )
        assert np.abs(ours - expected).max() < 0.05  # the matrix of imgaug is float32


def test_a_crop_is_that_of_opencv(images: np.ndarray) -> None:
    side = images.shape[1]
    pixels = np.array([[4, 2, 6, 1], [0, 5, 3, 6]]) * side // 64  # top, right, bottom, left
    cropped = change("crop", images, {"sides": pixels / side})
    for image, (top, right, bottom, left), ours in zip(images, pixels.tolist(), cropped, strict=True):
        inner = image[top : side - bottom, left : side - right].astype(np.float32)
        # imgaug takes the same rows and columns, and interpolates with cubic polynomials.
        expected = cv2.resize(inner, (side, side), interpolation=cv2.INTER_LINEAR)
        assert np.abs(ours - expected).max() < 1e-3


def test_a_strong_blur_is_that_of_scipy(images: np.ndarray) -> None:
    for sigma in (1.0, 2.5):
        drawn = plan_augmentation({"blur": {"sigma": sigma}}, CHANNELS, images.shape[1:], images.shape[1:3], seed=0)
        rows, _ = drawn.draw(np.arange(2), 0)
        ours = np.asarray(drawn.make_layer()(images, rows))
        expected = scipy.ndimage.gaussian_filter(
            images.astype(np.float64),
            (0, sigma, sigma, 0),
            mode="mirror",
            radius=(0, *[int(np.ceil(3 * sigma))] * 2, 0),
        )
        assert np.abs(ours - expected).max() < 1e-3


def test_contrast_of_the_signal_changes_the_signal_alone(images: np.ndarray) -> None:
    changed = change("signal_contrast", images, {"factor": [[0.5], [1.5]]})
    signal = [index for index, channel in enumerate(CHANNELS) if channel.role == "signal"]
    assert signal == [1]
    for image, ours, factor in zip(images, changed, (0.5, 1.5), strict=True):
        assert np.abs(ours[..., 1] - np.clip(127 + factor * (image[..., 1] - 127.0), 0, 255)).max() < 1e-3
    assert (np.delete(changed, 1, axis=-1) == np.delete(images, 1, axis=-1)).all()


def test_noise_is_normal_of_its_own_or_of_all_channels() -> None:
    gray = np.full((3, 128, 128, 4), 127, np.uint8)
    values = {"sigma": [[10], [10], [10]], "per_channel": [[1], [0], [1]], "seed": [[5], [5], [6]]}
    own, shared, other = change("noise", gray, values) - 127
    for noise in (own, other, shared[..., :1]):
        scaled = noise.ravel() / 10
        assert abs(scaled.mean()) < 0.03
        assert scaled.std() == pytest.approx(1, abs=0.02)
        assert np.mean(scaled**4) == pytest.approx(3, abs=0.2)
    assert (shared == shared[..., :1]).all()
    pairs = np.corrcoef([*own.reshape(-1, 4).T, *other.reshape(-1, 4).T])
    assert np.abs(pairs - np.eye(8)).max() < 0.04
    beside = [np.corrcoef(own[..., 0][:, 1:].ravel(), own[..., 0][:, :-1].ravel())[0, 1]]
    beside += [np.corrcoef(own[..., 0][1:].ravel(), own[..., 0][:-1].ravel())[0, 1]]
    assert np.abs(beside).max() < 0.04


def find_displacements(alpha: float, sigma: float, n: int, side: int, store_side: int) -> np.ndarray:
    """Return the displacements of a deformation, (N, 2, Y, X): those that it gives two ramps."""
    ramps = np.zeros((n, side, side, 4), np.float32)
    ramps[..., 0], ramps[..., 1] = np.mgrid[:side, :side]
    values = {"alpha": [[alpha]] * n, "sigma": [[sigma]] * n, "seed": [[index] for index in range(n)]}
    moved = change("elastic", ramps, values, image_shape=(store_side, store_side, 4))
    return np.moveaxis((moved - ramps)[..., :2], -1, 1)


@pytest.mark.parametrize("side", [128, 64])
def test_a_deformation_is_as_large_and_as_smooth_as_that_of_imgaug(side: int) -> None:
    alpha, sigma = 60.0, 8.0
    generator = iaa.geometric._ElasticTfShiftMapGenerator()
    drawn = generator.generate([(128, 128)] * 8, np.array([alpha] * 8), np.array([sigma] * 8), np.random.default_rng(0))
    theirs = np.array(list(drawn))[..., 24:-24, 24:-24]
    margin, factor = 24 * side // 128, 128 / side
    ours = find_displacements(alpha, sigma, 8, side, 128)[..., margin:-margin, margin:-margin] * factor
    assert ours.std() == pytest.approx(theirs.std(), rel=0.15)
    assert np.abs(ours.mean()) < 0.3
    step = 8  # pixels of the store
    correlations = [
        np.mean(each[..., by:] * each[..., :-by]) / np.mean(each**2)
        for each, by in ((ours, step * side // 128), (theirs, step))
    ]
    assert correlations[0] == pytest.approx(correlations[1], abs=0.15)
    assert len({each.tobytes() for each in ours}) == 8


def test_a_deformation_moves_pixels_as_scipy_does(images: np.ndarray) -> None:
    side = images.shape[1]
    shifts = find_displacements(60, 8, 2, side, side)
    moved = change("elastic", images, {"alpha": [[60], [60]], "sigma": [[8], [8]], "seed": [[0], [1]]})
    grid = np.mgrid[:side, :side]
    for image, shift, ours in zip(images, shifts, moved, strict=True):
        inner = (slice(16, -16), slice(16, -16))  # where a ramp is not mirrored
        expected = np.stack(
            [scipy.ndimage.map_coordinates(image[..., c].astype(np.float64), grid + shift, order=1) for c in range(4)],
            axis=-1,
        )
        assert np.abs(ours[inner] - expected[inner]).max() < 0.05
    assert np.abs(moved - images).mean() > 3


@pytest.mark.parametrize("quarters", range(4))
def test_flips_and_rotations_follow_one_another_exactly(quarters: int) -> None:
    image = make_images(1, 5)[0]
    turned = turn_array(image, int(ROTATIONS[quarters]))
    assert (turned == COPIES["turn"].apply(image, quarters=quarters)).all()
    for code in range(8):
        assert (turn_array(turned, code) == turn_array(image, int(COMPOSED[ROTATIONS[quarters], code]))).all()


def test_mixed_images_are_those_of_the_formula() -> None:
    images, partners = make_images(2).astype(np.float32), make_images(2)[::-1].astype(np.float32)
    frame = Frame(channels=CHANNELS, image_shape=(64, 64, 4), size=(64, 64))
    columns = np.array([[0.75], [1.0]], np.float32)
    mixed = np.asarray(OPERATIONS["mixup"].apply((images, partners), Call(columns, {}, frame)))
    assert np.abs(mixed[0] - (0.75 * images[0] + 0.25 * partners[0])).max() < 1e-3
    assert (mixed[1] == images[1]).all()
    values = {"share": np.array([[0.75], [1.0]]), "center": np.array([[0.5, 0.9], [0.5, 0.5]])}
    columns = OPERATIONS["cutmix"].encode(values, {}, frame)
    assert columns.tolist() == [[1 - 32 * 22 / 64**2, 16, 48, 42, 64], [1, 32, 32, 32, 32]]
    mixed = np.asarray(OPERATIONS["cutmix"].apply((images, partners), Call(columns.astype(np.float32), {}, frame)))
    expected = images[0].copy()
    expected[16:48, 42:64] = partners[0][16:48, 42:64]
    assert (mixed[0] == expected).all()
    assert (mixed[1] == images[1]).all()


@pytest.mark.parametrize("shape", [(64, 64), (48, 64)])
def test_moves_follow_one_another_with_one_interpolation(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]] / 64
    images = np.repeat((127 + 90 * np.sin(5 * x + 3 * y) * np.cos(4 * y))[None, ..., None], 4, axis=0).repeat(
        4, axis=-1
    )
    images[:, :8] = 0  # tells one side from another
    names = ["turn", "mirror", "crop", "affine", "elastic"]
    table = {"mirror": {}, "turn": {}, "elastic": {"alpha": 20, "sigma": 8}, "affine": {}, "crop": {}}
    keys = np.arange(4)
    plans = [plan_augmentation(each, CHANNELS, (*shape, 4), shape, seed=5) for each in ({n: table[n]} for n in names)]
    whole = plan_augmentation({name: table[name] for name in names}, CHANNELS, (*shape, 4), shape, seed=5)
    one_by_one = images.astype(np.float32)
    for each in plans:
        one_by_one = np.asarray(each.make_layer()(one_by_one, each.draw(keys, 0)[0]))
    at_once = np.asarray(whole.make_layer()(images.astype(np.float32), whole.draw(keys, 0)[0]))
    assert np.abs(at_once - images).mean() > 20
    # Where the image is smooth, several interpolations give what one does.
    assert np.median(np.abs(at_once - one_by_one)) < 0.5
    assert np.mean(np.abs(at_once - one_by_one)) < 3


def test_a_symmetry_among_moves_is_exact() -> None:
    images = make_images(24, 16)
    for setting in ({"policy": "symmetries", "crop": {"p": 0}}, {"turn": {}, "mirror": {}, "elastic": {"p": 0}}):
        moved = plan_augmentation(setting, CHANNELS, (16, 16, 4), (16, 16), seed=2)
        rows, _ = moved.draw(np.arange(24), 1)
        expected = [turn_array(image, int(code)) for image, code in zip(images, rows[:, 0], strict=True)]
        assert len(set(rows[:, 0])) > 3
        assert (np.asarray(moved.make_layer()(images, rows)) == np.array(expected)).all()


def test_what_is_not_drawn_leaves_an_image_exactly_as_it_is() -> None:
    table = {
        name: {"p": 0} for name in ("crop", "affine", "elastic", "blur", "contrast", "brightness", "noise", "drop")
    }
    table |= {"signal_contrast": {"p": 0}, "turn": {"p": 0}, "mirror": {"p": 0}, "mixup": {"p": 0}, "cutmix": {"p": 0}}
    drawn = plan_augmentation(table, CHANNELS, (64, 64, 4), (64, 64), seed=0)
    images = make_images(3)
    rows, _ = drawn.draw(np.arange(3), 0)
    assert (np.asarray(drawn.make_layer()(images, rows)) == images).all()
    assert drawn.describe(np.arange(3), 0) == ["unchanged"] * 3


def test_an_operation_without_its_channel_is_left_out() -> None:
    alone = (Channel(name="DNA"),)
    drawn = plan_augmentation({"drop": {}, "signal_contrast": {}, "contrast": {}}, alone, (8, 8, 1), (8, 8), seed=0)
    rows, _ = drawn.draw(np.arange(4), 0)
    assert rows.shape == (4, 1)
    assert all("without" not in words and "signal" not in words for words in drawn.describe(np.arange(4), 0))
