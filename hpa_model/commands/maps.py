"""The command `hpa map`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpa_data.commands.console import show
from hpa_data.commands.options import Json

if TYPE_CHECKING:
    from hpa_model.evaluation.figure_map import Groups
    from hpa_model.predict import Embeddings

FIGURE_KINDS = ("png", "svg", "pdf")


def draw_samples(
    embeddings: Annotated[Path, typer.Argument(help="A file of `hpa embed`.")],
    out: Annotated[Path, typer.Option(help="The figure to write: .png, .svg or .pdf.")] = Path("map.png"),
    color: Annotated[
        Literal["class", "predicted", "part"],
        typer.Option(help="What the samples are told apart by; class: labels, or predictions where there are none."),
    ] = "class",
    method: Annotated[
        Literal["umap", "pca"] | None,
        typer.Option(help="How samples get their places; by default umap, or pca without umap-learn."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of UMAP.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw a map of samples by their features: alike is near."""
    from hpa_data.errors import InputError
    from hpa_data.system.atomic import write_output
    from hpa_data.system.outputs import check_distinct, check_output
    from hpa_model.evaluation.figure_map import draw_map
    from hpa_model.evaluation.figure_style import render_file
    from hpa_model.evaluation.projection import choose_method, project
    from hpa_model.predict import read_embeddings

    kind = out.suffix.lower().removeprefix(".")
    if kind not in FIGURE_KINDS:
        raise InputError(
            f"out must be a file that ends in .{', .'.join(FIGURE_KINDS)}. Received: {out}. Pass "
            f"{out.with_suffix('.png') if out.name else 'map.png'}."
        )
    check_output(out, example="map.png")
    check_distinct({"out": out}, inputs={"EMBEDDINGS": embeddings})
    chosen = choose_method(method)
    found = read_embeddings(embeddings)
    groups = _group(found, color)
    positions = project(found.vectors, chosen, seed=seed)
    caption = f"{len(found.ids):,} samples, {chosen.upper()} of {found.vectors.shape[1]} features"
    if found.about.get("network"):
        caption += f" of {found.about['network']}"
    write_output(out, render_file(draw_map(positions, groups, caption=caption), kind))
    show({"out": str(out), "n_samples": len(found.ids), "method": chosen}, as_json, f"{out}: {caption}")


def _group(found: "Embeddings", color: str) -> "Groups":
    """Tell samples apart by their labels, their predictions or their part."""
    import numpy as np

    from hpa_model.evaluation.figure_map import Groups

    if color == "part":
        names = tuple(dict.fromkeys(found.parts))
        members = np.array(found.parts)[:, None] == np.array(names)
        return Groups(names=names, members=members, title="Parts")
    if color == "class" and found.labels is not None:
        title = "Labels; gray: several, none, or not known"
        return Groups(names=found.classes, members=found.labels.astype(bool), title=title)
    members = np.zeros(found.probs.shape, bool)
    members[np.arange(len(members)), found.probs.argmax(axis=1)] = True
    return Groups(names=found.classes, members=members, title="The most probable class of each sample")
