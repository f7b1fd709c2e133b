"""A transform depends on policy, seed, parent and number alone, and policies draw with their probabilities."""

import hashlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.augment.operations import OPERATIONS
from hpa_data.augment.options import Policy
from hpa_data.augment.policies import POLICIES, draw_transform
from hpa_data.augment.transform import parse_transform
from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError


@given(
    policy=st.sampled_from(get_args(Policy)),
    seed=st.integers(0, 9),
    parent=st.text(max_size=20),
    number=st.integers(0, 2**40),
)
def test_a_drawn_transform_has_a_step_of_each_step_of_its_policy(
    policy: Policy, seed: int, parent: str, number: int
) -> None:
    transform = draw_transform(policy, seed=seed, parent=parent, number=number)
    assert transform == draw_transform(policy, seed=seed, parent=parent, number=number)
    steps = parse_transform(transform)
    assert len(steps) == len(POLICIES[policy])
    for step, candidates in zip(steps, POLICIES[policy], strict=True):
        assert any(candidate.operation.name == step.operation.name for candidate in candidates)


@pytest.mark.parametrize(
    ("policy", "sha256"),
    [
        ("paper", "c62717d097f9d073e534f84428edcb92397c5f9f25ed4590d729e6520c73bc5a"),
        ("strong", "371fab87c18bca60bf5721ae740f635f45d22d5c6e0687073394dce2a4120705"),
    ],
)
def test_transforms_are_those_that_version_0_1_0_drew(policy: Policy, sha256: str) -> None:
    digest = hashlib.sha256()
    for seed in (0, 7):
        for number in range(500):
            digest.update(draw_transform(policy, seed=seed, parent=f"é{number % 61}", number=number).encode())
    assert digest.hexdigest() == sha256


def test_the_paper_s_seven_operations_are_drawn_about_equally_often_and_half_of_flips_applied() -> None:
    drawn = [parse_transform(draw_transform("paper", seed=0, parent=f"s{n}", number=0))[0] for n in range(7000)]
    names = [step.operation.name for step in drawn]
    counts = {name: names.count(name) for name in sorted(set(names))}
    assert sorted(counts) == ["affine", "blur", "brightness", "contrast", "crop", "mirror", "noise"]
    assert all(850 < count < 1150 for count in counts.values())  # 1000 ± 5 standard deviations
    for name, p in {"mirror": 0.5, "blur": 0.5, "crop": 1.0}.items():
        done = [step.done for step in drawn if step.operation.name == name]
        assert abs(np.mean(done) - p) < 0.08
    axes = {step.parameters["axis"] for step in drawn if step.operation.name == "mirror"}
    assert axes == {"x"}
    per_channel = [len(set(step.parameters["factors"])) > 1 for step in drawn if step.operation.name == "brightness"]
    assert abs(np.mean(per_channel) - 0.2) < 0.07


def test_transforms_differ_with_seed_parent_and_number() -> None:
    drawn = {
        draw_transform("strong", seed=seed, parent=parent, number=number)
        for seed in (0, 1)
        for parent in ("a", "b")
        for number in (0, 1)
    }
    assert len(drawn) == 8


def test_a_policy_draws_from_the_table_of_operations_with_choices_that_the_table_accepts() -> None:
    for steps in POLICIES.values():
        for operation, p in (candidate for step in steps for candidate in step):
            assert 0 < p <= 1
            assert operation.parameters.keys() == OPERATIONS[operation.name].parameters.keys()
            for seed in range(20):
                drawn = operation.draw(np.random.default_rng(seed), HPA_2018.channels)
                assert OPERATIONS[operation.name].accepts(drawn, HPA_2018.channels)


def test_every_policy_that_the_command_offers_is_there() -> None:
    assert tuple(POLICIES) == get_args(Policy)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(InputError, match="policy must be one of paper, strong"):
        draw_transform("weak", seed=0, parent="a", number=0)  # type: ignore[arg-type]
