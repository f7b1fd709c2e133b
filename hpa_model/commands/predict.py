"""The command `hpa predict`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer

from hpa_data.commands.console import STORE, Json, progress, quiet, show


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[str, typer.Argument(help=STORE + ", or a folder of image files.")],
    out: Annotated[Path, typer.Option(help="The CSV file to make, or to replace.")] = Path("submission.csv"),
    part: Annotated[str, typer.Option(help="The part of the store.")] = "test",
    sample_submission: Annotated[Path | None, typer.Option(help="A CSV table whose Id column sets the order.")] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Keep rows without a class.")] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over mirrors and right-angle turns of each image.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict a test part or folder with all folds and write a submission."""
    with quiet():
        from hpa_model.predict import predict_submission

    with progress("images") as shown:
        done = predict_submission(
            run,
            source,
            out,
            part=part,
            sample_submission=sample_submission,
            allow_empty=allow_empty,
            tta=tta,
            progress=shown,
        )
    lines = [f"{out}: {done.n_rows} rows, {done.n_labels / max(done.n_rows, 1):.2f} classes a row"]
    lines += [f"Not predicted, row left empty: {name}" for name in done.failed]
    if done.n_extra:
        lines.append(f"Not asked for by the sample submission: {done.n_extra} samples")
    show(done, as_json, "\n".join(lines))
    if done.failed:
        raise typer.Exit(1)
