"""The command `hpa recipes`: its options and its text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import show
from hpa_data.commands.options import Json
from hpa_data.errors import InputError

if TYPE_CHECKING:
    from hpa_model.config.library import Recipe


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="A recipe to print, to start your own from. By default all are listed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes of `hpa train`, or print one.

    A recipe is a TOML file of the settings that differ from the defaults.
    """
    from hpa_model.config import list_recipes

    found = {recipe.name: recipe for recipe in list_recipes()}
    if name is None:
        show(list(found.values()), as_json, describe_recipes(list(found.values())))
    elif name in found:
        show(found[name], as_json, found[name].path.read_text(encoding="utf-8").rstrip("\n"))
    else:
        raise InputError(f"name must be one of {', '.join(found)}. Received: {name!r}. Choose one of them.")


def describe_recipes(found: "Sequence[Recipe]") -> str:
    """Describe recipes, one per line."""
    width = max((len(recipe.name) for recipe in found), default=0) + 2
    lines = [f"{recipe.name:<{width}}{recipe.summary}" for recipe in found]
    return "\n".join(
        [*lines, "", "To start your own: `hpa recipes trial > mine.toml`, then `hpa train … --recipe mine.toml`."]
    )
