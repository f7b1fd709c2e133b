"""A contact sheet of samples as one PNG: composites or single channels, with ids, classes and transforms below."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.augment.transform import describe_transform
from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.preview.tiles import MAX_CHARACTERS, Tile, montage, shrink, to_ascii, to_rgb, wrap_name
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_data.system.atomic import write_output
from hpa_data.system.outputs import check_output

View = Literal["composite", "channels"]

MAX_CLASSES = 6  # named below a sample
MAX_COLUMNS = 8  # channels in a row

# Many viewers do not open a larger PNG.
MAX_TILES = 4096

# Changes samples of a reader, by index, for the n-th time: images, uint8 (N, Y, X, C), and what was done, in words.
Change = Callable[[Reader, Sequence[int], int], tuple[npt.NDArray[np.uint8], Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """An image that was written, and the ids of the samples that it shows."""

    out: Path
    ids: list[str]


def preview_parts(
    store: Store,
    out: Path,
    *,
    parts: Sequence[str] = ("train",),
    ids: Sequence[str] = (),
    n_samples: int = 12,
    columns: int = 4,
    view: View = "composite",
    parents: bool = False,
    change: Change | None = None,
) -> Preview:
    """Write one image that shows samples of some parts.

    Parameters
    ----------
    store : Store
    out : Path
        The PNG file to write.
    parts : sequence of str
        Their samples are shown part by part.
    ids : sequence of str
        The samples to show; by default `n_samples` of each part, evenly spread over it.
    n_samples, columns : int
    view : {"composite", "channels"}
        One tile per sample, or a row of tiles, one per channel.
    parents : bool
        For parts of augmented copies: show one row per parent, with its first copies and their transforms in words.
        `ids` and `n_samples` then refer to parents.
    change : Change, optional
        Show one row per sample, with versions of it that this makes, and what it did.

    Raises
    ------
    InputError
        If an id is unknown, no sample can be read, a part holds no copies, or the file is not a PNG or could not
        be written.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"out must be a PNG file. Received: out={out}. Name it {out.stem}.png.")
    check_output(out)
    if view not in get_args(View):
        raise InputError(f"view must be one of {', '.join(get_args(View))}. Received: view={view!r}. Choose one.")
    if parents and view != "composite":
        raise InputError(f"view must be composite with parents. Received: view={view!r}. Leave one of them out.")
    rows = parents or change is not None
    if rows and columns < 2:
        raise InputError("columns must be at least 2 to show a sample and a version. Received: columns=1. Pass more.")
    opened = [store.part(name) for name in parts]
    _check_ids(opened, ids, parents=parents)
    n_channels = max(len(part.manifest.channels) for part in opened)
    n_per_row = -(-n_channels // -(-n_channels // MAX_COLUMNS))  # as even rows as possible
    n_cells = -(-n_channels // n_per_row) * n_per_row
    n_shown = len(ids) or sum(min(n_samples, len(part.ids)) for part in opened)
    n_tiles = n_shown * (columns if rows else n_cells if view == "channels" else 1)
    if n_tiles > MAX_TILES:
        raise InputError(
            f"Cannot draw the preview: it would have {n_tiles} tiles, more than {MAX_TILES}. Show fewer samples."
        )
    shown: list[str] = []
    tiles: list[Tile] = []
    for part in opened:
        if parents:
            names, drawn = _draw_parents(store, part, ids, n_samples, columns)
        elif change is not None:
            names, drawn = _draw_versions(store, part, ids, n_samples, columns, change)
        else:
            names, drawn = _draw_samples(store, part, ids, n_samples, view, n_cells=n_cells)
        shown += names
        tiles += drawn
    if not tiles:
        raise InputError(f"Cannot preview {', '.join(parts)}: no copy of {', '.join(ids)} can be read. Pass other ids.")
    grid = montage(tiles, columns=n_per_row if view == "channels" else columns)
    write_output(out, cv2.imencode(".png", grid[..., ::-1])[1].tobytes())  # OpenCV writes BGR
    return Preview(out=out, ids=shown)


def _check_ids(parts: Sequence[Part], ids: Sequence[str], *, parents: bool) -> None:
    """Raise InputError if no part has a sample, or with `parents` a parent, of one of the ids."""
    known: set[str] = set()
    for part in parts:
        known.update(part.copies.parents if parents and part.copies is not None else part.ids)
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise InputError(
            f"ids must be in {' or '.join(part.name for part in parts)}. Received: {unknown[0]!r}. Check the spelling, "
            "or pass another part."
        )


def _draw_samples(
    store: Store, part: Part, ids: Sequence[str], n_samples: int, view: View, *, n_cells: int
) -> tuple[list[str], list[Tile]]:
    """Draw samples of a part; return their ids and tiles, with `channels` as many for each as there are cells."""
    with store.reader([part.name]) as reader:
        chosen = _choose(reader.ids, is_readable(reader.status), ids, n_samples, part.name)
        reader.expect(chosen)
        tiles: list[Tile] = []
        for index in chosen:
            drawn = list(_draw_sample(reader, index, part, view))
            tiles += drawn + ([Tile()] * (n_cells - len(drawn)) if view == "channels" else [])
        return [reader.ids[index] for index in chosen], tiles


def _draw_sample(reader: Reader, index: int, part: Part, view: View) -> Iterator[Tile]:
    """Draw a sample of a part as one tile, or as one per channel."""
    image = reader.read([index])[0]
    lines = (*wrap_name(reader.ids[index]), *_name_classes(part, index))
    if view == "composite":
        yield Tile(image=shrink(to_rgb(image, reader.dataset.channels)), lines=lines)
        return
    for number, channel in enumerate(reader.dataset.channels):
        colored = to_rgb(image[..., number, None], [channel])
        yield Tile(image=shrink(colored), lines=(channel.name, *(lines if number == 0 else ())))


def _name_classes(part: Part, index: int) -> list[str]:
    """Name the classes that a sample shows, by their numbers where the font lacks letters."""
    if part.labels is None:
        return []
    shown = np.flatnonzero(part.labels[index]).tolist()
    names = [part.manifest.classes[k] for k in shown[:MAX_CLASSES]]
    readable = [
        f"class {k}" if "?" in to_ascii(name).replace("?", "", name.count("?")) else name
        for k, name in zip(shown, names, strict=False)
    ]
    lines = [line for name in readable for line in wrap_name(name)]
    return [*lines, f"and {len(shown) - MAX_CLASSES} more"] if len(shown) > MAX_CLASSES else lines


def _draw_parents(
    store: Store, part: Part, ids: Sequence[str], n_parents: int, columns: int
) -> tuple[list[str], list[Tile]]:
    """Draw parents of a part of copies, each beside its first copies; return the parents' ids and all tiles."""
    copies = part.copies
    if copies is None:
        raise InputError(
            f"parts must hold augmented copies, to show parents. Received: part {part.name!r}. Pass --part augmented."
        )
    rows_of: dict[tuple[str, str], list[int]] = {}  # the copies of each parent, by its part and id
    for row in np.flatnonzero(is_readable(part.read_status())).tolist():
        rows_of.setdefault((copies.parts[row], copies.parents[row]), []).append(row)
    keys = list(rows_of)
    names = [name for _, name in keys]
    chosen = [keys[index] for index in _choose(names, np.ones(len(keys), np.bool_), ids, n_parents, part.name)]
    tiles: list[Tile] = []
    shown: list[str] = []
    with store.reader([part.name]) as reader:
        for parent_part in dict.fromkeys(name for name, _ in chosen):
            with store.reader([parent_part]) as parent_reader:
                index_of = {name: index for index, name in enumerate(parent_reader.ids)}
                for key in [key for key in chosen if key[0] == parent_part]:
                    rows = rows_of[key]
                    tiles += _draw_sample(parent_reader, index_of[key[1]], store.part(parent_part), "composite")
                    for number, row in enumerate(rows[: columns - 1]):
                        words = describe_transform(copies.transforms[row], reader.dataset.channels)
                        tiles.append(_draw_copy(reader, row, f"copy {number + 1} of {len(rows)}: {words}"))
                    tiles += [Tile()] * (columns - 1 - len(rows))
                    shown.append(key[1])
    return shown, tiles


def _draw_copy(reader: Reader, row: int, text: str) -> Tile:
    """Draw a copy above its text."""
    return _draw_version(reader, reader.read([row])[0], text)


def _draw_version(reader: Reader, image: npt.NDArray[np.uint8], text: str) -> Tile:
    return Tile(image=shrink(to_rgb(image, reader.dataset.channels)), lines=tuple(textwrap.wrap(text, MAX_CHARACTERS)))


def _draw_versions(  # noqa: PLR0917 - one call, with names beside it
    store: Store, part: Part, ids: Sequence[str], n_samples: int, columns: int, change: Change
) -> tuple[list[str], list[Tile]]:
    """Draw samples of a part, each beside versions of it; return their ids and all tiles."""
    with store.reader([part.name]) as reader:
        chosen = _choose(reader.ids, is_readable(reader.status), ids, n_samples, part.name)
        rows = [list(_draw_sample(reader, index, part, "composite")) for index in chosen]
        for number in range(columns - 1):
            images, words = change(reader, chosen, number)
            for row, image, text in zip(rows, images, words, strict=True):
                row.append(_draw_version(reader, image, text))
        return [reader.ids[index] for index in chosen], [tile for row in rows for tile in row]


def _choose(
    known: Sequence[str], readable: npt.NDArray[np.bool_], ids: Sequence[str], n_samples: int, part: str
) -> list[int]:
    """Return the indices to show: those of the ids that are known, or without ids some of all readable ones."""
    if ids:
        index_of = {name: index for index, name in enumerate(known)}
        return [index_of[name] for name in ids if name in index_of]
    rows = np.flatnonzero(readable)
    if not len(rows):
        raise InputError(f"Cannot preview part {part!r}: no sample in it can be read. Convert it again.")
    spread = np.linspace(0, len(rows) - 1, min(n_samples, len(rows))).round().astype(int)
    return rows[spread].tolist()
