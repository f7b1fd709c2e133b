"""Recipes, files of settings that differ from the defaults, and settings as text. Imports nothing heavy."""

import difflib
import json
import re
import textwrap
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError
from hpa_data.system.files import read_text, refuse_unreadable
from hpa_data.system.records import decode_record
from hpa_model.config.rules import check_choice
from hpa_model.config.settings import CHOICES, DEFAULTS, TrainConfig


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe, a TOML file of settings that differ from the defaults.

    Raises
    ------
    InputError
        If the file cannot be read as TOML. Names and types are checked by `make_config`.
    """
    try:
        return tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        refuse_unreadable(error, path)
        raise InputError(f"Cannot read recipe {path}: {error}. Correct the file.") from error


def encode_recipe(settings: Mapping[str, Any], *, comments: Sequence[str] = ()) -> str:
    r"""Return settings as the text of a recipe, with comments at its top; `read_recipe` reads it.

    Examples
    --------
    >>> print(encode_recipe({"epochs": 25, "options": {"dropout": 0.2}}, comments=["Found."]), end="")
    # Found.
    epochs = 25
    options = { dropout = 0.2 }
    """
    lines = [f"# {line}" for comment in comments for line in textwrap.wrap(_escape(comment), 118, **_WHOLE_WORDS)]
    lines += [f"{_encode_key(name)} = {_encode_value(value)}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


def _escape(comment: str) -> str:
    """Replace what TOML forbids in a comment."""
    return "".join(letter if letter.isprintable() else " " for letter in comment)


def _encode_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _encode_value(value: Any) -> str:
    """Return a value as TOML: in one line, tables as inline ones."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_encode_key(key)} = {_encode_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_encode_value, value))}]"
    # JSON writes numbers, truth values and text as TOML does, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse_setting(text: str) -> dict[str, Any]:
    """Parse one setting as a line of a recipe has it; a word needs no quotes, and a number no digits around its point.

    Raises
    ------
    InputError
        If there is no name, or the value is not TOML.

    Examples
    --------
    >>> parse_setting("optimizer=sgd"), parse_setting("options.stride = 1")
    ({'optimizer': 'sgd'}, {'options': {'stride': 1}})
    """
    name, equals, value = (piece.strip() for piece in text.partition("="))
    quoted = f'"{value}"' if value.replace("_", "").replace("-", "").isalnum() and value[:1].isalpha() else value
    if re.fullmatch(r"[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?", value):  # 1. and .9, which TOML refuses
        value = str(float(value))
    for line in (f"{name} = {value}", f"{name} = {quoted}"):
        try:
            if equals and "\n" not in text:
                return tomllib.loads(line)
        except (ValueError, RecursionError):
            continue
    raise InputError(f"A setting must be NAME=VALUE, as in a recipe. Received: {text!r}. Write loss=f1, for example.")


def parse_image_size(text: str) -> int | tuple[int, int]:
    """Parse a size of images: one number, or rows and columns.

    Raises
    ------
    InputError
        If it is neither.

    Examples
    --------
    >>> parse_image_size("192"), parse_image_size("256x384")
    (192, (256, 384))
    """
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.strip().lower())
    if match is None:
        raise InputError(
            f"image_size must be a number of pixels, or ROWSxCOLUMNS. Received: {text!r}. Write 192 or 256x384, for "
            "example."
        )
    rows, columns = match.groups()
    return int(rows) if columns is None else (int(rows), int(columns))


def format_image_size(image_size: int | tuple[int, int]) -> str:
    """Write a size as `parse_image_size` reads it."""
    return str(image_size) if isinstance(image_size, int) else "x".join(map(str, image_size))


def parse_mix(texts: Sequence[str]) -> dict[str, float]:
    """Parse weights of parts, as the command line has them.

    Raises
    ------
    InputError
        If they are not ``PART=WEIGHT``, separated by commas, each part once.

    Examples
    --------
    >>> parse_mix(["train=1,external=0.5"])
    {'train': 1.0, 'external': 0.5}
    """
    mix: dict[str, float] = {}
    for text in (piece.strip() for piece in ",".join(texts).split(",")):
        name, _, weight = (piece.strip() for piece in text.partition("="))
        try:
            number = float(weight)
        except ValueError:
            number = None
        if not name or number is None:
            raise InputError(
                f"mix must be PART=WEIGHT, separated by commas. Received: {text!r}. Write train=1,external=1, for "
                "example."
            )
        if name in mix:
            raise InputError(f"mix must name each part once. Received: {name!r} twice. Leave one of them out.")
        mix[name] = number
    return mix


def format_mix(mix: Mapping[str, float]) -> str:
    """Write weights of parts as `parse_mix` reads them."""
    return ",".join(f"{name}={weight:g}" for name, weight in mix.items())


