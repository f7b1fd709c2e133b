"""What a search varies: settings and options of the network, as lists of values or as ranges."""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from hpa_data.errors import InputError
from hpa_model.config import DEFAULTS, TrainConfig, make_config, merge_settings, parse_image_size, parse_setting
from hpa_model.config.recipes import ALIASES

if TYPE_CHECKING:
    from hpa_model.nets.catalog import Net

OPTIONS = "options."
# Settings that are tables, of which an entry may be varied.
_TABLES = ("augment", "mix")
_EXAMPLE = "Write dropout=0.2,0.4 or learning_rate=log:1e-4..1e-2, for example."
# Scores of trials over other validation samples cannot be compared, and a leak would win.
_OF_VALIDATION = ("parts", "folds", "validation", "fold_method", "duplicates", "legacy_leak")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(log:)?\s*({_NUMBER})\s*\.\.\s*({_NUMBER})")


@dataclass(frozen=True, kw_only=True)
class Varied:
    """A setting that is varied: a list of values, or a range."""

    name: str
    """That of the setting; of an option of the network, ``options.NAME``; of an entry of a table, such as
    ``augment.mixup.alpha``."""

    values: tuple[Any, ...] = ()
    """JSON values, in the order given; empty for a range."""

    low: float = 0.0
    high: float = 0.0
    """The ends of a range, which belong to it."""

    is_log: bool = False
    """Whether the logarithm is drawn evenly."""

    is_integer: bool = False
    """Whether a range has whole numbers alone."""

    def __post_init__(self) -> None:
        """Check that it is a list or a range; ValueError if not."""
        if not self.values and not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.name} must have values, or a range. Received: {self.low}..{self.high}")

    @property
    def n_values(self) -> int | None:
        """How many values it can have; None if endlessly many."""
        if self.values:
            return len(self.values)
        return int(self.high) - int(self.low) + 1 if self.is_integer else None

    def describe(self) -> str:
        """Write it as `parse_space` reads it."""
        if self.values:
            return f"{self.name}={','.join(map(format_value, self.values))}"
        ends = (int(self.low), int(self.high)) if self.is_integer else (self.low, self.high)
        return f"{self.name}={'log:' if self.is_log else ''}{format_value(ends[0])}..{format_value(ends[1])}"


def count_points(space: Sequence[Varied]) -> int | None:
    """Count the combinations of all values; None if there are endlessly many."""
    counts = [varied.n_values for varied in space]
    return None if None in counts else math.prod(count or 1 for count in counts)


def format_value(value: Any) -> str:
    """Write a value of a setting for people.

    Examples
    --------
    >>> [format_value(value) for value in (0.001, 12, True, "adam", [64, 96], ["green", "blue"])]
    ['0.001', '12', 'true', 'adam', '64x96', '["green", "blue"]']
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def nest_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of varied settings as a recipe has them.

    Examples
    --------
    >>> nest_settings({"learning_rate": 0.1, "options.dropout": 0.2})
    {'learning_rate': 0.1, 'options': {'dropout': 0.2}}
    >>> nest_settings({"augment.mixup.alpha": 0.2, "augment.mixup.p": 0.5, "mix.train": 2.0})
    {'augment': {'mixup': {'alpha': 0.2, 'p': 0.5}}, 'mix': {'train': 2.0}}
    """
    settings: dict[str, Any] = {}
    for name, value in values.items():
        place = settings
        *tables, last = name.split(".") if name.startswith("augment.") else name.split(".", 1)
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return settings


