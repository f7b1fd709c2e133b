"""The command lines that findings end with."""

import contextlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

from hpa_model.bench.doctor.facts import RunFacts
from hpa_model.config import DEFAULTS, TrainConfig, format_image_size, list_recipes, make_config

# Commands that make runs, and go on with them.
RESUMED = ("baseline", "demo", "ensemble", "finetune", "pretrain", "sweep", "train")
# Settings that have an option of their own, which is shorter than --set.
_FLAGS = ("batch_size", "epochs", "folds", "learning_rate", "loss", "model", "precision", "sampling", "seed")
# Its start, perhaps after an option's name, and as `Path` leaves it; user and password; host and path; the rest.
_URL = re.compile(r"((?:^|(?<==))[A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?:[^/?#]*@)?([^?#]*).*", re.DOTALL)


def quote(*words: str) -> str:
    """Join words to a command line that a shell takes apart again.

    Examples
    --------
    >>> quote("hpa", "verify", "my store.zarr")
    "hpa verify 'my store.zarr'"
    """
    return shlex.join(words)


def hide_secrets(word: str) -> str:
    """Leave out of a URL what may be a secret, its user, password and query. Other words stay as they are.

    Examples
    --------
    >>> hide_secrets("https://me:word@host/a.zarr?token=1"), hide_secrets("me@home/a?.zarr")
    ('https://host/a.zarr', 'me@home/a?.zarr')
    """
    return _URL.sub(r"\1\2", word)


def train_again(run: RunFacts, *, suffix: str, options: tuple[str, ...] = (), **changes: Any) -> str:
    """Return the command that makes a run like this one beside it, with some settings changed.

    Parameters
    ----------
    run : RunFacts
    suffix : str
        Of the new run's name.
    options : tuple of str
        Words that are no settings.
    changes : setting values
        By their names.
    """
    settings = write_settings(replace(run.config, **changes), run)
    return quote("hpa", "train", run.store, *settings, *_weights(run), *options, "--out", run.path + suffix)


def make_again(run: RunFacts, *, suffix: str, **changes: Any) -> str:
    """Return the command that makes a run of any kind again beside it; settings are changed for networks alone."""
    if run.kind == "network":
        return train_again(run, suffix=suffix, **changes)
    if run.kind == "ensemble":  # its members first
        return quote("hpa", "ensemble", f"MEMBER{suffix}", f"MEMBER{suffix}", "--out", run.path + suffix)
    words = _write_all({"folds": run.config.folds, "seed": run.config.seed}, DEFAULTS)
    return quote("hpa", "baseline", run.store, *list_parts(run.config.parts), *words, "--out", run.path + suffix)


def list_parts(parts: Sequence[str]) -> list[str]:
    """List the options that name parts of a store, none where they are the default of all commands."""
    return [] if tuple(parts) == DEFAULTS.parts else [word for name in parts for word in ("--part", name)]


def train_recipe(run: RunFacts, recipe: str, base: str, *, suffix: str) -> str:
    """Return the command that makes a run like this one with what a recipe changes of another recipe, its base."""
    ours, others = _list_shipped()[recipe], _list_shipped()[base]
    names = [each.name for each in fields(TrainConfig) if getattr(ours, each.name) != getattr(others, each.name)]
    changes = {name: getattr(ours, name) for name in names}
    return train_again(run, suffix=suffix, **(changes | {"epochs": max(run.config.epochs, ours.epochs)}))


def resume(run: RunFacts) -> str:
    """Return the command that goes on with a run that is not finished.

    A run may come from a stranger, and its command is there to be copied into a shell. So it is taken apart to the
    words of one command of `hpa`, and quoted anew; where that is not possible, it is made from the settings.
    """
    with contextlib.suppress(ValueError):  # quotes that are not closed
        program, command, *words = shlex.split(run.command)
        if program == "hpa" and command in RESUMED and all(map(str.isprintable, words)):
            return quote(program, command, *map(hide_secrets, words))
    return quote("hpa", "train", run.store, *write_settings(run.config, run), *_weights(run), "--out", run.path)


def write_settings(config: TrainConfig, run: RunFacts) -> list[str]:
    """Write settings as options, beside the recipe that makes the fewest of them necessary."""
    bases = {**_list_shipped(), **({run.recipe: run.of_recipe} if run.recipe else {})}
    found = [_write_differing(config, DEFAULTS)]
    found += [["--recipe", name, *_write_differing(config, base)] for name, base in bases.items()]
    return min(found, key=len)


@cache
def _list_shipped() -> dict[str, TrainConfig]:
    """List the settings of the recipes that come with the package, by name."""
    return {recipe.name: make_config(recipe.settings) for recipe in list_recipes()}


def _weights(run: RunFacts) -> list[str]:
    return ["--weights", run.weights] if run.weights else []


def _write_differing(config: TrainConfig, base: TrainConfig) -> list[str]:
    return _write_all({each.name: getattr(config, each.name) for each in fields(TrainConfig)}, base)


def _write_all(values: Mapping[str, Any], base: TrainConfig) -> list[str]:
    """Write the values that differ from those of a base."""
    return [
        word
        for name, value in values.items()
        if value != (before := getattr(base, name))
        for word in _write(name, value, before)
    ]


def _write(name: str, value: Any, before: Any) -> list[str]:
    if name == "parts":
        return [word for part in value for word in ("--part", part)]
    if name == "image_size":
        return ["--image-size", format_image_size(value)]
    if name in _FLAGS:
        return ["--" + name.replace("_", "-"), str(value)]  # of a float, all digits that tell it from others
    if isinstance(value, dict):
        known = before if isinstance(before, dict) else {}
        changed = {key: item for key, item in value.items() if key not in known or item != known[key]}
        return [word for key, item in changed.items() for word in _write(f"{name}.{key}", item, None)]
    if isinstance(value, tuple):
        value = list(value)
    is_word = isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum()
    return ["--set", f"{name}={value if is_word else json.dumps(value)}"]
