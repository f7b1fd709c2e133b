"""What is done to copies: the tables of ranges, and recipes drawn from them. Pure.

A recipe holds every number that was drawn, so that it does the same whenever, wherever and in whatever order it is
carried out (`operations`): nothing keeps or shares a random state.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpa_data.dataset import CHANNELS
from hpa_data.errors import InputError

# Beyond these no recipe has a sense; imgaug would take for ever.
MAX_PARAMETER = 100
MAX_STEPS = 16

# Digits that a recipe keeps of a parameter: a ten-thousandth of a pixel at the border of an image.
DIGITS = 7


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers drawn evenly between two bounds.

    Attributes
    ----------
    low, high : float
    n : int
        How many numbers make the parameter; one is a number, more a list.
    apart : float
        The probability that each of them is drawn on its own; they are the same otherwise.
    """

    low: float
    high: float
    n: int = 1
    apart: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One value of several, each as likely as the others."""

    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """An operation that may be drawn.

    Attributes
    ----------
    operation : str
        A name in `operations.OPERATIONS`.
    p : float
        The probability that it is then done at all.
    ranges : dict of str to Range or Choice
        Where each of its parameters comes from. Operations with noise have a seed besides.
    """

    operation: str
    p: float = 1.0
    ranges: Mapping[str, Range | Choice]


# One of these is drawn for each copy. Probabilities, blur, contrast and brightness are in the text of the paper (2018,
# section "Preprocessing"), the levels of noise in a public script of its time. It gives no numbers for crop and affine:
# those are of the example that imgaug's documentation opens with, which the text follows line by line.
PAPER = (
    Draw(operation="mirror", p=0.5, ranges={"axis": Choice(values=("x",))}),
    Draw(operation="blur", p=0.5, ranges={"sigma": Range(low=0, high=0.5)}),  # pixels
    Draw(operation="crop", ranges={"sides": Range(low=0, high=0.1, n=4)}),  # shares: top, right, bottom, left
    Draw(operation="contrast", ranges={"factor": Range(low=0.5, high=1.5)}),
    Draw(
        operation="noise",
        ranges={"sigma": Range(low=0, high=0.05 * 255), "per_channel": Choice(values=(False, True))},  # gray levels
    ),
    Draw(operation="brightness", ranges={"factors": Range(low=0.8, high=1.2, n=len(CHANNELS), apart=0.2)}),
    Draw(
        operation="affine",
        ranges={
            "scale": Range(low=0.8, high=1.2, n=2),  # x, y
            "translate": Range(low=-0.2, high=0.2, n=2),  # shares of the size: x, y
            "rotate": Range(low=-25, high=25),  # degrees
            "shear": Range(low=-8, high=8),  # degrees
        },
    ),
)

# A microscope has no up and no left, and membranes bend. The protein's channel is never dropped: it is what the labels
# are about.
ORIENTATION = (
    Draw(operation="turn", ranges={"quarters": Choice(values=(0, 1, 2, 3))}),
    Draw(operation="mirror", p=0.5, ranges={"axis": Choice(values=("x", "y"))}),
)
ELASTIC = Draw(
    operation="elastic",
    p=0.3,
    ranges={"alpha": Range(low=20, high=80), "sigma": Range(low=6, high=10)},  # pixels
)
DROPOUT = Draw(
    operation="drop",
    p=0.1,
    ranges={"channel": Choice(values=tuple(name for name in CHANNELS if name != "green"))},
)

# A policy is a sequence of steps; for each, one of its draws is taken.
POLICIES: dict[str, tuple[tuple[Draw, ...], ...]] = {
    "paper": (PAPER,),
    "strong": (*((draw,) for draw in ORIENTATION), PAPER, (ELASTIC,), (DROPOUT,)),
}

UNCHANGED = "unchanged"

NOISY = ("noise", "elastic")


def draw_transform(policy: str, *, seed: int, parent: str, number: int) -> str:
    """Draw what is to be done to one copy.

    Parameters
    ----------
    policy : str
        A name in `POLICIES`.
    seed : int
    parent : str
        Id of the sample that is copied.
    number : int
        Of the copy among those of its parent, from 0.

    Returns
    -------
    str
        One line of JSON: a list of steps, each with the name of its operation, ``done`` and the parameters. A function
        of the arguments alone.

    Raises
    ------
    InputError
        If there is no such policy.
    """
    if policy not in POLICIES:
        raise InputError(
            f"policy must be one of {', '.join(POLICIES)}. Received: policy={policy!r}. Choose one of them."
        )
    told = json.dumps([seed, parent, number]).encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(told).digest()))
    steps = []
    for draws in POLICIES[policy]:
        draw = draws[int(rng.integers(len(draws)))]
        step: dict[str, Any] = {"operation": draw.operation, "done": bool(rng.random() < draw.p)}
        step |= {name: _draw_parameter(rng, where) for name, where in draw.ranges.items()}
        if draw.operation in NOISY:
            step["seed"] = int(rng.integers(2**31))
        steps.append(step)
    return json.dumps(steps, separators=(",", ":"))


def _draw_parameter(rng: np.random.Generator, where: Range | Choice) -> Any:
    if isinstance(where, Choice):
        return where.values[int(rng.integers(len(where.values)))]
    drawn = [round(float(number), DIGITS) for number in rng.uniform(where.low, where.high, where.n)]
    if where.n == 1:
        return drawn[0]
    return drawn if rng.random() < where.apart else drawn[:1] * where.n


def read_recipe(recipe: str) -> list[dict[str, Any]]:
    """Read the steps of a recipe; InputError unless its operations and their parameters are known."""
    try:
        steps = json.loads(recipe)
        if not isinstance(steps, list) or len(steps) > MAX_STEPS:
            raise TypeError(f"it is no list of up to {MAX_STEPS} steps")
        for step in steps:
            if not any(_is_drawn_from(draw, step) for draw in _DRAWS if draw.operation == step["operation"]):
                raise ValueError(f"{step['operation']} with {sorted(step)}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"A recipe must be a list of known operations with their parameters. Received: {recipe[:80]!r}: "
            f"{str(error)[:80]}. Make the copies again."
        ) from error
    return steps


def _is_drawn_from(draw: Draw, step: dict[str, Any]) -> bool:
    """Tell whether a step has the parameters of a draw, each of its kind."""
    has_seed = draw.operation in NOISY
    if set(step) != {"operation", "done", *draw.ranges, *(["seed"] if has_seed else [])}:
        return False
    if type(step["done"]) is not bool or (has_seed and not (type(step["seed"]) is int and 0 <= step["seed"] < 2**31)):
        return False
    return all(_fits(step[name], where) for name, where in draw.ranges.items())


def _fits(value: Any, where: Range | Choice) -> bool:
    """Tell whether a parameter is of the kind that its range gives, and no number beyond all reason.

    Not whether it lies in the range: recipes must outlive a change of the tables.
    """
    if isinstance(where, Choice):
        return any(type(value) is type(known) and value == known for known in where.values)
    values = value if isinstance(value, list) else [value]
    return len(values) == where.n and all(type(x) in {int, float} and abs(x) <= MAX_PARAMETER for x in values)


def describe_transform(recipe: str) -> str:
    """Say a recipe in words: ``rotate 13°, shear -4°, scale 0.90 x 1.10, shift 10 x -5 %``."""
    words = [_WORDS[step["operation"]](step) for step in read_recipe(recipe) if step["done"]]
    return "; ".join(word for word in words if word) or UNCHANGED


def _describe_brightness(factors: Sequence[float]) -> str:
    told = [f"{factor:.2f}" for factor in factors]
    return "brightness x " + " ".join(told[:1] if len(set(factors)) == 1 else told)


_DRAWS = [draw for steps in POLICIES.values() for draws in steps for draw in draws]

_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "mirror": lambda step: f"mirror along {step['axis']}",
    "turn": lambda step: f"turn by {90 * step['quarters']}°" if step["quarters"] else "",
    "blur": lambda step: f"blur, sigma {step['sigma']:.2f} px",
    "crop": lambda step: "crop " + " ".join(f"{100 * side:.0f}" for side in step["sides"]) + " %",
    "contrast": lambda step: f"contrast x {step['factor']:.2f}",
    "noise": lambda step: f"noise, sigma {step['sigma']:.1f}" + (", each channel" if step["per_channel"] else ""),
    "brightness": lambda step: _describe_brightness(step["factors"]),
    "affine": lambda step: (
        f"rotate {step['rotate']:z.0f}°, shear {step['shear']:z.0f}°, scale {step['scale'][0]:.2f} x "
        f"{step['scale'][1]:.2f}, shift {100 * step['translate'][0]:z.0f} x {100 * step['translate'][1]:z.0f} %"
    ),
    "elastic": lambda step: f"elastic, {step['alpha']:.0f} px over {step['sigma']:.0f} px",
    "drop": lambda step: f"without {step['channel']}",
}