def merge_varied(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values of varied settings into others; of a table that has a varied entry, the other entries stay."""
    tables = {name.partition(".")[0] for name in values if "." in name}
    return merge_settings(settings, nest_settings(values), tables={"options", *tables})


def parse_space(texts: Sequence[str], settings: Mapping[str, Any]) -> tuple[Varied, ...]:
    """Parse what is varied.

    Parameters
    ----------
    texts : sequence of str
        ``NAME=A,B,…``, ``NAME=LOW..HIGH`` or ``NAME=log:LOW..HIGH``; the name is that of a setting, or of an option of
        the network that no setting is called.
    settings : mapping
        Those of the recipe, which names the network.

    Raises
    ------
    InputError
        If a name is unknown, or a value is not one of its setting.
    """
    from hpa_model.nets.catalog import find_net  # which loads Keras

    given: dict[str, str] = {}
    for text in texts:
        name, equals, values = (piece.strip() for piece in text.partition("="))
        if not (name and equals and values.strip(", ")):
            raise InputError(f"vary must be NAME=VALUES. Received: {text!r}. {_EXAMPLE}")
        if name in given:
            raise InputError(f"vary must name each setting once. Received: {name!r} twice. Join its values by commas.")
        given[name] = values
    models = [settings.get("model", DEFAULTS.model)]
    if "model" in given:
        models = list(_parse_values("model", given["model"], str))
    networks = {model: find_net(model) for model in models}
    names = [_find_name(name, networks) for name in given]
    if len(set(names)) < len(names):
        raise InputError(f"vary must name each setting once. Received: {', '.join(given)}. Join values by commas.")
    for name in names:
        entry = next((other for other in names if other.startswith(f"{name}.")), "")
        if entry:
            raise InputError(f"vary must name a table, or entries of it. Received: {name} and {entry}. Leave one out.")
    space = tuple(_parse_varied(name, values, networks) for name, values in zip(names, given.values(), strict=True))
    for varied in space:
        for value in varied.values or (varied.low, varied.high):
            _check_value(varied, value, networks)
    return space


def _find_name(name: str, networks: "Mapping[str, Net]") -> str:
    """Return the name of a setting, ``options.NAME`` for an option that each of the networks has."""
    known = [each.name for each in fields(TrainConfig) if each.name != "options"]
    if name in _OF_VALIDATION:
        raise InputError(
            f"{name} must be the same in all trials: scores over other validation samples cannot be compared. "
            f"Received: --vary {name}. Set it for all: --set {name}=…."
        )
    if name.startswith("finetune_"):
        raise InputError(
            f"{name} must not be varied: trials are not fine-tuned. Received: --vary {name}. Fine-tune the best run "
            "with `hpa finetune`."
        )
    if name in known or _is_entry(name):
        return name
    option = name.removeprefix(OPTIONS)
    shared = [
        key for key in next(iter(networks.values())).options if all(key in net.options for net in networks.values())
    ]
    if option in shared:
        return OPTIONS + option
    meant = ALIASES.get(name.lower().replace("-", "_"), "")
    if meant.startswith(OPTIONS):  # which these networks do not have
        meant = ""
    close = difflib.get_close_matches(name.replace("-", "_"), [*known, *shared, *(OPTIONS + key for key in shared)], 1)
    meant = meant or (close[0] if close else "")
    remedy = f"Did you mean {meant!r}?" if meant else "Correct its name; `hpa models` lists options of networks."
    raise InputError(
        f"vary must name a setting of a recipe, or an option of {' and '.join(networks)}: "
        f"{', '.join(shared) or 'none'}. Received: {name!r}. {remedy}"
    )


def _is_entry(name: str) -> bool:
    """Tell whether a name is that of an entry of a table; InputError for an operation without its parameter."""
    table, _, entry = name.partition(".")
    if table == "augment" and entry and entry != "policy" and "." not in entry:
        raise InputError(
            f"vary must name a parameter of an operation. Received: {name!r}. Write augment.{entry}.p=0.5,1, for "
            "example."
        )
    return table in _TABLES and bool(entry)


def _parse_varied(name: str, text: str, networks: "Mapping[str, Net]") -> Varied:
    """Parse the values of a setting."""
    if name.startswith(OPTIONS):
        kind: Any = type(next(iter(networks.values())).options[name.removeprefix(OPTIONS)])
    elif "." in name:
        kind = str if name == "augment.policy" else float
    else:
        kind = next(each.type for each in fields(TrainConfig) if each.name == name)
    if text.startswith("log:") or ".." in text:
        return _parse_range(name, text, kind)
    values = _parse_values(name, text, kind)
    if any(value in values[:place] for place, value in enumerate(values)):
        raise InputError(f"{name} must have different values. Received: {name}={text}. Name each value once.")
    return Varied(name=name, values=values)


def _parse_range(name: str, text: str, kind: Any) -> Varied:
    if kind not in {int, float} and int not in get_args(kind):
        raise InputError(
            f"{name} must have a list of values, since it is no number. Received: {name}={text}. Join its values by "
            "commas."
        )
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError(f"A range must be LOW..HIGH or log:LOW..HIGH. Received: {name}={text}. {_EXAMPLE}")
    is_log, low, high = bool(match[1]), float(match[2]), float(match[3])
    is_integer = kind is not float
    if not low < high or not math.isfinite(high - low):
        raise InputError(f"A range must begin below its end. Received: {name}={text}. Exchange or correct the ends.")
    if is_integer and not (low.is_integer() and high.is_integer()):
        raise InputError(f"{name} must be whole numbers. Received: {name}={text}. Correct the ends of the range.")
    if is_log and low <= 0:
        raise InputError(f"A range of logarithms must begin above 0. Received: {name}={text}. Raise its lower end.")
    return Varied(name=name, low=low, high=high, is_log=is_log, is_integer=is_integer)


def _parse_values(name: str, text: str, kind: Any) -> tuple[Any, ...]:
    items = _split(text)
    if not all(items):
        raise InputError(f"{name} must have a value between two commas. Received: {name}={text}. Correct the list.")
    return tuple(_parse_value(name, item, kind) for item in items)


def _split(text: str) -> list[str]:
    """Split a list at its commas, but not at those inside brackets or quotes.

    Examples
    --------
    >>> _split('["green", "blue"], ["red"], 3')
    ['["green", "blue"]', '["red"]', '3']
    """
    items, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += 0 if quote else (letter in "[{") - (letter in "]}")
        if letter == "," and not quote and not depth:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items]


def _parse_value(name: str, text: str, kind: Any) -> Any:
    """Parse one value of a setting of a type; its JSON value."""
    if kind is str or get_origin(kind) is Literal:
        return text.strip("\"'")
    if kind is bool and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if name == "image_size" and not text.startswith("["):
        size = parse_image_size(text)
        return size if isinstance(size, int) else list(size)
    value: Any = parse_setting(f"{name}={text}")
    for key in name.split("."):
        value = value[key]
    if kind is float and isinstance(value, list):  # a range of a parameter; whole numbers would be taken for a size
        return [float(item) if type(item) is int else item for item in value]
    if kind is float and type(value) is int:
        return float(value)
    # A word stands for a list of one, such as a channel.
    return [value] if get_origin(kind) is tuple and isinstance(value, str) else value


def _check_value(varied: Varied, value: Any, networks: "Mapping[str, Net]") -> None:
    """Refuse a value that is wrong whatever the others are: InputError. Others may be refused in their trial."""
    from hpa_model.nets.catalog import check_options

    name = varied.name
    if varied.is_integer and not varied.values:
        value = int(value)
    if name.startswith(OPTIONS):
        for model, net in networks.items():
            check_options(model, net, {name.removeprefix(OPTIONS): value})
        return
    try:
        make_config(nest_settings({name: value}))
    except InputError as error:
        if "." in name or str(error).startswith((f"{name} must", f"Cannot read the settings: {name}")):
            raise
