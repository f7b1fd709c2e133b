"""The policies of augmentation on the device, and tables of operations in recipes."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpa_data.augment.operations import ChannelRange, Choice, Range
from hpa_data.augment.policies import POLICIES as COPY_POLICIES
from hpa_data.errors import InputError
from hpa_model.augment.draw import Fixed, Parameter
from hpa_model.augment.kinds import Operation
from hpa_model.augment.operations import OPERATIONS
from hpa_model.augment.options import POLICY_KEY, PolicyName, check_name


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An operation that a policy may draw."""

    operation: Operation
    parameters: Mapping[str, Parameter]

    p: float = 1.0
    """The probability that it is applied, once it is drawn."""


# A policy is a sequence of steps. For each step one of its candidates is drawn, all equally likely.
Policy = tuple[tuple[Candidate, ...], ...]


def _plan_one(name: str, p: float = 1.0) -> tuple[Candidate, ...]:
    """Make the step of one operation."""
    operation = OPERATIONS[name]
    return (Candidate(operation=operation, parameters=operation.parameters, p=p),)


def _follow_copies(name: Any) -> Policy:
    """Take a policy, with its ranges and probabilities, from that of augmented copies."""
    return tuple(
        tuple(
            Candidate(operation=OPERATIONS[each.operation.name], parameters=each.operation.parameters, p=each.p)
            for each in step
        )
        for step in COPY_POLICIES[name]
    )


POLICIES: dict[PolicyName, Policy] = {
    "none": (),
    "symmetries": (_plan_one("symmetry"),),
    "paper": _follow_copies("paper"),
    "strong": (*_follow_copies("strong"), _plan_one("signal_contrast", p=0.3)),
}


def find_policy(augment: str | Mapping[str, Any]) -> Policy:
    """Return the policy of a word, or of a table of operations.

    Parameters
    ----------
    augment : str or mapping
        A name in `POLICIES`; or a table with the parameters of each operation that is applied, by its name: ``p``, its
        probability, 1 by default; and numbers, ranges ``[lowest, highest]`` or words in place of its own. With a
        ``policy``, the operations are added to it, or change those that it has.

    Raises
    ------
    InputError
        If a name is unknown, or a value cannot be used.
    """
    if isinstance(augment, str):
        return POLICIES[check_name(augment)]
    policy = POLICIES[check_name(augment.get(POLICY_KEY, "none"))]
    for name, wanted in augment.items():
        if name != POLICY_KEY:
            policy = _add(policy, name, wanted)
    pairs = [each for step in policy for each in step if each.operation.kind == "pair"]
    if sum(each.p for each in pairs) > 1:
        names = " and ".join(f"{each.operation.name}.p={each.p:g}" for each in pairs)
        raise InputError(
            f"p of mixup and cutmix must add up to at most 1, as a pair of images gets one of them. Received: {names}. "
            "Set both to 0.5, for example."
        )
    return policy


def describe_setting(augment: str | Mapping[str, Any]) -> str:
    """Describe a setting in a few words.

    Examples
    --------
    >>> describe_setting({"policy": "symmetries", "blur": {"p": 0.5, "sigma": [0, 2]}, "mixup": {}})
    'symmetries, with blur (p=0.5, sigma=0 to 2) and mixup'
    """
    if isinstance(augment, str):
        return augment
    named = []
    for name, wanted in augment.items():
        if name != POLICY_KEY:
            values = [f"{key}={_as_words(value)}" for key, value in wanted.items()]
            named.append(f"{name} ({', '.join(values)})" if values else name)
    words = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    policy = augment.get(POLICY_KEY, "none")
    return words if policy == "none" else f"{policy}, with {words}" if words else policy


def _as_words(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return _as_toml(value)
    return (" to " if all(_is_number(each) for each in value) else " or ").join(map(_as_toml, value))


def mixes_labels(augment: str | Mapping[str, Any]) -> bool:
    """Tell whether images are mixed with others, so that labels lie between 0 and 1."""
    return any(each.operation.kind == "pair" for step in find_policy(augment) for each in step)


def _add(policy: Policy, name: str, wanted: object) -> Policy:
    """Add an operation to a policy, or change that of its name."""
    if name not in OPERATIONS:
        close = difflib.get_close_matches(name, OPERATIONS, 1)
        remedy = f"Did you mean {close[0]!r}?" if close else "Correct its name."
        raise InputError(
            f"An operation of augment must be one of {', '.join(OPERATIONS)}. Received: {name!r}. {remedy}"
        )
    if not isinstance(wanted, Mapping):
        raise InputError(
            f"augment.{name} must be a table. Received: {wanted!r}. Write {name} = {{p = 0.5}}, for example."
        )
    candidates = [each for step in policy for each in step if each.operation.name == name] or _plan_one(name)
    changed = {id(each): _change(each, wanted) for each in candidates}
    if changed and all(id(each) not in changed for step in policy for each in step):
        return (*policy, tuple(changed.values()))
    return tuple(tuple(changed.get(id(each), each) for each in step) for step in policy)


def _change(candidate: Candidate, wanted: Mapping[str, Any]) -> Candidate:
    """Give an operation other parameters and another probability."""
    operation, parameters = candidate.operation, dict(candidate.parameters)
    known = [name for name, each in parameters.items() if isinstance(each, Range | ChannelRange | Choice | Fixed)]
    for name, value in wanted.items():
        where = f"augment.{operation.name}.{name}"
        if name == "p":
            if not _is_number(value) or not 0 <= value <= 1:
                raise InputError(f"{where} must be from 0 to 1. Received: {value!r}. Pass another number.")
            candidate = replace(candidate, p=float(value))
        elif name in known:
            limits = operation.limits.get(name, (0.0, 1.0))
            parameters[name] = _parse(parameters[name], operation.parameters[name], where, value, limits)
        else:
            close = difflib.get_close_matches(name, ["p", *known], 1)
            remedy = f"Did you mean {close[0]!r}?" if close else "Correct its name."
            raise InputError(
                f"A parameter of augment.{operation.name} must be one of {', '.join(['p', *known])}. Received: "
                f"{name!r}. {remedy}"
            )
    return replace(candidate, parameters=parameters)


def _parse(parameter: Parameter, full: Parameter, where: str, value: Any, limits: tuple[float, float]) -> Parameter:
    """Parse the value that a table has for a parameter; `full` is that of the operation itself."""
    if isinstance(parameter, Choice) and isinstance(full, Choice):
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or not all(full.accepts(each, ()) for each in values):
            words = ", ".join(_as_toml(each) for each in full.values)
            raise InputError(f"{where} must be one of {words}, or a list of them. Received: {value!r}. Correct it.")
        return replace(parameter, values=values)
    numbers = value if isinstance(value, list | tuple) and not isinstance(parameter, Fixed) else (value,)
    n_most = 1 if isinstance(parameter, Fixed) else 2
    lowest, highest = limits
    if not 1 <= len(numbers) <= n_most or not all(_is_number(x) and lowest <= x <= highest for x in numbers):
        shape = "a number" if n_most == 1 else "a number or [lowest, highest]"
        raise InputError(f"{where} must be {shape}, from {lowest:g} to {highest:g}. Received: {value!r}. Correct it.")
    if numbers[0] > numbers[-1]:
        raise InputError(f"{where} must be [lowest, highest]. Received: {value!r}. Swap the two.")
    if isinstance(parameter, Range | ChannelRange):
        return replace(parameter, low=float(numbers[0]), high=float(numbers[-1]))
    return Fixed(value=float(numbers[0]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
