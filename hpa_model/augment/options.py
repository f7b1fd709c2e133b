"""The policies of augmentation on the device by name. Imports nothing heavy."""

import difflib
import json
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from hpa_data.errors import InputError

PolicyName = Literal["none", "symmetries", "paper", "strong"]
# A table of operations may start from a policy, under this key.
POLICY_KEY = "policy"
# Of a seed in a row of numbers: an integer that a float32 holds exactly.
SEED_BITS = 24


def check_name(name: object) -> PolicyName:
    """Return the name of a policy; InputError if it is none."""
    names = get_args(PolicyName)
    if name not in names:
        close = difflib.get_close_matches(str(name), names, 1)
        remedy = f"Did you mean {close[0]!r}?" if close else "Choose one of them, or make a table of operations."
        raise InputError(f"augment must be one of {', '.join(names)}. Received: augment={name!r}. {remedy}")
    return cast(PolicyName, name)


def settle_augment(augment: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Return the one form of a setting: a word, or a table as a recipe has it that does more than name a policy.

    Examples
    --------
    >>> settle_augment({"policy": "paper"}), settle_augment({}), settle_augment({"blur": {"sigma": (0, 2)}})
    ('paper', 'none', {'blur': {'sigma': [0, 2]}})
    """
    if isinstance(augment, str):
        return augment
    table = dict(json.loads(json.dumps(augment, default=str)))
    return cast(str, table.get(POLICY_KEY, "none")) if set(table) <= {POLICY_KEY} else table
