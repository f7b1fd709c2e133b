"""The command `hpa datasets`: its options and its text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, show
from hpa_data.commands.options import Json

if TYPE_CHECKING:
    from hpa_data.dataset import Dataset


def datasets(
    name: Annotated[
        str | None,
        typer.Argument(help="A data set to print as TOML: a name or a TOML file. By default all are listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the data sets, or print one as TOML to start from."""
    from hpa_data.dataset import PRESETS
    from hpa_data.tables.datasets import encode_toml, find_dataset

    if name is None:
        presets = list(PRESETS.values())
        show(presets, as_json, describe_datasets(presets))
    else:
        dataset = find_dataset(name)
        show(dataset, as_json, encode_toml(dataset).rstrip("\n"))


def describe_datasets(presets: "Iterable[Dataset]") -> str:
    """Describe data sets, one per line."""
    lines = [f"{'data set':<12}{'classes':>8}   {'channels':<28}class numbers in tables"]
    for preset in presets:
        rule = preset.numbering
        numbers = "none" if rule is None else f"{','.join(rule.columns)}, separated by {rule.separator!r}"
        channels = ", ".join(preset.channel_names)
        lines.append(escape(f"{preset.name:<12}{len(preset.classes):>8}   {channels:<28}{numbers}"))
    lines += [
        "",
        "To start your own: `hpa datasets hpa2018 > mine.toml`, then `hpa convert … --dataset mine.toml`.",
    ]
    return "\n".join(lines)
