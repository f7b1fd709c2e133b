"""A map of embeddings as a file: which samples are told apart, where they lie, and the picture or the page."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_data.errors import InputError
from hpa_data.system.atomic import write_output
from hpa_data.system.outputs import check_output
from hpa_model.evaluation.figure_map import Groups, draw_map
from hpa_model.evaluation.figure_style import render_file
from hpa_model.evaluation.map_page import write_map_page
from hpa_model.evaluation.projection import Method, choose_method, project
from hpa_model.predict import Embeddings

# Of a column of the metadata: more colors cannot be told apart.
MAX_GROUPS = 40
HINTS: dict[Method, str] = {
    "umap": "Samples that look alike to the network are near; how far groups are apart says little.",
    "pca": "The axes are the two directions in which the features vary most; distances are those along them.",
}
KINDS = ("png", "svg", "pdf", "html")


@dataclass(frozen=True, kw_only=True)
class SampleMap:
    """A map that was written."""

    out: Path
    n_samples: int
    method: Method
    caption: str


def check_map(out: Path, method: Method | None) -> Method:
    """Refuse a file that could not be written, or a method that is not installed: InputError. Return the method."""
    if out.suffix.lower().removeprefix(".") not in KINDS:
        raise InputError(
            f"out must be a file that ends in .{', .'.join(KINDS)}. Received: {out}. Pass "
            f"{out.with_suffix('.png') if out.name else 'map.png'}."
        )
    check_output(out, example="map.png")
    return choose_method(method)


def write_map(
    found: Embeddings, out: Path, *, color: str = "class", method: Method | None = None, seed: int = 0
) -> SampleMap:
    """Draw a map of samples.

    Parameters
    ----------
    found : Embeddings
    out : Path
        A figure, or a page in which samples have names: ``.html``.
    color : str
        What samples are told apart by: ``class``, their labels, or the most probable classes where there are no labels;
        ``predicted``; ``part``; or a column of the metadata.
    method, seed : optional
        See `projection.project`.

    Raises
    ------
    InputError
        If there is no such column, or there are too few samples.
    """
    chosen = check_map(out, method)
    groups = group_samples(found, color)
    positions = project(found.vectors, chosen, seed=seed)
    caption = f"{len(found.ids):,} samples, {chosen.upper()} of {found.vectors.shape[1]} features"
    if found.about.get("network"):
        caption += f" of {found.about['network']}"
    kind = out.suffix.lower().removeprefix(".")
    if kind == "html":
        content = write_map_page(positions, groups, _describe(found), caption=caption, hint=HINTS[chosen]).encode()
    else:
        content = render_file(draw_map(positions, groups, caption=caption), kind)
    write_output(out, content)
    return SampleMap(out=out, n_samples=len(found.ids), method=chosen, caption=caption)


def group_samples(found: Embeddings, color: str) -> Groups:
    """Tell samples apart by their labels, their predictions, their part, or a column of the metadata."""
    if color == "part" or (color in found.metadata and color not in ("class", "predicted")):
        values = found.parts if color == "part" else found.metadata[color]
        counts = Counter(filter(None, values))
        if not counts:
            raise InputError(f"color must be known of some sample. Received: color={color!r}. Choose another.")
        names = tuple(name for name, _ in counts.most_common(MAX_GROUPS))
        members = np.array(values, object)[:, None] == np.array(names, object)
        more = f", the {len(names)} most frequent of {len(counts)}" if len(counts) > len(names) else ""
        return Groups(names=names, members=members.astype(bool), title=f"{color[:1].upper()}{color[1:]}{more}")
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


def _describe(found: Embeddings) -> list[str]:
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
