"""The command `hpa predict`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import abbreviate, progress, quiet, show
from hpa_data.commands.options import STORE, Json, refuse_unused

if TYPE_CHECKING:
    from hpa_model.predict import Prediction


_PARTS = ["test"]


def predict(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[str, typer.Argument(help=STORE + ", or a folder of image files.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("submission.csv"),
    parts: Annotated[
        list[str], typer.Option("--part", metavar="NAME", help="A part of the store to predict; repeatable.")
    ] = _PARTS,
    sample_submission: Annotated[
        Path | None, typer.Option(help="A CSV table whose Id column determines the rows and their order.")
    ] = None,
    allow_empty: Annotated[
        bool,
        typer.Option("--allow-empty", help="Allow rows without a class; by default the likeliest is predicted."),
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Test-time augmentation: average over flips and rotations of each image.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict samples with the models of all folds; write a submission."""
    with quiet():
        from hpa_model.predict import is_store, predict_submission

    is_folder = Path(source).is_dir() and not is_store(source)
    refuse_unused(ctx, "parts", when=is_folder, reason="with a folder of image files")
    with progress("images") as shown:
        report = predict_submission(
            run,
            source,
            out,
            parts=parts,
            sample_submission=sample_submission,
            allow_empty=allow_empty,
            tta=tta,
            progress=shown,
        )
    show(report, as_json, describe_prediction(report))
    if report.failed:
        raise typer.Exit(1)


def describe_prediction(report: "Prediction") -> str:
    """Describe what a prediction wrote."""
    lines = [f"{report.out}: {report.n_rows} rows, {report.n_labels / max(report.n_rows, 1):.2f} classes per row"]
    lines += abbreviate([f"Failed, row left empty: {name}" for name in report.failed])
    if report.n_extra:
        lines.append(f"Left out, not in the sample submission: {report.n_extra} samples")
    return "\n".join(lines)
