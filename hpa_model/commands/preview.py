"""The command `hpa preview`, with what training images look like to a network."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from hpa_data.commands.console import quiet, show
from hpa_data.commands.options import DEFAULT_PARTS, STORE, Json, RetryMinutes, refuse_unused
from hpa_data.commands.preview import Columns, Ids, Out, Parents, PreviewParts, Samples, SplitChannels
from hpa_data.commands.preview import preview as preview_samples
from hpa_data.reader.limits import RETRY_MINUTES

# What is shown where no policy is named.
SHOWN = "strong"


def preview(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    out: Out,
    parts: PreviewParts = DEFAULT_PARTS,
    ids: Ids = None,
    samples: Samples = 12,
    columns: Columns = 4,
    split_channels: SplitChannels = False,
    parents: Parents = False,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Draw each sample beside versions of it, as the option --augment of `hpa train` makes them: "
            f"symmetries, paper or strong, or a recipe. Without a name: {SHOWN}.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of --augment.")] = 0,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Draw samples of a part as a PNG, with ids and class names."""
    if augment is None:
        refuse_unused(ctx, "seed", when=True, reason="without --augment")
        preview_samples(
            ctx,
            store,
            out,
            parts=parts,
            ids=ids,
            samples=samples,
            columns=columns,
            split_channels=split_channels,
            parents=parents,
            as_json=as_json,
        )
        return
    from hpa_data.preview import preview_parts
    from hpa_data.store.store import open_store

    refuse_unused(ctx, "samples", when=bool(ids), reason="with --id")
    refuse_unused(ctx, "split_channels", "parents", when=True, reason="with --augment")
    setting = read_augment(augment)
    with quiet():
        from hpa_model.augment.versions import make_versions
        from hpa_model.backend import describe_device, settle_keras

        settle_keras()
        describe_device(1)  # its libraries write lines when they first look for GPUs
    report = preview_parts(
        open_store(store),
        out,
        parts=parts,
        ids=ids or (),
        n_samples=samples,
        columns=columns,
        change=make_versions(setting, seed=seed),
    )
    show(report, as_json, f"{out}: {len(report.ids)} samples, each with {columns - 1} versions")


def read_augment(text: str) -> str | dict[str, object]:
    """Return the augmentation of a name or of a recipe; InputError if it is neither."""
    from hpa_model.augment.options import PolicyName, check_name
    from hpa_model.config import find_recipe, list_recipes, load_recipe, make_config

    is_recipe = text.endswith(".toml") or "/" in text or text in {recipe.name for recipe in list_recipes()}
    if is_recipe and text not in get_args(PolicyName):  # paper is both
        return make_config(load_recipe(find_recipe(Path(text)))).augmentation
    return check_name(text)