def merge_settings(
    settings: Mapping[str, Any], other: Mapping[str, Any], *, tables: Collection[str] = ("options",)
) -> dict[str, Any]:
    """Merge settings; those of `other` win. Options of the network, `tables` and operations are merged one by one."""
    merged = dict(settings) | dict(other)
    for name in tables:
        both = [given[name] for given in (settings, other) if isinstance(given.get(name), Mapping)]
        if len(both) == 2:
            merged[name] = dict(both[0]) | dict(both[1])
    return _merge_augment(merged, settings, other)


def _merge_augment(merged: dict[str, Any], settings: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `augment`, and `symmetries`, which is an older name for one of its words, into merged settings."""
    if "augment" not in other:
        if "symmetries" in other:
            merged.pop("augment", None)
        return merged
    if "symmetries" not in other:
        merged.pop("symmetries", None)
    wanted = other["augment"]
    before = settings.get("augment", "symmetries" if settings.get("symmetries") is True else "none")
    if isinstance(wanted, Mapping):
        table = dict(before) if isinstance(before, Mapping) else {} if before == "none" else {"policy": before}
        for name, value in wanted.items():
            earlier = table.get(name)
            both = isinstance(value, Mapping) and isinstance(earlier, Mapping)
            table[name] = dict(earlier) | dict(value) if both else value  # type: ignore[arg-type]
        merged["augment"] = table
    return merged


# What other programs call some settings, for messages.
ALIASES = {
    **{"lr": "learning_rate", "base_lr": "learning_rate", "bs": "batch_size", "batch": "batch_size"},
    **{"wd": "weight_decay", "l2_decay": "weight_decay", "opt": "optimizer", "optim": "optimizer"},
    **{"arch": "model", "net": "model", "network": "model", "backbone": "model", "criterion": "loss"},
    **{"epoch": "epochs", "n_epochs": "epochs", "num_epochs": "epochs", "max_epochs": "epochs"},
    **{"n_folds": "folds", "num_folds": "folds", "k": "folds", "part": "parts", "random_state": "seed"},
    **{"size": "image_size", "img_size": "image_size", "imgsz": "image_size", "input_size": "image_size"},
    **{"amp": "precision", "fp16": "precision", "bf16": "precision", "dtype": "precision", "gpus": "devices"},
    **{"grad_clip": "clip_norm", "clip": "clip_norm", "patience": "plateau_epochs"},
    **{"augmentation": "augment", "policy": "augment", "mixup": "augment.mixup.alpha"},
    **{"cutmix": "augment.cutmix.alpha", "elastic": "augment.elastic.p"},
    **{"flip": "augment", "jit": "xla", "dropout": "options.dropout", "drop_rate": "options.dropout"},
    **{"stride": "options.stride", "padding": "options.padding", "warmup": "warmup_epochs"},
    **{"ema_decay": "ema", "ema_momentum": "ema", "early_stopping": "stop_epochs", "pos_weight": "class_weights"},
    **{"sampler": "sampling", "oversampling": "sampling", "balanced_sampling": "sampling", "part_weights": "mix"},
    **{"accumulate_grad_batches": "accumulate_batches", "grad_accum": "accumulate_batches"},
    **{"gradient_accumulation_steps": "accumulate_batches", "smoothing": "label_smoothing"},
}


def make_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from plain values, such as those of a recipe.

    Raises
    ------
    InputError
        If a name is unknown, or a value has another type than its default or is out of range.
    """
    known = [each.name for each in fields(TrainConfig)]
    for name, value in settings.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            meant = ALIASES.get(name.lower().replace("-", "_")) or (close[0] if close else "")
            remedy = f"Did you mean {meant!r}?" if meant else "Correct its name."
            raise InputError(f"A setting must be one of {', '.join(known)}. Received: {name!r}. {remedy}")
        if name in CHOICES:
            check_choice(name, value, CHOICES[name])
    _check_tables(settings)
    try:
        # A recipe that leaves a setting out asks for the default, even where an older run that lacks it had another.
        return decode_record(
            TrainConfig, asdict(DEFAULTS) | dict(settings), name="the settings", remedy="Correct the value."
        )
    except InputError as error:
        # The error of the configuration itself is already complete.
        raise error.__cause__ if isinstance(error.__cause__, InputError) else error from None


def _check_tables(settings: Mapping[str, Any]) -> None:
    """Refuse what should be a table, or has values of another kind, in words of a recipe."""
    mix, augment = settings.get("mix", {}), settings.get("augment", "none")
    weights = mix.values() if isinstance(mix, Mapping) else [None]
    if not all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in weights):
        raise InputError(
            f"mix must be a table of parts and weights. Received: mix={mix!r}. Write mix = {{train = 1, "
            "external = 1}, or pass --mix train=1,external=1."
        )
    if not isinstance(augment, str | Mapping):
        raise InputError(
            f"augment must be a word, or a table of operations. Received: augment={augment!r}. Write augment = "
            '"strong", for example.'
        )
