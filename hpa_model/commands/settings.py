"""Settings of a training from the command line: of a recipe, of `--set` and of options."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hpa_data.commands.options import has_no_effect, refuse_unused, was_given
from hpa_model.commands.channels import split_channels
from hpa_model.config import TrainConfig

if TYPE_CHECKING:
    pass


def read_settings(ctx: typer.Context, recipe: Path | None, texts: list[str]) -> TrainConfig:
    """Build a configuration from what `merge_options` merges."""
    from hpa_model.config import make_config

    return make_config(merge_options(ctx, recipe, texts))


def refuse_unused_settings(
    ctx: typer.Context,
    config: TrainConfig,
    recipe: Path | None,
    texts: list[str],
    *,
    weights: str | None = None,
    varied: Collection[str] = (),
) -> None:
    """Refuse settings that stand on the command line, as options or by ``--set``, and have no effect: InputError.

    Those of a recipe may have none, as it is written for many command lines, and may be replaced. `weights` are what a
    training starts from; `varied` is as for `list_unused`.
    """
    from hpa_model.config import list_unused, load_recipe, parse_setting

    replaced = {} if recipe is None else load_recipe(recipe)
    unused = list_unused(config, has_weights=weights not in {None, "", "none"}, varied=varied)
    if weights and weights not in {"none", "imagenet"} and Path(weights).is_dir():
        unused.setdefault("stem", "where a training starts from a run or an encoder, whose channels are known")
    for name, reason in unused.items():
        if name in replaced:
            continue
        refuse_unused(ctx, name, when=name in ctx.params, reason=reason)
        for text in texts:
            if name in parse_setting(text):
                raise has_no_effect(f"--set {text}", reason)


def merge_options(ctx: typer.Context, recipe: Path | None, texts: list[str]) -> dict[str, Any]:
    """Merge the settings of a recipe, of ``--set`` and of the options on the command line, later ones winning."""
    from hpa_model.config import load_recipe, merge_settings, parse_image_size, parse_mix, parse_setting

    fields = [field.name for field in dataclasses.fields(TrainConfig)]
    options = {name: ctx.params[name] for name in fields if name in ctx.params and was_given(ctx, name)}
    if "image_size" in options:
        options["image_size"] = parse_image_size(options["image_size"])
    if "mix" in options:
        options["mix"] = parse_mix(options["mix"])
    if "channels" in options:
        options["channels"] = split_channels(options["channels"])
    settings = load_recipe(recipe) if recipe is not None else {}
    for text in texts:
        parsed = parse_setting(text)
        refuse_unused(ctx, *(parsed.keys() & fields), when=True, reason=f"beside --set {text}")
        is_entry = "." in text.partition("=")[0]  # of a table, whose others stay
        settings = merge_settings(settings, parsed, tables=("options", *parsed) if is_entry else ("options",))
    return merge_settings(settings, options)
