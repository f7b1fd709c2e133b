"""The command `hpa browse`: its options and its text."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import progress, show
from hpa_data.commands.options import STORE, Json, RetryMinutes, refuse_unused
from hpa_data.errors import InputError
from hpa_data.reader.limits import RETRY_MINUTES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hpa_data.reader.reader import Reader
    from hpa_model.browse import Catalog

PAGE = "A page to send"
SELECTION = ("ids", "label", "fold", "wrong", "n", "as_json")


def browse(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    run: Annotated[Path | None, typer.Option(help="A finished run of this store: predictions, folds, errors.")] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="A file of `hpa embed`: the nearest samples, predictions of unlabeled ones.")
    ] = None,
    explained: Annotated[
        Path | None, typer.Option("--explain", metavar="DIR", help="A folder of class maps, to show beside samples.")
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="NAME", help="A part to show; repeatable. By default all that fit together."),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="The address to listen at; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0: any that is free.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page in a browser.")] = False,
    static: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", rich_help_panel=PAGE, help="Write a page of some samples to a new folder, and serve nothing."
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", rich_help_panel=PAGE, help="A sample of it; repeatable."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", metavar="NAME", rich_help_panel=PAGE, help="Samples of this class alone.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option(metavar="N", min=0, rich_help_panel=PAGE, help="Samples of this fold alone.")
    ] = None,
    wrong: Annotated[
        bool, typer.Option("--wrong", rich_help_panel=PAGE, help="Samples alone whose prediction is not all right.")
    ] = False,
    n: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=5000, rich_help_panel=PAGE, help="Samples at most, spread over classes."),
    ] = 100,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Look through samples and predictions in a web browser."""
    from hpa_data.store.store import open_store
    from hpa_model.browse.opening import choose_parts, open_reader, read_catalog

    refuse_unused(ctx, *SELECTION, when=static is None, reason="without --static")
    refuse_unused(ctx, "host", "port", "no_open", when=static is not None, reason="with --static")
    refuse_unused(ctx, "fold", "wrong", when=run is None, reason="without --run")
    refuse_unused(ctx, "label", "fold", "wrong", "n", when=bool(ids), reason="with --id")
    if static is not None:
        from hpa_model.browse.static import check_static

        check_static(static, len(ids or ()) or n)
    else:
        import hpa_model.browse.serve  # noqa: F401 - whose packages may be missing, before all samples are listed
    opened = open_store(store)
    chosen = choose_parts(opened, parts or ())
    with open_reader(opened, chosen) as reader:
        catalog = read_catalog(opened, chosen, reader, run=run, embeddings=embeddings, explained=explained)
        left_out = [name for name in opened.parts() if name not in catalog.part_names] if not parts else []
        if left_out:
            print(f"Not shown, of another data set or size: {', '.join(left_out)}", file=sys.stderr)
        if static is None:
            _serve(catalog, reader, host, port, opens=not no_open)
            return
        samples = _choose(catalog, ids=ids or [], label=label, fold=fold, wrong=wrong, n=n)
        from hpa_model.browse.static import write_static

        with progress("samples") as shown:
            report = write_static(catalog, reader, samples.tolist(), static, progress=shown)
    text = f"{report.out / 'index.html'}: {report.n_samples} samples, {report.n_bytes / 1e6:.1f} MB"
    if report.n_unreadable:
        text += f"; {report.n_unreadable} of them without pictures"
    show(report, as_json, text)


def _serve(catalog: "Catalog", reader: "Reader", host: str, port: int, *, opens: bool) -> None:
    """Serve the page until Ctrl-C."""
    from hpa_model.browse.pictures import Pictures
    from hpa_model.browse.serve import can_open_browser, name_address, open_socket, serve

    opened = open_socket(host, port)
    address = name_address(opened, host)
    if not address.is_loopback:
        print(
            "Warning: others who can reach this machine can see what is sent, for it is not encrypted. Over SSH, use "
            "ssh -L in place of --host.",
            file=sys.stderr,
        )

    def start() -> None:
        print(f"{address.url}  {len(catalog):,} samples of {catalog.name}; Ctrl-C ends it", flush=True)
        if opens and can_open_browser():
            import webbrowser

            webbrowser.open(address.url)

    serve(catalog, Pictures(reader), opened, address, on_start=start)


def _choose(
    catalog: "Catalog", *, ids: list[str], label: str | None, fold: int | None, wrong: bool, n: int
) -> "npt.NDArray[np.int64]":
    """Choose the samples of a page; InputError if there are none."""
    import numpy as np

    from hpa_model.browse.query import Query, select, spread

    if ids:
        unknown = sorted(set(ids) - set(catalog.ids))
        if unknown:
            raise InputError(f"id must be in the parts. Received: {unknown[0]!r}. Check the spelling, or pass --part.")
        return np.array([index for index, name in enumerate(catalog.ids) if name in set(ids)], np.int64)
    query = Query(verdict="wrong" if wrong else "", fold=-1 if fold is None else fold)
    if label is not None:
        index = catalog.dataset.class_index.get(_fold(label))
        if index is None:
            raise InputError(f"class must be one of the data set. Received: {label!r}. See `hpa datasets`.")
        query = dataclasses.replace(query, label=index)
    samples = spread(catalog, select(catalog, query), n)
    if not len(samples):
        raise InputError("Cannot write the page: no sample is like this. Leave out an option.")
    return samples


def _fold(name: str) -> str:
    from hpa_data.dataset import fold_name

    return fold_name(name)
