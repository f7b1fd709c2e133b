"""The command `hpa map`: its options and its text."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpa_data.commands.console import show
from hpa_data.commands.options import Json, refuse_unused


def draw_samples(
    ctx: typer.Context,
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
    from hpa_data.system.outputs import check_distinct
    from hpa_model.evaluation.sample_map import check_map, write_map
    from hpa_model.predict import read_embeddings

    refuse_unused(ctx, "seed", when=check_map(out, method) == "pca", reason="with the method pca")
    check_distinct({"out": out}, inputs={"EMBEDDINGS": embeddings})
    done = write_map(read_embeddings(embeddings), out, color=color, method=method, seed=seed)
    report = {"out": str(done.out), "n_samples": done.n_samples, "method": done.method}
    show(report, as_json, f"{done.out}: {done.caption}")
