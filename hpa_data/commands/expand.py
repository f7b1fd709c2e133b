"""Groups of options: frozen dataclasses whose annotated fields are options of a command.

A group has a field ``given``, the names of the options that stand on the command line.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from copy import copy
from functools import wraps
from typing import Annotated, Any, get_args, get_origin

import typer

from hpa_data.commands.options import was_given


def expand_options(*, default: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator for commands that replaces each parameter of a group of options by these options.

    The command needs a parameter `ctx`, and gets one value of the type of the group.

    Parameters
    ----------
    default : str
        What the help says instead of the defaults, where those are others, such as the settings of a run.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        before = inspect.signature(command).parameters.values()
        groups: dict[str, Any] = {
            item.name: item.annotation for item in before if dataclasses.is_dataclass(item.annotation)
        }
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
    """Yield the options of a group as parameters of a command."""
    for field in dataclasses.fields(group):
        if get_origin(field.type) is Annotated:
            kind, option = get_args(field.type)
            if default:
                option = copy(option)
                option.show_default = default
                option.help = re.sub(r" ?(By default:? [^.]*\.|\[default: [^]]*\])", "", option.help or "")
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option]
            )
