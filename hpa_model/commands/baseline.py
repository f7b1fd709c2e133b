"""The command `hpa baseline`: its options and its text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from hpa_data.commands.console import escape, progress, quiet, resumable, show
from hpa_data.commands.options import STORE, Json, Overwrite, RetryMinutes, Seed, Threads, refuse_unused
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.baseline.settings import IN_WORDS, BaselineSettings, Classifier
from hpa_model.commands.channels import Channels, split_channels
from hpa_model.commands.evaluate import describe_scores, write_report_file
from hpa_model.config import DEFAULTS, TrainConfig

if TYPE_CHECKING:
    from hpa_model.training.baseline import FinishedBaseline

_PARTS, _CHANNELS = list(DEFAULTS.parts), list(DEFAULTS.channels)
SETTINGS = BaselineSettings()


def baseline(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    out: Annotated[Path, typer.Option(help="The run folder to make, or to resume.")],
    model: Annotated[
        Classifier,
        typer.Option(help=f"Whose probabilities are the run's: {', '.join(get_args(Classifier))}.", metavar="NAME"),
    ] = SETTINGS.model,
    image_size: Annotated[
        int, typer.Option(help="Pixels of the shorter side of the images that are measured.", metavar="N")
    ] = SETTINGS.image_size,
    parts: Annotated[
        list[str], typer.Option("--part", help="A part of STORE to fit and score on; repeatable.", metavar="NAME")
    ] = _PARTS,
    channels: Channels = _CHANNELS,
    folds: Annotated[int, typer.Option(help="Number of folds, at least 2.", metavar="N")] = DEFAULTS.folds,
    fold_method: Annotated[
        FoldMethod,
        typer.Option(help=f"How samples are assigned to folds: {', '.join(get_args(FoldMethod))}.", metavar="METHOD"),
    ] = DEFAULTS.fold_method,
    duplicates: Annotated[
        DuplicateSearch,
        typer.Option(
            help=f"Duplicates that stay in one fold: {', '.join(get_args(DuplicateSearch))}. auto: near where that "
            "takes less than a minute, else exact.",
            metavar="KIND",
        ),
    ] = DEFAULTS.duplicates,
    legacy_leak: Annotated[
        bool,
        typer.Option(
            "--legacy-leak",
            help="Split samples and copies alike into contiguous folds, as `hpa train` does with this option.",
        ),
    ] = DEFAULTS.legacy_leak,
    seed: Seed = DEFAULTS.seed,
    allow_unlabeled: Annotated[
        bool, typer.Option("--allow-unlabeled", help="Fit also on parts of which no sample has a class.")
    ] = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Fit classical features and trees, a floor for networks; resumable.

    The folds are those that `hpa train` makes with the same options. Writes a run folder like any other.
    """
    from hpa_data.store.store import open_store

    refuse_unused(ctx, "fold_method", "duplicates", when=legacy_leak, reason="with --legacy-leak")
    settings = BaselineSettings(model=model, image_size=image_size)
    config = TrainConfig(
        parts=tuple(parts),
        channels=tuple(split_channels(channels)),
        folds=folds,
        fold_method=fold_method,
        duplicates=duplicates,
        legacy_leak=legacy_leak,
        seed=seed,
    )
    opened = open_store(store)

    with quiet():
        from hpa_model.training.baseline import train_baseline
        from hpa_model.training.data import summarize_data

    data = summarize_data(opened, config.parts)
    if allow_unlabeled or not data.empty_parts:
        for notice in data.list_notices(legacy_leak=legacy_leak):
            print(escape(str(notice)), file=sys.stderr)
    with resumable(out, overwrite=overwrite), progress("samples") as shown:
        finished = train_baseline(
            opened,
            config,
            out,
            settings=settings,
            overwrite=overwrite,
            allow_unlabeled=allow_unlabeled,
            threads=threads,
            progress=shown,
        )
    text = [describe_scores(finished.scores), describe_alone(finished, model)]
    text.append(write_report_file(out, opened, finished.scores))
    show(finished.scores, as_json, "\n".join(text))


def describe_alone(finished: "FinishedBaseline", model: Classifier) -> str:
    """Describe the scores of each classifier, and which is that of the run."""
    from hpa_model.evaluation.records import THRESHOLDINGS

    headline = THRESHOLDINGS[0]
    lines = [f"The same with each classifier, {headline.label}:"]
    for name, scores in finished.alone.items():
        lines.append(f"  {scores[headline.name]:.3f}  {IN_WORDS[name]}{' (this run)' if name == model else ''}")
    return "\n".join(lines)
