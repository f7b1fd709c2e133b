"""The command `hpa verify`, of stores and runs."""

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hpa_data.commands import verify as stores
from hpa_data.commands.console import abbreviate, escape, show
from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_model.commands.options import Module, import_module

if TYPE_CHECKING:
    from hpa_model.runs.check import RunVerification

# In a run folder, and in that of a pre-training.
DESCRIPTION_FILES = ("config.json", "pretraining.json")
# In that of a search.
STUDY_FILE = "study.json"


@functools.wraps(stores.verify)
def verify(store: str, model: str | None = None, **options: Any) -> None:
    """Check a store, or the folder of a run or a pre-training, which is told by its description."""
    if not any(Path(store, name).is_file() for name in DESCRIPTION_FILES):
        if Path(store, STUDY_FILE).is_file():
            from hpa_model.runs.folder import read_run

            read_run(Path(store))  # which names the runs of the search
        if model is not None:
            raise InputError(f"--model must be given for a run alone. Received: a store, {store}. Leave it out.")
        stores.verify(store, **options)
        return
    from hpa_model.runs.check import verify_run

    for option, flag in {"parts": "--part", "source": "--source", "repair": "--repair", "threads": "--threads"}.items():
        if options[option]:
            raise InputError(f"{flag} must be given for a store alone. Received: a run, {store}. Leave it out.")
    import_module(model)  # files without a seal are read, models with layers of another package, too
    report = verify_run(Path(store), seal=options["seal"])
    show(report, options["as_json"], describe_run(report))
    if report.findings:
        raise typer.Exit(1)


_OF_STORES = inspect.signature(stores.verify)
_MODEL = inspect.Parameter("model", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Module)
verify.__signature__ = _OF_STORES.replace(parameters=[*_OF_STORES.parameters.values(), _MODEL])  # type: ignore[attr-defined]
verify.__annotations__ = {**stores.verify.__annotations__, "model": Module}


def describe_run(report: "RunVerification") -> str:
    """Describe what the check of a run found."""
    lines = [f"{report.run}: {report.n_files} files compared with the seal"]
    if report.n_sealed:
        lines.append(f"Sealed: {report.n_sealed} files")
    if report.unsealed:
        notice = Notice(
            what="no seal: a changed byte may go unnoticed",
            n=len(report.unsealed),
            unit="file",
            examples=report.unsealed[:N_EXAMPLES],
            remedy="Pass --seal to add one to a finished run; finish an unfinished one first.",
        )
        lines.append(str(notice))
    return "\n".join([*map(escape, lines), *abbreviate(list(report.findings))])
