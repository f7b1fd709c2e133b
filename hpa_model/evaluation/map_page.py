"""A map of samples as a page: one file without scripts, in which a group can be seen alone, and samples have names."""

import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
from matplotlib.colors import to_hex

from hpa_data.stats.style import measure_width
from hpa_model.evaluation.figure_map import (
    BOLD,
    Groups,
    Points,
    choose_colors,
    find_middles,
    fit_positions,
    list_shown,
    spread_labels,
)
from hpa_model.evaluation.figure_style import SMALL, shorten

# Of the map: inches, to which names are fitted as in the figure, and units of the drawing per inch.
SIDE, UNITS = 8.0, 100
# Letters of the page are larger than those of the figure.
WIDER = 1.3
TEMPLATE = "map.html.jinja"


def write_map_page(positions: Points, groups: Groups, words: Sequence[str], *, caption: str, hint: str) -> str:
    """Return the map as HTML.

    Parameters
    ----------
    positions : array of float, shape (N, 2)
    groups : Groups
        Those without a sample are left out.
    words : sequence of str, length N
        What is said of each sample where it is pointed at.
    caption : str
        How the positions came about.
    hint : str
        How they are to be read: a sentence.
    """
    shown = list_shown(groups)
    members = groups.members[:, shown]
    names = [groups.names[k] for k in shown]
    colors = [to_hex(color) for color in choose_colors(len(shown))]
    places = fit_positions(positions) * [SIDE - 0.6, 0.6 - SIDE] + [0.3, SIDE - 0.3]  # y goes down on a page
    is_single = members.sum(axis=1) == 1
    points = [
        {
            "x": round(UNITS * x, 1),
            "y": round(UNITS * y, 1),
            "color": colors[int(own.argmax())] if single else "",
            "groups": " ".join([*(() if single else ("mixed",)), *(f"g{k}" for k in np.flatnonzero(own))]),
            "words": text,
        }
        for (x, y), own, single, text in zip(places.tolist(), members, is_single.tolist(), words, strict=True)
    ]
    return (
        jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        .from_string(importlib.resources.files("hpa_model.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8"))
        .render(
            groups=groups,
            caption=caption,
            hint=hint,
            size=round(UNITS * SIDE),
            radius=round(float(np.clip(90 / np.sqrt(len(positions)), 1.6, 4.5)), 2),
            points=points,
            labels=_place_labels(places, members, names),
            shown=[
                {"number": k, "name": name, "color": color, "n": int(members[:, k].sum())}
                for k, (name, color) in enumerate(zip(names, colors, strict=True))
            ],
        )
    )


def _place_labels(places: Points, members: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Place the name of each group near the middle of its samples."""
    if not names:
        return []
    texts = [shorten(name, 2.2, SMALL) for name in names]
    widths = WIDER * BOLD * np.array([measure_width([text], SMALL) for text in texts])
    middles = find_middles(places, members)
    found = spread_labels(middles - [0, 0.16], widths, SMALL / 72 * 1.5, width=SIDE)
    found[:, 1] = np.clip(found[:, 1], 0.1, SIDE - 0.1)
    return [
        {
            "number": k,
            "name": text,
            "x": round(UNITS * x, 1),
            "y": round(UNITS * y, 1),
            "from_x": round(UNITS * middle[0], 1),
            "from_y": round(UNITS * middle[1], 1),
            "is_moved": bool(np.hypot(x - middle[0], y - middle[1]) > 0.3),
        }
        for k, (text, (x, y), middle) in enumerate(zip(texts, found.tolist(), middles.tolist(), strict=True))
    ]
