"""The augmentation policies: which operations a copy may get, how likely, and how its transform is drawn. Pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hpa_data.augment.operations import OPERATIONS, Choice, Operation
from hpa_data.augment.options import Policy
from hpa_data.augment.transform import Step, format_transform
from hpa_data.dataset import HPA_2018, Channel
from hpa_data.errors import InputError


class Candidate(NamedTuple):
    """An operation that a policy may draw."""

    operation: Operation
    p: float = 1.0
    """The probability that it is applied once it is drawn."""


def _paper_operations() -> tuple[Candidate, ...]:
    """List the seven operations of the paper, with the probabilities of its text."""
    flip_x = replace(OPERATIONS["mirror"], parameters={"axis": Choice(values=("x",))})
    always = ("crop", "contrast", "noise", "brightness", "affine")
    return (
        Candidate(flip_x, p=0.5),
        Candidate(OPERATIONS["blur"], p=0.5),
        *(Candidate(OPERATIONS[name]) for name in always),
    )


# A policy is a sequence of steps. For each step one of its candidates is drawn, all equally likely. Transforms are
# drawn in this order: changing a policy changes all copies made with it.
POLICIES: dict[Policy, tuple[tuple[Candidate, ...], ...]] = {
    "paper": (_paper_operations(),),
    # A microscope image has no preferred orientation, and membranes bend.
    "strong": (
        (Candidate(OPERATIONS["turn"]),),
        (Candidate(OPERATIONS["mirror"], p=0.5),),
        _paper_operations(),
        (Candidate(OPERATIONS["elastic"], p=0.3),),
        (Candidate(OPERATIONS["drop"], p=0.1),),
    ),
}


def draw_transform(
    policy: Policy,
    *,
    seed: int,
    parent: str,
    number: int,
    channels: Sequence[Channel] = HPA_2018.channels,
    is_square: bool = True,
) -> str:
    """Draw the transform of one copy.

    Parameters
    ----------
    policy : {"paper", "strong"}
        A name in `POLICIES`.
    seed : int
    parent : str
        Id of the sample that is copied.
    number : int
        Index of the copy among those of its parent, from 0.
    channels : sequence of Channel
        Of the data set. An operation that needs a reference channel is not drawn where there is none.
    is_square : bool
        Whether the images are. If not, they are rotated only by 180 degrees.

    Returns
    -------
    str
        See `transform`. It depends on nothing but the arguments.

    Raises
    ------
    InputError
        If there is no such policy.
    """
    if policy not in POLICIES:
        raise InputError(
            f"policy must be one of {', '.join(POLICIES)}. Received: policy={policy!r}. Choose one of them."
        )
    key = json.dumps([seed, parent, number]).encode()  # ids are strings, which SeedSequence does not take
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()))
    steps = []
    for candidates in POLICIES[policy]:
        operation, p = candidates[int(rng.integers(len(candidates)))]
        done = bool(rng.random() < p)
        if operation.is_possible(channels):
            drawn = operation.draw(rng, channels)
            if operation.name == "turn" and not is_square:
                drawn["quarters"] -= drawn["quarters"] % 2
            steps.append(Step(operation, done, drawn))
    return format_transform(steps)
