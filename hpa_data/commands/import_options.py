"""The options that say how files, images and labels are read, defined once for all commands that read files.

Each field of `ReadingOptions` and `LabelOptions` is an option. A command has a parameter of such a type, and
`expand_options` puts the options in its place. To add an option, add a field here. One that is called as a field of
`sources.options.ImportOptions` is passed on; others are used in `ReadingOptions.import_options` or `dataset`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from hpa_data.commands.options import has_no_effect, was_given
from hpa_data.sources.options import ImportOptions, IntensityScaling, MissingPolicy, Naming

if TYPE_CHECKING:
    from hpa_data.dataset import Dataset

# Panels of the help texts.
FILES, IMAGES, LABELS = "Files", "Images", "Labels"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """The options that say which files make a sample, and how their pixels are read."""

    naming: Annotated[
        Naming,
        typer.Option(
            rich_help_panel=FILES,
            help="Kind of files: kaggle (gray planes), hpav18 (color planes), stack (one per sample).",
        ),
    ] = "kaggle"

    channels: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            metavar="MAPPING",
            help="The plane of each channel in a stack, by number or name: red=2,green=0,blue=DAPI.",
        ),
    ] = None

    missing: Annotated[
        MissingPolicy,
        typer.Option(
            rich_help_panel=FILES,
            help="If a sample lacks a channel: list it as failed, fill with zeros, or leave it out.",
        ),
    ] = "fail"

    intensity: Annotated[
        IntensityScaling,
        typer.Option(rich_help_panel=IMAGES, help="How to scale to 8 bits: the full range, or that of each plane."),
    ] = "full"

    z: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=IMAGES,
            metavar="max|mean|middle|N",
            help="For files with Z slices: a projection, or slice N from 0.",
        ),
    ] = None

    time: Annotated[
        int | None,
        typer.Option(rich_help_panel=IMAGES, metavar="N", help="For files with several time points: which, from 0."),
    ] = None

    scene: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=IMAGES, metavar="N", help="For files with several images of the same size: which, from 0."
        ),
    ] = None

    given: frozenset[str] = frozenset()
    """The fields that stand on the command line; the others have their defaults."""

    def import_options(self, base: ImportOptions | None = None) -> ImportOptions:
        """Return how image files are read: as the command line says, and otherwise as `base` does.

        Raises
        ------
        InputError
            If a value is not allowed, or an option would have no effect.
        """
        from hpa_data.sources.naming import parse_channels

        base = base or ImportOptions()
        same = {field.name for field in dataclasses.fields(ImportOptions)} - {"channels"}
        chosen: dict[str, Any] = {name: getattr(self, name) for name in same & self.given}
        if "naming" in self.given and self.naming != base.source:
            chosen |= {"source": self.naming, "channels": None}
        if self.channels is not None:
            if chosen.get("source", base.source) != "stack":
                raise has_no_effect("--channels", "without --naming stack")
            chosen["channels"] = parse_channels(self.channels)
        return dataclasses.replace(base, **chosen)

    def dataset(self, base: "Dataset | None" = None) -> "Dataset":
        """Return channels, classes and image size: as the command line says, and otherwise those of `base`."""
        from hpa_data.dataset import HPA_2018

        return base or HPA_2018


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """The options that say which label table is read, and how."""

    labels: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=LABELS, help="A CSV table with the columns Id and Target (numbers or names of classes)."
        ),
    ] = None

    given: frozenset[str] = frozenset()
    """The fields that stand on the command line; the others have their defaults."""


def expand_options(*, default: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator for commands that replaces each parameter of a type above by the options of that type.

    The command needs a parameter `ctx`, and gets one value of the type.

    Parameters
    ----------
    default : str
        What the help says instead of the defaults, where those are others, such as the settings of a run.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        before = inspect.signature(command).parameters.values()
        groups = {item.name: item.annotation for item in before if item.annotation in {ReadingOptions, LabelOptions}}
        after = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for item in before
            for parameter in (_list_options(groups[item.name], default) if item.name in groups else [item])
        ]

        @wraps(command)
        def run(ctx: typer.Context, **values: Any) -> None:
            for name, group in groups.items():
                fields = [option.name for option in _list_options(group)]
                given = frozenset(field for field in fields if was_given(ctx, field))
                values[name] = group(**{field: values.pop(field) for field in fields}, given=given)
            command(ctx, **values)

        run.__signature__ = inspect.Signature(after)  # type: ignore[attr-defined] # what Typer reads
        run.__annotations__ = {item.name: item.annotation for item in after}
        return run

    return decorate


def _list_options(group: Any, default: str = "") -> Iterator[inspect.Parameter]:
    """Yield the options of a type above as parameters of a command."""
    for field in dataclasses.fields(group):
        if get_origin(field.type) is Annotated:
            kind, option = get_args(field.type)
            if default:
                option = copy(option)
                option.show_default = default
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option]
            )
