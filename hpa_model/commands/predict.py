"""The command `hpa predict`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import abbreviate, escape, progress, quiet, show
from hpa_data.commands.expand import expand_options
from hpa_data.commands.import_options import ReadingOptions
from hpa_data.commands.options import STORE, Json, RetryMinutes, Strict, refuse_unused
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.options import CacheGib, Calibrated, DiskCacheKind, Module, check_cache, import_module
from hpa_model.commands.reading import Like, choose_reading

if TYPE_CHECKING:
    from hpa_model.predict import Prediction


_PARTS = ["test"]


@expand_options(default="that of the run")
def predict(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[str, typer.Argument(help=STORE + ", or image files: a folder or an archive (zip, tar, 7z).")],
    files: ReadingOptions,
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("submission.csv"),
    parts: Annotated[
        list[str], typer.Option("--part", metavar="NAME", help="A part of the store to predict; repeatable.")
    ] = _PARTS,
    folds: Annotated[
        list[int] | None,
        typer.Option(
            "--fold",
            metavar="N",
            help="Predict with the model of this fold, from 0, and thresholds fitted to its rows; repeatable. By "
            "default, the mean of all.",
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="For a run without folds, which has no thresholds: those of another run. By default 0.5.",
        ),
    ] = None,
    like: Like = None,
    sample_submission: Annotated[
        Path | None, typer.Option(help="A CSV table whose Id column determines the rows and their order.")
    ] = None,
    probs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the probability of each class: a .csv, .parquet or .npz file."),
    ] = None,
    calibrated: Calibrated = False,
    names: Annotated[bool, typer.Option("--names", help="Add a column with the names of the classes.")] = False,
    allow_empty: Annotated[
        bool,
        typer.Option("--allow-empty", help="Allow rows without a class; by default the likeliest is predicted."),
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Test-time augmentation: average over flips and rotations of each image.")
    ] = False,
    model: Module = None,
    cache: DiskCacheKind = "none",
    cache_gib: CacheGib = None,
    strict: Strict = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Predict samples with the models of all folds; write a submission.

    Image files are read as those of the run were, unless options say otherwise.
    """
    with quiet():
        from hpa_model.predict import predict_submission

        import_module(model)

    check_cache(ctx, cache, cache_gib, source, allows_ram=False)
    reading = choose_reading(ctx, run, source, like, files)
    refuse_unused(ctx, "calibrated", when=probs is None, reason="without --probs, as classes stay the same")
    with progress("images") as shown:
        report = predict_submission(
            run,
            source,
            out,
            parts=parts,
            folds=folds,
            thresholds=thresholds,
            reading=reading,
            sample_submission=sample_submission,
            probs=probs,
            names=names,
            allow_empty=allow_empty,
            tta=tta,
            calibrated=calibrated,
            strict=strict,
            progress=shown,
        )
    show(report, as_json, describe_prediction(report))
    if strict and report.notices:
        raise typer.Exit(2)
    if report.failed:
        raise typer.Exit(1)


def describe_prediction(report: "Prediction") -> str:
    """Describe what a prediction wrote."""
    per_row = f"{report.n_labels / max(report.n_rows, 1):.2f} classes per row"
    if report.labels_per_sample == report.labels_per_sample:  # not NaN
        per_row += f", the training data has {report.labels_per_sample:.2f}"
    lines = [f"{report.out}: {report.n_rows} rows, {per_row}"]
    if report.probs is not None:
        lines.append(f"{report.probs}: the probability of each class")
    lines += [escape(str(notice)) for notice in report.notices]
    lines += abbreviate(
        [f"Failed, row left empty: {failure.id}: {failure.reason}" for failure in report.failures],
    )
    if report.failed:
        lines.append(f"Rows left empty: {len(report.failed)} of {report.n_rows}")
    if report.n_left_out:
        lines.append(f"Left out, a channel is missing: {report.n_left_out} samples")
    if report.n_extra:
        lines.append(f"Left out, not in the sample submission: {report.n_extra} samples")
    return "\n".join(lines)
