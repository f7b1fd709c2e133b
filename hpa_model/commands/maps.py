"""The command `hpa map`: its options and its text."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpa_data.commands.console import show
from hpa_data.commands.options import Json
from hpa_data.errors import InputError

if TYPE_CHECKING:
    from hpa_model.evaluation.figure_map import Groups
    from hpa_model.predict import Embeddings

FIGURE_KINDS = ("png", "svg", "pdf", "html")
# Of a column of the metadata: more colors cannot be told apart.
MAX_GROUPS = 40


def draw_samples(
    embeddings: Annotated[Path, typer.Argument(help="A file of `hpa embed`.")],
    out: Annotated[
        Path, typer.Option(help="The figure to write: .png, .svg or .pdf, or .html, in which samples have names.")
    ] = Path("map.png"),
    color: Annotated[
        str,
        typer.Option(
            metavar="class|predicted|part|COLUMN",
            help="What the samples are told apart by; class: labels, or predictions where there are none; COLUMN: of "
            "the metadata, such as a cell line.",
        ),
    ] = "class",
    method: Annotated[
        Literal["umap", "pca"] | None,
        typer.Option(help="How samples get their places; by default umap, or pca without umap-learn."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of UMAP.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw a map of samples by their features: alike is near."""
    from hpa_data.system.atomic import write_output
    from hpa_data.system.outputs import check_distinct, check_output
    from hpa_model.evaluation.figure_map import draw_map
    from hpa_model.evaluation.figure_style import render_file
    from hpa_model.evaluation.map_page import write_map_page
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
    if kind == "html":
        content = write_map_page(positions, groups, _describe(found), caption=caption).encode()
    else:
        content = render_file(draw_map(positions, groups, caption=caption), kind)
    write_output(out, content)
    show({"out": str(out), "n_samples": len(found.ids), "method": chosen}, as_json, f"{out}: {caption}")


def _group(found: "Embeddings", color: str) -> "Groups":
    """Tell samples apart by their labels, their predictions, their part, or a column of the metadata."""
    import numpy as np

    from hpa_model.evaluation.figure_map import Groups

    if color == "part" or color in found.metadata:
        values = found.parts if color == "part" else found.metadata[color]
        counts = Counter(filter(None, values))
        names = tuple(name for name, _ in counts.most_common(MAX_GROUPS))
        members = np.array(values, object)[:, None] == np.array(names, object)
        more = f", the {len(names)} most frequent of {len(counts)}" if len(counts) > len(names) else ""
        return Groups(names=names, members=members.astype(bool), title=f"{color.capitalize()}{more}")
    if color not in ("class", "predicted"):
        choices = ["class", "predicted", "part", *found.metadata]
        raise InputError(
            f"color must be one of {', '.join(choices)}. Received: color={color!r}. Choose one, or embed the samples "
            "with --metadata, a table that has such a column."
        )
    if color == "class" and found.labels is not None:
        title = "Labels; gray: several, none, or not known"
        return Groups(names=found.classes, members=found.labels.astype(bool), title=title)
    members = np.zeros(found.probs.shape, bool)
    members[np.arange(len(members)), found.probs.argmax(axis=1)] = True
    return Groups(names=found.classes, members=members, title="The most probable class of each sample")


def _describe(found: "Embeddings") -> list[str]:
    """Say what is known of each sample, for the page."""
    lines = []
    for row, name in enumerate(found.ids):
        known = [name, found.parts[row], *(f"{key}: {column[row]}" for key, column in found.metadata.items())]
        if found.labels is not None and found.is_labeled[row]:
            shown = [each for each, value in zip(found.classes, found.labels[row].tolist(), strict=True) if value]
            known.append(f"labels: {', '.join(shown) or 'none'}")
        best = int(found.probs[row].argmax())
        known.append(f"most probable: {found.classes[best]}, {found.probs[row, best]:.2f}")
        lines.append("\n".join(filter(None, known)))
    return lines
