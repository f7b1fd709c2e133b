"""The command `hpa export`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, progress, quiet, show
from hpa_data.commands.options import Json, Overwrite
from hpa_data.errors import InputError
from hpa_model.commands.options import Module, import_module
from hpa_model.predict.export.options import N_CHECKED, Format

if TYPE_CHECKING:
    from hpa_model.predict.export import ExportedModel

ENSEMBLE = "ensemble"


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    kind: Annotated[Format, typer.Option("--format", help="The format of the model.")],
    out: Annotated[Path, typer.Option(help="The folder to make, with the model, its JSON and a script that loads it.")],
    fold: Annotated[
        str,
        typer.Option(metavar="K|ensemble", help="The model of this fold, from 0, or the mean of all, in one model."),
    ] = ENSEMBLE,
    thresholds: Annotated[
        Path | None, typer.Option(metavar="RUN", help="For a run without folds: the run whose thresholds are used.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="The store to compare on, or its URL. By default the run's.")
    ] = None,
    check_samples: Annotated[
        int, typer.Option(metavar="N", min=1, max=4096, help="Samples on which the model is compared with the run.")
    ] = N_CHECKED,
    overwrite: Overwrite = False,
    model: Module = None,
    as_json: Json = False,
) -> None:
    """Write the networks of a run as one model for other programs."""
    folds = _read_fold(fold)
    with quiet():
        from hpa_model.predict.export import export_run

        import_module(model)
    with progress("images") as shown:
        report = export_run(
            run,
            kind,
            out,
            folds=folds,
            thresholds=thresholds,
            store=store,
            n_checked=check_samples,
            overwrite=overwrite,
            progress=shown,
        )
    show(report, as_json, describe_export(report))


def _read_fold(text: str) -> list[int] | None:
    """Read the number of a fold; None for all."""
    if text == ENSEMBLE:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"fold must be a number from 0, or {ENSEMBLE}. Received: {text!r}. Choose one of them.")
    return [int(text)]


def describe_export(report: "ExportedModel") -> str:
    """Describe what `export_run` wrote."""
    models = " and ".join(f"fold {fold}" for fold in report.folds) or "the model of all samples"
    lines = [
        f"{report.out / report.file}: {report.format}, {models}, {report.n_bytes / 1e6:.1f} MB in all",
        f"Largest difference from the run: {report.max_difference:.1e} on {report.n_checked} {report.checked_on} "
        f"(at most {report.tolerance:.0e} is allowed)",
        f"To load it without hpa: {report.out / 'predict.py'}",
    ]
    return "\n".join([*lines, *(escape(str(notice)) for notice in report.notices)])
