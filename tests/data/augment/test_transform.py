"""A transform is stored as JSON, described in words, and gives the same pixels each time."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.augment import operations
from hpa_data.augment.policies import POLICIES, draw_transform
from hpa_data.augment.transform import describe_transform, format_transform, parse_transform, replay
from hpa_data.errors import InputError
from tests.builders import draw_image


def _transform(operation: str, **parameters: object) -> str:
    return json.dumps([{"operation": operation, "done": True, **parameters}])


_TWO_STEPS = (
    '[{"operation":"mirror","done":true,"axis":"y"},{"operation":"blur","done":false,"sigma":0.2},'
    '{"operation":"drop","done":true,"channel":"red"}]'
)


@settings(deadline=None, max_examples=30)
@given(policy=st.sampled_from(sorted(POLICIES)), number=st.integers(0, 10_000))
def test_replaying_gives_the_same_pixels_and_leaves_the_parent_alone(policy: str, number: int) -> None:
    image = draw_image(1)
    before = image.copy()
    transform = draw_transform(policy, seed=0, parent="sample", number=number)  # type: ignore[arg-type]
    copy = replay(image, transform)
    assert (copy == replay(image, transform)).all()
    assert copy.shape == image.shape
    assert copy.dtype == np.uint8
    assert copy.flags.c_contiguous
    assert (image == before).all()


@given(policy=st.sampled_from(sorted(POLICIES)), number=st.integers(0, 10_000))
def test_a_transform_is_one_line_that_survives_reading_and_writing(policy: str, number: int) -> None:
    transform = draw_transform(policy, seed=0, parent="sample", number=number)  # type: ignore[arg-type]
    assert "\n" not in transform
    assert format_transform(parse_transform(transform)) == transform


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (
            _transform("affine", scale=[0.9, 1.1], translate=[0.1, -0.05], rotate=13.2, shear=-4.1),
            "rotate 13°, shear -4°, scale 0.90 x 1.10, shift 10 x -5 %",
        ),
        (_transform("mirror", axis="x"), "flip along x"),
        (_transform("turn", quarters=3), "rotate by 270°"),
        (_transform("turn", quarters=0), "unchanged"),
        (_transform("blur", sigma=0.25), "blur, sigma 0.25 px"),
        (_transform("crop", sides=[0, 0.1, 0.05, 0]), "crop 0 10 5 0 %"),
        (_transform("contrast", factor=0.5), "contrast x 0.50"),
        (_transform("noise", sigma=2.0, per_channel=True, seed=1), "noise, sigma 2.0, per channel"),
        (_transform("noise", sigma=2.0, per_channel=False, seed=1), "noise, sigma 2.0"),
        (_transform("brightness", factors=[1.2, 1, 1, 0.8]), "brightness x 1.20 1.00 1.00 0.80"),
        (_transform("brightness", factors=[1.2, 1.2, 1.2, 1.2]), "brightness x 1.20"),
        (_transform("elastic", alpha=20, sigma=6, seed=1), "elastic, 20 px over 6 px"),
        (_transform("drop", channel="red"), "without red"),
        (json.dumps([{"operation": "mirror", "done": False, "axis": "x"}]), "unchanged"),
        (_TWO_STEPS, "flip along y; without red"),
    ],
)
def test_a_transform_is_described_in_words(transform: str, words: str) -> None:
    assert describe_transform(transform) == words


@pytest.mark.parametrize(
    "transform",
    [
        _transform("blur", sigma="1"),
        _transform("blur", sigma=float("nan")),
        _transform("blur", sigma=True),
        _transform("noise", sigma=1, per_channel=False, seed=-1),
        "[" * 100_000,
        json.dumps(json.loads(_transform("turn", quarters=1)) * 17),
        json.dumps([{"operation": "turn", "done": 1, "quarters": 1}]),
        _transform("blur", sigma=1e9),
        _transform("drop", channel="green"),
        _transform("brightness", factors=[1, 1]),
        "",
        "nonsense",
        "{}",
        "3",
        '["mirror"]',
        '[[["operation","mirror"],["done",true],["axis","x"]]]',
        '[{"operation":"eval","done":true}]',
        '[{"operation":[],"done":true}]',
        '[{"operation":"mirror"}]',
        '[{"done":true}]',
        "null",
    ],
)
def test_what_is_not_a_transform_is_refused(transform: str) -> None:
    with pytest.raises(InputError, match="Cannot read the transform .* Run `hpa augment` again with --overwrite"):
        replay(draw_image(0), transform)


def test_a_transform_that_cannot_be_applied_is_refused() -> None:
    with pytest.raises(InputError, match="Cannot apply the operation 'affine' with .*'scale': .0, 0."):
        replay(draw_image(0), _transform("affine", scale=[0, 0], translate=[0, 0], rotate=0, shear=0))


def test_without_imgaug_no_transform_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command then names the missing package, see `cli.explain`; a copy must not be listed as failed."""
    monkeypatch.setitem(sys.modules, "imgaug", None)
    operations._imgaug.cache_clear()
    with pytest.raises(ImportError) as raised:
        replay(draw_image(0), _transform("mirror", axis="x"))
    assert raised.value.name == "imgaug"


@pytest.mark.parametrize(("shape", "dtype"), [((8, 8, 4), np.float32), ((8, 8, 3), np.uint8), ((8, 8), np.uint8)])
def test_an_image_of_another_type_or_shape_is_refused(shape: tuple[int, ...], dtype: type) -> None:
    image = np.zeros(shape, dtype)
    with pytest.raises(InputError, match="image must be uint8 of shape"):
        replay(image, "[]")
