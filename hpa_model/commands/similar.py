"""The command `hpa similar`: its options and its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpa_data.commands.console import abbreviate, show
from hpa_data.commands.options import STORE, Json, RetryMinutes, refuse_unused
from hpa_data.errors import InputError
from hpa_data.reader.limits import RETRY_MINUTES

if TYPE_CHECKING:
    from hpa_model.predict import Embeddings
    from hpa_model.predict.similar import Neighbor

COLUMNS = 4
CSV_COLUMNS = ("id", "part", "neighbor", "neighbor_part", "cosine", "neighbor_classes")


def similar(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    embeddings: Annotated[Path, typer.Argument(help="A file of `hpa embed`.")],
    name: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="List the samples that are most like it.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="NAME", help="The part of --id, if several parts have that id.")
    ] = None,
    n: Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many to list.")] = 12,
    against: Annotated[
        str | None,
        typer.Option(metavar="PART", help="List samples of a part, such as test, with their likes in the other parts."),
    ] = None,
    min_cosine: Annotated[
        float, typer.Option(min=-1, max=1, help="With --against: how alike two samples have to be.")
    ] = 0.95,
    out: Annotated[
        Path | None, typer.Option(help="With --id, a .png file to draw them to; with --against, a .csv file.")
    ] = None,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Find samples that are alike by their features."""
    from hpa_data.system.outputs import check_distinct, check_output
    from hpa_model.predict import read_embeddings

    if (name is None) == (against is None):
        raise InputError("One of --id and --against must be given. Received: both or none. Pass one of them.")
    refuse_unused(ctx, "part", "n", when=against is not None, reason="with --against")
    refuse_unused(ctx, "min_cosine", when=name is not None, reason="with --id")
    suffix = ".png" if against is None else ".csv"
    if out is not None:
        if out.suffix.lower() != suffix:
            raise InputError(f"out must be a {suffix} file. Received: {out}. Pass {out.stem or 'similar'}{suffix}.")
        check_output(out)
        check_distinct({"out": out}, inputs={"EMBEDDINGS": embeddings})
    found = read_embeddings(embeddings)
    if name is not None:
        from hpa_model.predict.similar import find_nearest, find_row

        pairs = find_nearest(found.vectors, find_row(found, name, part), n)
        if out is not None:
            _draw(store, found, pairs, out)
    else:
        from hpa_model.predict.similar import find_between

        assert against is not None
        pairs = find_between(found, against, min_cosine=min_cosine)
        if out is not None:
            _write(found, pairs, out)
    rows = [_describe(found, pair) for pair in pairs]
    lines = [f"{row['cosine']:.3f}  {row['id']}  {row['neighbor']} ({row['neighbor_part']})" for row in rows]
    if name is not None:
        lines = [f"{row['cosine']:.3f}  {row['neighbor']} ({row['neighbor_part']})  {row['classes']}" for row in rows]
    head = f"{len(rows)} samples"
    if against is not None:
        head += f" of {against} with a cosine of {min_cosine:g} or more"
    lines = [*abbreviate(lines, limit=max(n, 20)), head + (f": {out}" if out else "")]
    show({"pairs": rows, "out": None if out is None else str(out)}, as_json, "\n".join(lines))


def _describe(found: "Embeddings", pair: "Neighbor") -> dict[str, Any]:
    """Describe two samples by their names."""
    return {
        "id": found.ids[pair.row],
        "part": found.parts[pair.row],
        "neighbor": found.ids[pair.other],
        "neighbor_part": found.parts[pair.other],
        "cosine": pair.cosine,
        "classes": ";".join(_name_classes(found, pair.other)),
    }


def _name_classes(found: "Embeddings", row: int) -> list[str]:
    if found.labels is None or not found.is_labeled[row]:
        return []
    return [name for name, value in zip(found.classes, found.labels[row].tolist(), strict=True) if value]


def _write(found: "Embeddings", pairs: Sequence["Neighbor"], out: Path) -> None:
    from hpa_data.tables import write_table

    rows = [list(_describe(found, pair).values()) for pair in pairs]
    write_table(out, list(CSV_COLUMNS), ([*row[:4], f"{row[4]:.6f}", row[5]] for row in rows))


def _draw(location: str, found: "Embeddings", pairs: Sequence["Neighbor"], out: Path) -> None:
    """Draw a sample, and those that are most like it, with their cosines and classes."""
    import cv2

    from hpa_data.preview.tiles import Tile, montage, shrink, to_rgb, wrap_name
    from hpa_data.store.store import open_store
    from hpa_data.system.atomic import write_output

    store = open_store(location)
    shown = [(pairs[0].row, "")] + [(pair.other, f"cosine {pair.cosine:.3f}") for pair in pairs] if pairs else []
    parts = list(dict.fromkeys(found.parts[row] for row, _ in shown))
    tiles = []
    with store.reader(parts) as reader:
        places = {key: index for index, key in enumerate(zip(reader.parts, reader.ids, strict=True))}
        for row, words in shown:
            key = found.parts[row], found.ids[row]
            if key not in places:
                raise InputError(
                    f"Cannot draw sample {key[1]!r}: part {key[0]!r} of {location} does not have it. Pass the store "
                    "that was embedded."
                )
            image = reader.read([places[key]])[0]
            lines = (*wrap_name(key[1]), *filter(None, [words]), *_name_classes(found, row))
            tiles.append(Tile(image=shrink(to_rgb(image, reader.dataset.channels)), lines=lines))
    grid = montage(tiles, columns=COLUMNS)
    write_output(out, cv2.imencode(".png", grid[..., ::-1])[1].tobytes())  # OpenCV writes BGR
