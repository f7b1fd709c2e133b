"""Policies and tables of operations: what a recipe may say, and what is refused."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.augment.operations import OPERATIONS as COPIES
from hpa_data.augment.policies import POLICIES as COPY_POLICIES
from hpa_data.errors import InputError
from hpa_data.system.records import decode_record, encode_record
from hpa_model.augment import OPERATIONS, POLICIES, find_policy, plan_augmentation
from hpa_model.config import TrainConfig, load_recipe, make_config, merge_settings, parse_setting
from tests.model.augment.images import CHANNELS

TABLE = """
[augment]
policy = "paper"
mirror = {p = 0.25, axis = ["x", "y"]}
brightness = {factors = [0.7, 1.3]}
noise = {per_channel = true}
elastic = {p = 0.3, alpha = [10, 20]}
mixup = {alpha = 0.2}
"""


def test_policies_have_the_ranges_and_probabilities_of_augmented_copies() -> None:
    for name in ("paper", "strong"):
        theirs = [
            [(each.operation.name, each.operation.parameters, each.p) for each in step] for step in COPY_POLICIES[name]
        ]
        ours = [[(each.operation.name, each.parameters, each.p) for each in step] for step in POLICIES[name]]
        assert ours[: len(theirs)] == theirs
        assert [[each[0] for each in step] for step in ours[len(theirs) :]] == (
            [["signal_contrast"]] * (name == "strong")
        )
    assert set(COPIES) <= set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        drawn = {key for key in operation.parameters if key not in {"seed", "alpha"} or name == "elastic"}
        assert drawn - {"seed"} <= set(operation.neutral), name


def test_a_table_changes_the_operations_of_its_policy_and_adds_others() -> None:
    policy = find_policy(tomllib.loads(TABLE)["augment"])
    assert [len(step) for step in policy] == [7, 1, 1]
    by_name = {each.operation.name: each for step in policy for each in step}
    assert by_name["mirror"].p == 0.25
    assert by_name["mirror"].parameters["axis"].values == ("x", "y")
    assert (by_name["brightness"].parameters["factors"].low, by_name["brightness"].parameters["factors"].high) == (
        0.7,
        1.3,
    )
    assert by_name["noise"].parameters["per_channel"].values == (True,)
    assert by_name["noise"].parameters["sigma"] == COPIES["noise"].parameters["sigma"]
    assert by_name["crop"] == next(each for each in POLICIES["paper"][0] if each.operation.name == "crop")


def test_a_number_is_drawn_as_it_is() -> None:
    augmentation = plan_augmentation({"blur": {"sigma": 1.5}}, CHANNELS, (8, 8, 4), (8, 8), seed=0)
    assert augmentation is not None
    assert (augmentation.draw(np.arange(5), 0)[0] == 1.5).all()


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("papr", "augment must be one of none, .*, strong. Received: augment='papr'. Did you mean 'paper'?"),
        ({"policy": "weak"}, r"augment must be one of none, .* Received: augment='weak'. Choose one"),
        (5, r"augment must be a word, or a table of operations. Received: augment=5. Write augment = .strong., for"),
        (["paper"], r"augment must be a word, or a table of operations. Received: augment=\['paper'\]. Write augment"),
        ({"brightnes": {}}, "An operation of augment must be one of .*: 'brightnes'. Did you mean 'brightness'?"),
        ({"blur": 0.5}, r"augment.blur must be a table. Received: 0.5. Write blur = {p = 0.5}, for example."),
        ({"blur": {"sigm": 1}}, "of augment.blur must be one of p, sigma. Received: 'sigm'. Did you mean 'sigma'?"),
        ({"blur": {"p": 1.5}}, "augment.blur.p must be from 0 to 1. Received: 1.5."),
        ({"blur": {"p": True}}, "augment.blur.p must be from 0 to 1. Received: True."),
        ({"blur": {"sigma": [0, 99]}}, r"blur.sigma must be a number or \[lowest, highest\], from 0 to 20."),
        ({"blur": {"sigma": [2, 1]}}, r"blur.sigma must be \[lowest, highest\]. Received: \[2, 1\]. Swap"),
        ({"blur": {"sigma": float("nan")}}, "augment.blur.sigma must be a number or"),
        ({"mirror": {"axis": "z"}}, "augment.mirror.axis must be one of x, y, or a list of them. Received: 'z'."),
        ({"noise": {"per_channel": 1}}, "augment.noise.per_channel must be one of false, true, or a list"),
        ({"noise": {"seed": 1}}, "A parameter of augment.noise must be one of p, sigma, per_channel."),
        ({"mixup": {"alpha": [0.1, 0.2]}}, "augment.mixup.alpha must be a number, from 0.01 to 100."),
        ({"mixup": {}, "cutmix": {}}, "p of mixup and cutmix must .* Received: mixup.p=1 and cutmix.p=1."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(augment: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config({"augment": augment})


def test_symmetries_beside_another_policy_are_refused() -> None:
    with pytest.raises(
        InputError, match='symmetries must be false with augment.*write policy = "symmetries" into a table'
    ):
        make_config({"symmetries": True, "augment": {"mixup": {}}})
    with pytest.raises(InputError, match="Received: 'augmentation'. Did you mean 'augment'?"):
        make_config({"augmentation": "paper"})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"symmetries": True}, {"augment": "paper"}, {"augment": "paper"}),
        ({"augment": "paper"}, {"symmetries": True}, {"symmetries": True}),
        ({"augment": "paper"}, {"augment": {"mixup": {}}}, {"augment": {"policy": "paper", "mixup": {}}}),
        ({"symmetries": True}, {"augment": {"mixup": {}}}, {"augment": {"policy": "symmetries", "mixup": {}}}),
        ({"augment": {"drop": {"p": 1}}}, {"augment": {"drop": {"p": 0}}}, {"augment": {"drop": {"p": 0}}}),
        ({"augment": {"blur": {"p": 1}}}, {"augment": {"blur": {"x": 1}}}, {"augment": {"blur": {"p": 1, "x": 1}}}),
        ({"augment": {"blur": {}}}, {"augment": "strong"}, {"augment": "strong"}),
        ({"augment": {"blur": {}}}, {"augment": {"policy": "paper"}}, {"augment": {"blur": {}, "policy": "paper"}}),
        ({"epochs": 1}, {"augment": {"blur": {}}}, {"epochs": 1, "augment": {"blur": {}}}),
    ],
)  # fmt: skip
def test_settings_of_augmentation_are_merged(one: dict, other: dict, expected: dict) -> None:
    assert merge_settings(one, other) == expected


def test_a_recipe_and_a_line_may_hold_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TABLE)
    settings = merge_settings(load_recipe(tmp_path / "a.toml"), parse_setting("augment.mixup.p=0.5"))
    config = make_config(settings)
    assert isinstance(config.augment, dict)
    assert config.augment["mixup"] == {"alpha": 0.2, "p": 0.5}


def test_a_setting_has_one_form() -> None:
    assert make_config({"augment": {"policy": "paper"}}) == make_config({"augment": "paper"})
    assert make_config({"augment": {"policy": "symmetries"}}) == make_config({"symmetries": True})
    assert make_config({"augment": {}}) == make_config({})
    given = {"blur": {"sigma": (0, 2)}}
    config = TrainConfig(augment=given)
    given["blur"]["sigma"] = (0, 3)
    assert config == decode_record(TrainConfig, encode_record(config), name="config.json")
    assert config.augment == {"blur": {"sigma": [0, 2]}}
    with pytest.raises(InputError, match="augment.blur.sigma must be a number or"):
        make_config(tomllib.loads("[augment]\nblur = {sigma = 2026-11-27}"))


def test_operations_that_change_nothing_in_the_images_are_named() -> None:
    table = {"drop": {}, "signal_contrast": {}, "blur": {"sigma": [0, 0.5]}, "contrast": {}, "noise": {"p": 0}}
    green = [channel for channel in CHANNELS if channel.role == "signal"]
    for channels, size, idle in (
        (CHANNELS, 512, ["noise"]),
        (CHANNELS, 128, ["blur", "noise"]),
        (green, 512, ["drop", "noise"]),
    ):
        planned = plan_augmentation(table, channels, (512, 512, len(channels)), (size, size), seed=0)
        assert planned is not None
        assert sorted(planned.list_idle()) == idle
