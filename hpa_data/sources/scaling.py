"""How raw values become 8 bits, as a user writes it. Imports nothing heavy, so that the command line can offer it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from hpa_data.errors import InputError

Method = Literal["full", "bits", "window", "minmax", "percentile", "dataset-percentile"]

# How each method is written, for messages and help texts.
FORMS = "full, bits=N, window=LOW:HIGH, minmax, percentile[=LOW,HIGH], dataset-percentile[=LOW,HIGH]"

# 0.1 % of the pixels at either end may be dead or hot and are clipped.
PERCENTILES = (0.1, 99.9)

MAX_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What becomes black and white in the planes of a channel."""

    method: Method
    """``full``: 0 and the value of white, see `image_file.ImageFile.max_value`. ``bits``, ``window``: `low` and `high`.
    ``minmax``: the lowest and the highest pixel of each plane. ``percentile``: percentiles of each plane.
    ``dataset-percentile``: percentiles of all planes of the channel together."""

    low: float = 0
    """A raw value of the file (where planes of it are added up, of their mean), or a percentile in 0..100."""

    high: float = 0


FULL = Scaling(method="full")


@cache
def parse_scaling(text: str) -> Scaling:
    """Read a scaling in one of the `FORMS`.

    Raises
    ------
    InputError
        If it is in none of them, or its numbers are not allowed.

    Examples
    --------
    >>> parse_scaling("window=200:4000")
    Scaling(method='window', low=200.0, high=4000.0)
    >>> parse_scaling("percentile")
    Scaling(method='percentile', low=0.1, high=99.9)
    """
    name, has_numbers, numbers = text.strip().partition("=")
    if name not in get_args(Method) or bool(has_numbers) < (name in {"bits", "window"}):
        raise _not_allowed(f"one of {FORMS}", text, "Choose one.")
    if name == "bits":
        if not (numbers.isascii() and numbers.isdigit() and 1 <= int(numbers[:9]) <= MAX_BITS):
            raise _not_allowed(f"a whole number of bits from 1 to {MAX_BITS}", text, "Use bits=12, for example.")
        return Scaling(method="bits", high=2 ** int(numbers) - 1)
    if name == "window":
        low, high = _parse_pair(numbers, ":")
        if not low < high:
            raise _not_allowed("two numbers, the first one less", text, "Use window=200:4000, for example.")
        return Scaling(method="window", low=low, high=high)
    if name in {"percentile", "dataset-percentile"}:
        low, high = _parse_pair(numbers, ",") if has_numbers else PERCENTILES
        if not 0 <= low < high <= 100:
            raise _not_allowed("two percentiles from 0 to 100, the first one less", text, f"Use {name}=0.1,99.9.")
        return Scaling(method="percentile" if name == "percentile" else "dataset-percentile", low=low, high=high)
    if has_numbers:
        raise _not_allowed(f"{name} without numbers", text, f"Use {name}.")
    return FULL if name == "full" else Scaling(method="minmax")


def split_intensities(values: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Tell the scaling of all channels, if there is one, from those of single channels: ``green=window=200:4000``.

    Raises
    ------
    InputError
        If two are for the same channel, or two for all.

    Examples
    --------
    >>> split_intensities(["percentile", "green=bits=12"])
    ('percentile', {'green': 'bits=12'})
    """
    general: str | None = None
    channels: dict[str, str] = {}
    for value in map(str.strip, values):
        name, has_more, rest = value.partition("=")
        if name in get_args(Method) or not has_more:
            if general is not None:
                raise _not_allowed("given once for all channels", f"{general}, {value}", "Leave one out.")
            general = value
        elif name.strip() in channels:
            raise _not_allowed("given once for each channel", value, "Leave one out.")
        else:
            channels[name.strip()] = rest.strip()
        parse_scaling(value if general is value else rest)
    return general, channels


def _parse_pair(text: str, separator: str) -> tuple[float, float]:
    """Read two finite numbers; two that are not a number where the text is something else."""
    try:
        low, high = (float(word) for word in text.split(separator))
    except ValueError:
        return math.nan, math.nan
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


def _not_allowed(rule: str, text: str, remedy: str) -> InputError:
    return InputError(f"intensity must be {rule}. Received: intensity={text[:80]!r}. {remedy}")
