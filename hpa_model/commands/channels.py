"""The option ``--channels`` of commands that train."""

from typing import Annotated

import typer

from hpa_model.commands.options import SETTINGS

HELP = "Channels to train on, by name and in this order: green, or green,blue; repeatable. By default all."

Channels = Annotated[list[str], typer.Option("--channels", metavar="NAMES", help=HELP)]
RecipeChannels = Annotated[list[str], typer.Option("--channels", metavar="NAMES", help=HELP, rich_help_panel=SETTINGS)]


def split_channels(texts: list[str]) -> list[str]:
    """Split the values of the option; names of channels have no commas.

    Examples
    --------
    >>> split_channels(["green,blue", "red"])
    ['green', 'blue', 'red']
    """
    return [name.strip() for text in texts for name in text.split(",")]
