"""The command `hpa preview`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer

from hpa_data.commands.console import show
from hpa_data.commands.options import DEFAULT_PARTS, STORE, Json, RetryMinutes, refuse_unused
from hpa_data.reader.limits import RETRY_MINUTES

Out = Annotated[Path, typer.Option(help="The PNG file to write.")]
PreviewParts = Annotated[
    list[str], typer.Option("--part", metavar="NAME", help="A part to draw samples of; repeatable.")
]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="The id of a sample to draw; repeatable.")]
Samples = Annotated[int, typer.Option(metavar="N", min=1, help="Samples to draw of each part, evenly spread over it.")]
Columns = Annotated[int, typer.Option(metavar="N", min=1, help="Images per row.")]
SplitChannels = Annotated[
    bool, typer.Option("--split-channels", help="Draw each channel separately, one row per sample.")
]
Parents = Annotated[bool, typer.Option("--parents", help="For augmented copies: draw each parent beside its copies.")]


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
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Draw samples of a part as a PNG, with ids and class names."""
    from hpa_data.preview import preview_parts
    from hpa_data.store.store import open_store

    refuse_unused(ctx, "samples", when=bool(ids), reason="with --id")
    refuse_unused(ctx, "columns", when=split_channels, reason="with --split-channels")
    refuse_unused(ctx, "split_channels", when=parents, reason="with --parents")
    report = preview_parts(
        open_store(store),
        out,
        parts=parts,
        ids=ids or (),
        n_samples=samples,
        columns=columns,
        view="channels" if split_channels else "composite",
        parents=parents,
    )
    show(report, as_json, f"{out}: {len(report.ids)} samples")
