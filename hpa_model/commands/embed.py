"""The command `hpa embed`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import abbreviate, escape, progress, quiet, show
from hpa_data.commands.expand import expand_options
from hpa_data.commands.import_options import ReadingOptions
from hpa_data.commands.options import STORE, Json, RetryMinutes, Strict
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.options import CacheGib, Calibrated, DiskCacheKind, Module, check_cache, import_module
from hpa_model.commands.reading import Like, choose_reading

if TYPE_CHECKING:
    from hpa_model.predict import EmbeddedSamples

_PARTS = ["train"]


@expand_options(default="that of the run")
def embed(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[str, typer.Argument(help=STORE + ", or image files: a folder or an archive (zip, tar, 7z).")],
    files: ReadingOptions,
    out: Annotated[Path, typer.Option(help="The file to write: .h5ad (AnnData), .parquet or .npz.")],
    parts: Annotated[
        list[str], typer.Option("--part", metavar="NAME", help="A part of the store; repeatable.")
    ] = _PARTS,
    folds: Annotated[
        list[int] | None,
        typer.Option(
            "--fold",
            metavar="N",
            help="Use the model of this fold, from 0; repeatable. By default all, with their features side by side.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A layer of the network, averaged over rows and columns; by default what goes into the output layer.",
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A table with a column of ids, whose other columns, such as cell lines, are written beside the "
            "features: CSV, TSV, Excel or Parquet.",
        ),
    ] = None,
    calibrated: Calibrated = False,
    like: Like = None,
    model: Module = None,
    cache: DiskCacheKind = "none",
    cache_gib: CacheGib = None,
    strict: Strict = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Write the features of each sample that a network sees."""
    with quiet():
        from hpa_model.predict import embed_samples

        import_module(model)

    check_cache(ctx, cache, cache_gib, source, allows_ram=False)
    reading = choose_reading(ctx, run, source, like, files)
    with progress("images") as shown:
        report = embed_samples(
            run,
            source,
            out,
            parts=parts,
            folds=folds,
            layer=layer,
            reading=reading,
            metadata=metadata,
            calibrated=calibrated,
            strict=strict,
            progress=shown,
        )
    show(report, as_json, describe_embeddings(report))
    if strict and report.notices:
        raise typer.Exit(2)
    if report.failures:
        raise typer.Exit(1)


def describe_embeddings(report: "EmbeddedSamples") -> str:
    """Describe what `embed_samples` wrote."""
    lines = [f"{report.out}: {report.n_samples} samples, {report.n_features} features each"]
    lines += [escape(str(notice)) for notice in report.notices]
    lines += abbreviate([f"Failed, left out: {failure.id}: {failure.reason}" for failure in report.failures])
    if report.n_left_out:
        lines.append(f"Left out, a channel is missing: {report.n_left_out} samples")
    return "\n".join(lines)
