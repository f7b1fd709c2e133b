"""The command `hpa explain`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpa_data.commands.console import abbreviate, escape, progress, quiet, show
from hpa_data.commands.expand import expand_options
from hpa_data.commands.import_options import ReadingOptions
from hpa_data.commands.options import STORE, Json, RetryMinutes, Strict
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.options import Module, import_module
from hpa_model.commands.reading import Like, choose_reading

if TYPE_CHECKING:
    from hpa_model.evaluation.explain import Explained


@expand_options(default="that of the run")
def explain(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder, of networks.")],
    source: Annotated[str, typer.Argument(help=STORE + ", or image files: a folder or an archive (zip, tar, 7z).")],
    files: ReadingOptions,
    out: Annotated[
        Path, typer.Option(help="The folder to write: a picture of each sample, maps.npz and index.json.")
    ] = Path("maps"),
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="A sample; repeatable. By default those that the report of the run shows, or the first 12.",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="A class, or its number; repeatable. By default the true and the predicted ones of each sample, six "
            "at most.",
        ),
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="NAME", help="A part of the store; repeatable. By default those of the run."),
    ] = None,
    folds: Annotated[
        list[int] | None,
        typer.Option(
            "--fold",
            metavar="N",
            help="Use the model of this fold, from 0; repeatable, then the mean of their maps. By default that which "
            "was not trained on the sample, and all for other samples.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The layer whose cells the maps have; by default the last one of 12 rows and columns or more.",
        ),
    ] = None,
    method: Annotated[
        Literal["grad-cam++", "score"],
        typer.Option(
            help="grad-cam++: where the evidence for a class lies. score: what each place adds to its logit, of "
            "networks that average over the image last."
        ),
    ] = "grad-cam++",
    thresholds: Annotated[
        Path | None, typer.Option(metavar="RUN", help="For a run without folds: a run whose thresholds are used.")
    ] = None,
    like: Like = None,
    model: Module = None,
    strict: Strict = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Draw where in an image a network sees a class."""
    with quiet():
        from hpa_model.evaluation.explain import explain_samples

        import_module(model)

    reading = choose_reading(ctx, run, source, like, files)
    with progress("samples") as shown:
        report = explain_samples(
            run,
            source,
            out,
            ids=ids or (),
            classes=classes or (),
            parts=parts or (),
            folds=folds,
            thresholds=thresholds,
            layer=layer,
            method=method,
            reading=reading,
            strict=strict,
            progress=shown,
        )
    show(report, as_json, describe_maps(report))
    if strict and report.notices:
        raise typer.Exit(2)
    if report.failures:
        raise typer.Exit(1)


def describe_maps(report: "Explained") -> str:
    """Describe what `explain_samples` wrote."""
    height, width = report.map_size
    lines = [
        f"{report.out}: {report.n_samples} samples, {report.n_maps} maps of {height} x {width} cells, {report.method} "
        f"at layer {escape(report.layer)}"
    ]
    if report.n_empty:
        lines.append(f"{report.n_empty} maps are 0 everywhere: nothing in the image speaks for the class")
    lines += [escape(str(notice)) for notice in report.notices]
    lines += abbreviate([f"Failed, left out: {failure.id}: {failure.reason}" for failure in report.failures])
    return "\n".join(lines)
