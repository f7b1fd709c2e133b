"""Recipes are functions of (seed, parent, number), and do what they say."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.augment.execute import replay
from hpa_data.augment.operations import OPERATIONS
from hpa_data.augment.policies import POLICIES, Choice, Range, describe_transform, draw_transform, read_recipe
from hpa_data.errors import InputError
from tests.builders import draw_image


def _recipe(operation: str, **parameters: object) -> str:
    return json.dumps([{"operation": operation, "done": True, **parameters}])


@settings(deadline=None)
@given(policy=st.sampled_from(sorted(POLICIES)), seed=st.integers(0, 9), number=st.integers(0, 2**40))
def test_a_recipe_is_one_line_with_parameters_within_their_ranges(policy: str, seed: int, number: int) -> None:
    recipe = draw_transform(policy, seed=seed, parent="sample", number=number)
    assert "\n" not in recipe
    assert recipe == draw_transform(policy, seed=seed, parent="sample", number=number)
    steps = read_recipe(recipe)
    assert len(steps) == len(POLICIES[policy])
    for step, draws in zip(steps, POLICIES[policy], strict=True):
        (draw,) = (draw for draw in draws if draw.operation == step["operation"])
        for name, where in draw.ranges.items():
            values = step[name] if isinstance(step[name], list) else [step[name]]
            if isinstance(where, Choice):
                assert step[name] in where.values
            else:
                assert len(values) == where.n
                assert all(where.low <= value <= where.high for value in values)


def test_the_paper_s_seven_operations_are_drawn_about_equally_often_and_half_of_mirrors_done() -> None:
    drawn = [read_recipe(draw_transform("paper", seed=0, parent=f"s{n}", number=0))[0] for n in range(7000)]
    names = [step["operation"] for step in drawn]
    counts = {name: names.count(name) for name in sorted(set(names))}
    assert sorted(counts) == ["affine", "blur", "brightness", "contrast", "crop", "mirror", "noise"]
    assert all(850 < count < 1150 for count in counts.values())  # 1000 ± 5 standard deviations
    for name, p in {"mirror": 0.5, "blur": 0.5, "crop": 1.0}.items():
        done = [step["done"] for step in drawn if step["operation"] == name]
        assert abs(np.mean(done) - p) < 0.08
    per_channel = [len(set(step["factors"])) > 1 for step in drawn if step["operation"] == "brightness"]
    assert abs(np.mean(per_channel) - 0.2) < 0.07


def test_recipes_differ_with_seed_parent_and_number() -> None:
    told = {
        draw_transform("strong", seed=seed, parent=parent, number=number)
        for seed in (0, 1)
        for parent in ("a", "b")
        for number in (0, 1)
    }
    assert len(told) == 8


@settings(deadline=None, max_examples=30)
@given(policy=st.sampled_from(sorted(POLICIES)), number=st.integers(0, 10_000))
def test_replaying_gives_the_same_pixels_and_leaves_the_parent_alone(policy: str, number: int) -> None:
    image = draw_image(1)
    before = image.copy()
    recipe = draw_transform(policy, seed=0, parent="sample", number=number)
    copy = replay(image, recipe)
    assert (copy == replay(image, recipe)).all()
    assert copy.shape == image.shape
    assert copy.dtype == np.uint8
    assert copy.flags.c_contiguous
    assert (image == before).all()


def test_operations_do_what_they_say() -> None:
    image = draw_image(2)
    levels = image.astype(float)
    assert (replay(image, _recipe("mirror", axis="x")) == image[:, ::-1]).all()
    assert (replay(image, _recipe("mirror", axis="y")) == image[::-1]).all()
    assert (replay(image, _recipe("turn", quarters=1)) == np.rot90(image, -1)).all()
    assert (
        np.abs(replay(image, _recipe("brightness", factors=[1.2, 1, 1, 0.8])) - levels * [1.2, 1, 1, 0.8])[
            levels.max(axis=2) < 200
        ].max()
        <= 1
    )
    assert np.abs(replay(image, _recipe("contrast", factor=0.5)) - (127 + 0.5 * (levels - 127))).max() <= 1
    without = replay(image, _recipe("drop", channel="blue"))
    assert not without[..., 2].any()
    assert (without[..., [0, 1, 3]] == image[..., [0, 1, 3]]).all()
    noise = replay(image, _recipe("noise", sigma=10.0, per_channel=False, seed=3)) - levels
    inside = (levels > 50) & (levels < 200)
    assert abs(noise[inside].std() - 10) < 0.5
    alike = inside.all(axis=2)
    assert (noise[alike].max(axis=1) - noise[alike].min(axis=1)).max() <= 1
    each = replay(image, _recipe("noise", sigma=10.0, per_channel=True, seed=3)) - levels
    assert abs(np.corrcoef(each[alike][:, 0], each[alike][:, 1])[0, 1]) < 0.05
    still = _recipe("affine", scale=[1, 1], translate=[0, 0], rotate=0, shear=0)
    assert (replay(image, still) == image).all()
    moved = replay(image, _recipe("affine", scale=[1, 1], translate=[0.125, 0], rotate=0, shear=0))
    assert (moved[:, 64:] == image[:, :-64]).all()
    assert not moved[:, :64].any()
    cropped = replay(image, _recipe("crop", sides=[0, 0.5, 0, 0]))
    assert np.abs(cropped[:, ::2].astype(int) - image[:, :256]).mean() < 3


def test_a_recipe_is_said_in_words() -> None:
    recipe = _recipe("affine", scale=[0.9, 1.1], translate=[0.1, -0.05], rotate=13.2, shear=-4.1)
    assert describe_transform(recipe) == "rotate 13°, shear -4°, scale 0.90 x 1.10, shift 10 x -5 %"
    assert describe_transform(json.dumps([{"operation": "mirror", "done": False, "axis": "x"}])) == "unchanged"
    for number in range(60):
        assert describe_transform(draw_transform("strong", seed=0, parent="sample", number=number))


def test_every_operation_of_a_policy_is_there() -> None:
    assert {draw.operation for steps in POLICIES.values() for draws in steps for draw in draws} == set(OPERATIONS)
    assert all(isinstance(where, Range | Choice) for draw in POLICIES["paper"][0] for where in draw.ranges.values())


@pytest.mark.parametrize(
    "recipe",
    [
        _recipe("blur", sigma="1"),
        _recipe("blur", sigma=float("nan")),
        _recipe("blur", sigma=True),
        _recipe("noise", sigma=1, per_channel=False, seed=-1),
        "[" * 100_000,
        json.dumps(json.loads(_recipe("turn", quarters=1)) * 17),
        json.dumps([{"operation": "turn", "done": 1, "quarters": 1}]),
        _recipe("blur", sigma=1e9),
        _recipe("drop", channel="green"),
        _recipe("brightness", factors=[1, 1]),
        "",
        "nonsense",
        "{}",
        "3",
        '["mirror"]',
        '[{"operation":"eval","done":true}]',
        '[{"operation":"mirror"}]',
        "null",
    ],
)
def test_what_is_no_recipe_is_refused(recipe: str) -> None:
    with pytest.raises(InputError, match="A recipe must be a list of known operations"):
        replay(draw_image(0), recipe)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(InputError, match="policy must be one of paper, strong"):
        draw_transform("weak", seed=0, parent="a", number=0)


def test_a_recipe_that_cannot_be_carried_out_is_refused() -> None:
    with pytest.raises(InputError, match="A recipe must be one that can be carried out"):
        replay(draw_image(0), _recipe("affine", scale=[0, 0], translate=[0, 0], rotate=0, shear=0))
