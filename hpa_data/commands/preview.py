"""The command `hpa preview`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer.core

from hpa_data.commands.console import STORE, Json, show


def preview(
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    out: Annotated[Path, typer.Option(help="The PNG file to make.")],
    part: Annotated[str, typer.Option(help="The part of the store.")] = "train",
    ids: Annotated[list[str] | None, typer.Option(help="A sample to show; may be given several times.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many to show without --ids.")] = 12,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a row.")] = 4,
    channels: Annotated[bool, typer.Option("--channels", help="Each channel on its own.")] = False,
    parents: Annotated[
        bool, typer.Option("--parents", help="Of a part of copies: each parent beside its copies.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw some samples of a part in their colours, with ids and class names."""
    from hpa_data.preview import preview_part
    from hpa_data.store.store import open_store

    done = preview_part(
        open_store(store),
        out,
        part=part,
        ids=ids or (),
        n_samples=samples,
        columns=columns,
        view="channels" if channels else "composite",
        parents=parents,
    )
    show(done, as_json, f"{out}: {len(done.ids)} samples")
