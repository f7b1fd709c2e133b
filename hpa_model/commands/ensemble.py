"""The command `hpa ensemble`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from hpa_data.commands.console import escape, quiet, resumable, show
from hpa_data.commands.options import Json, Overwrite
from hpa_model.commands.evaluate import NAME_WIDTH, describe_scores, write_report_file
from hpa_model.config import JoinMethod

if TYPE_CHECKING:
    from hpa_model.evaluation.contributions import Contributions


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, at least two, over the same samples and folds.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    method: Annotated[
        JoinMethod,
        typer.Option(
            help=f"How probabilities are joined: {', '.join(get_args(JoinMethod))} (a logistic regression for each "
            "class). What joins a fold is fitted on the others.",
            metavar="METHOD",
        ),
    ] = "mean",
    store: Annotated[
        str | None, typer.Option(help="The store, if it was moved. The report shows images from it.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Join finished runs into one, such as one for each channel.

    Writes a run folder like any other, and says what each run adds. Predicting with it runs the models of all.
    """
    from hpa_data.store.store import open_store

    opened = None if store is None else open_store(store)
    with quiet():
        from hpa_model.training.ensemble import join_runs

    with resumable(out, overwrite=overwrite):
        finished = join_runs(runs, out, method=method, overwrite=overwrite)
    lines = [describe_scores(finished.scores), "", describe_contributions(finished.contributions)]
    lines += [f"Run folder: {out}", write_report_file(out, opened, finished.scores)]
    show(finished, as_json, "\n".join(lines))


def describe_contributions(found: "Contributions") -> str:
    """Describe what each member adds, in a table."""
    names = [escape(member.run) for member in found.members]
    width = min(NAME_WIDTH, max(len("member"), *map(len, names)))
    channels = [", ".join(member.channels) for member in found.members]
    width_channels = min(NAME_WIDTH, max(len("channels"), *map(len, channels)))
    has_weights = any(member.weight is not None for member in found.members)
    head = f"{'weight':>8}" if has_weights else ""
    lines = [
        f"{'member':<{width}}  {'channels':<{width_channels}}{head}{'alone':>8}{'without':>9}{'adds':>8}  95 % interval"
    ]
    for name, of_member, member in zip(names, channels, found.members, strict=True):
        weight = "" if member.weight is None else f"{member.weight:>8.3f}"
        lines.append(
            f"{name:<{width}}  {escape(of_member):<{width_channels}}{weight}{member.alone:>8.3f}"
            f"{member.without:>9.3f}{member.adds:>+8.3f}  {member.low:+.3f} to {member.high:+.3f}"
        )
    lines.append(
        "alone: macro-F1 of the run; without: of the others, joined in the same way; adds: what the ensemble gains by "
        "it. The intervals hold together 95 % of the time."
    )
    return "\n".join(lines)
