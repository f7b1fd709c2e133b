"""The transform of an augmented copy: the steps that turn its parent's pixels into its own. Pure.

A transform is one line of JSON, stored with the copy (in the array `recipe`). It holds every number that was drawn, so
that it gives the same pixels at any time, on any machine and in any order: no random state is kept or shared.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.augment.operations import OPERATIONS, Operation
from hpa_data.dataset import HPA_2018, Channel
from hpa_data.errors import InputError

# No policy draws longer transforms, and a damaged store must not keep a processor busy with one.
MAX_STEPS = 16

UNCHANGED = "unchanged"


class Step(NamedTuple):
    """One step of a transform."""

    operation: Operation
    done: bool
    """False where the operation was drawn but, by its probability, is not applied."""
    parameters: Mapping[str, Any]


def format_transform(steps: Iterable[Step]) -> str:
    """Write steps as one line of JSON; `parse_transform` is the inverse."""
    encoded = [{"operation": step.operation.name, "done": step.done, **step.parameters} for step in steps]
    return json.dumps(encoded, separators=(",", ":"))


def parse_transform(transform: str, channels: Sequence[Channel] = HPA_2018.channels) -> list[Step]:
    """Read the steps of a transform of images with these channels.

    Raises
    ------
    InputError
        If it is not a list of known operations, each with all its parameters of the right type.
    """
    try:
        steps = json.loads(transform)
        if not isinstance(steps, list) or len(steps) > MAX_STEPS:
            raise TypeError(f"it is not a list of up to {MAX_STEPS} steps")
        return [_parse_step(step, channels) for step in steps]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"Cannot read the transform {transform[:80]!r}: {str(error)[:80]}. Run `hpa augment` again with "
            "--overwrite."
        ) from error


def _parse_step(step: object, channels: Sequence[Channel]) -> Step:
    if not isinstance(step, dict):
        raise TypeError("a step is not a JSON object")
    name, done = step.get("operation"), step.get("done")
    parameters = {key: value for key, value in step.items() if key not in {"operation", "done"}}
    if name not in OPERATIONS:
        raise ValueError(f"no operation is named {name!r}")
    operation = OPERATIONS[name]
    if type(done) is not bool or not operation.accepts(parameters, channels):
        raise ValueError(f"{name} does not take {parameters}")
    return Step(operation, done, parameters)


def describe_transform(transform: str, channels: Sequence[Channel] = HPA_2018.channels) -> str:
    """Describe a transform of images with these channels in words.

    Examples
    --------
    >>> describe_transform('[{"operation":"brightness","done":true,"factors":[0.9,1,1,1.2]}]')
    'brightness x 0.90 1.00 1.00 1.20'
    """
    words = [step.operation.describe(step.parameters) for step in parse_transform(transform, channels) if step.done]
    return "; ".join(word for word in words if word) or UNCHANGED


def replay(
    image: npt.NDArray[np.uint8], transform: str, channels: Sequence[Channel] = HPA_2018.channels
) -> npt.NDArray[np.uint8]:
    """Apply a transform to an image.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)
        Not modified.
    transform : str
        As stored with a copy.
    channels : sequence of Channel, length C
        Of the data set.

    Returns
    -------
    array of uint8, shape (Y, X, C)
        C-contiguous. Always the same pixels with the same versions of imgaug and OpenCV.

    Raises
    ------
    InputError
        If the transform cannot be read or applied, or the image has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != len(channels):
        raise InputError(
            f"image must be uint8 of shape (Y, X, {len(channels)}). Received: {image.dtype} of shape {image.shape}. "
            "Pass one sample of a store."
        )
    for step in parse_transform(transform, channels):
        if step.done:
            try:
                image = step.operation.transform(image, step.parameters, channels)
            except (ImportError, MemoryError):  # of the machine, not of the transform
                raise
            except Exception as error:  # whatever imgaug and OpenCV raise for parameters that no policy draws
                raise InputError(
                    f"Cannot apply the operation {step.operation.name!r} with {step.parameters}: {error}. Run `hpa "
                    "augment` again with --overwrite."
                ) from error
    return np.ascontiguousarray(image)
