"""The command `hpa similar`: its options and its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpa_data.commands.console import abbreviate, escape, quiet, show
from hpa_data.commands.expand import expand_options
from hpa_data.commands.import_options import ReadingOptions
from hpa_data.commands.options import STORE, Json, RetryMinutes, refuse_unused
from hpa_data.errors import InputError
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.options import Module, import_module
from hpa_model.commands.reading import Like, adapt_reading

if TYPE_CHECKING:
    from hpa_data.errors import Notice
    from hpa_model.predict import Embeddings
    from hpa_model.predict.query import Query
    from hpa_model.predict.similar import Neighbor

COLUMNS = 4
CSV_COLUMNS = ("id", "part", "neighbor", "neighbor_part", "cosine", "neighbor_classes")


@expand_options(default="that of the run")
def similar(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    embeddings: Annotated[Path, typer.Argument(help="A file of `hpa embed`.")],
    files: ReadingOptions,
    name: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="List the samples that are most like it.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="NAME", help="The part of --id, if several parts have that id.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The same for an image file with its other channels beside it, or a folder of one sample; with --run.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="With --image, the run that the embeddings were made with.")
    ] = None,
    like: Like = None,
    model: Module = None,
    n: Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many to list.")] = 12,
    against: Annotated[
        str | None,
        typer.Option(metavar="PART", help="List samples of a part, such as test, with their likes in the other parts."),
    ] = None,
    min_cosine: Annotated[
        float, typer.Option(min=-1, max=1, help="With --against: how alike two samples have to be.")
    ] = 0.95,
    out: Annotated[
        Path | None,
        typer.Option(help="With --id or --image a .png file to draw them to; with --against a .csv file."),
    ] = None,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Find samples that are alike by their features."""
    from hpa_model.predict import read_embeddings
    from hpa_model.predict.similar import find_between, find_nearest, find_row, rank_by_cosine

    queries = {"--id": name, "--image": image, "--against": against}
    given = [option for option, value in queries.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            f"One of --id, --image and --against must be given. Received: {' and '.join(given) or 'none'}. Pass one."
        )
    refuse_unused(ctx, "n", when=against is not None, reason="with --against")
    refuse_unused(ctx, "part", when=name is None, reason="without --id")
    refuse_unused(ctx, "min_cosine", when=against is None, reason="without --against")
    refuse_unused(ctx, "run", "like", "model", *files.given, when=image is None, reason="without --image")
    if image is not None and run is None:
        raise InputError("run must be given with --image. Pass --run RUN, the run that the embeddings were made with.")
    if out is not None:
        _check_out(out, ".png" if against is None else ".csv", {"EMBEDDINGS": embeddings, "image": image})
    found = read_embeddings(embeddings)
    _check_store(store, found)
    notices: tuple[Notice, ...] = ()
    if against is not None:
        pairs = find_between(found, against, min_cosine=min_cosine)
        if out is not None:
            _write(found, pairs, out)
    elif name is not None:
        pairs = find_nearest(found.vectors, find_row(found, name, part), n)
        if out is not None:
            _draw(store, found, pairs, out)
    else:
        assert image is not None
        assert run is not None
        with quiet():
            from hpa_model.predict.query import embed_file

            import_module(model)
        query = embed_file(run, image, found, store, reading=adapt_reading(run, like, files))
        pairs, notices = rank_by_cosine(found.vectors, query.vector)[:n], query.notices
        name = query.id
        if out is not None:
            _draw(store, found, pairs, out, query)
    rows = [_describe(found, pair, name) for pair in pairs]
    lines = [f"{row['cosine']:.3f}  {row['id']}  {row['neighbor']} ({row['neighbor_part']})" for row in rows]
    if name is not None:
        lines = [f"{row['cosine']:.3f}  {row['neighbor']} ({row['neighbor_part']})  {row['classes']}" for row in rows]
    head = f"{len(rows)} samples"
    if against is not None:
        head += f" of {against} with a cosine of {min_cosine:g} or more"
    lines = [*abbreviate(lines, limit=max(n, 20)), head + (f": {out}" if out else "")]
    lines += [escape(str(notice)) for notice in notices]
    report = {"pairs": rows, "out": None if out is None else str(out), "notices": [str(each) for each in notices]}
    show(report, as_json, "\n".join(lines))


def _check_out(out: Path, suffix: str, inputs: dict[str, Path | None]) -> None:
    """Refuse a file that could not be written, is of another kind, or is one of those that are read."""
    from hpa_data.system.outputs import check_distinct, check_output

    if out.suffix.lower() != suffix:
        raise InputError(f"out must be a {suffix} file. Received: {out}. Pass {out.stem or 'similar'}{suffix}.")
    check_output(out)
    check_distinct({"out": out}, inputs=inputs)


def _check_store(location: str, found: "Embeddings") -> None:
    """Refuse a store that does not open, or is not the one that was embedded, even if no image of it is needed."""
    from hpa_data.store.store import open_store

    parts = open_store(location).parts()
    for name in filter(None, dict.fromkeys(found.parts)):  # image files have none
        if name not in parts:
            raise InputError(
                f"Cannot compare with {location}: it has no part {name!r}, of which there are embeddings. Pass the "
                "store that was embedded."
            )


def _describe(found: "Embeddings", pair: "Neighbor", name: str | None = None) -> dict[str, Any]:
    """Describe two samples by their names; `name` is that of one that is not among the embeddings."""
    is_known = pair.row >= 0
    return {
        "id": found.ids[pair.row] if is_known else name,
        "part": found.parts[pair.row] if is_known else "",
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


def _draw(
    location: str, found: "Embeddings", pairs: Sequence["Neighbor"], out: Path, query: "Query | None" = None
) -> None:
    """Draw a sample, and those that are most like it, with their cosines and classes."""
    import cv2

    from hpa_data.preview.tiles import Tile, montage, shrink, to_rgb, wrap_name
    from hpa_data.store.store import open_store
    from hpa_data.system.atomic import write_output

    store = open_store(location)
    shown = [(pair.other, f"cosine {pair.cosine:.3f}") for pair in pairs]
    if query is None and pairs:
        shown.insert(0, (pairs[0].row, ""))
    parts = list(dict.fromkeys(found.parts[row] for row, _ in shown))
    tiles = []
    with store.reader(parts) as reader:
        if query is not None:
            picture = shrink(to_rgb(query.image, query.channels))
            tiles.append(Tile(image=picture, lines=(*wrap_name(query.id), "the image that was given")))
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
