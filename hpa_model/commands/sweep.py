"""The command `hpa sweep`: its options and its text."""

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hpa_data.commands.console import abbreviate, escape, progress, quiet, resumable, show
from hpa_data.commands.options import STORE, Json, RetryMinutes, refuse_unused
from hpa_data.errors import InputError
from hpa_data.reader.kvstore import is_url
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_data.system.os_errors import describe_os_error
from hpa_model.commands.options import (
    CacheGib,
    CacheKind,
    CheckpointMinutes,
    Epochs,
    ImageSize,
    check_cache,
    choose_cache,
    setting,
)
from hpa_model.commands.settings import merge_options, refuse_unused_settings
from hpa_model.config import DEFAULTS
from hpa_model.sweep.options import (
    DEFAULT_TRIALS,
    MAX_TRIALS,
    METRICS,
    Method,
    MethodChoice,
    Metric,
    Prune,
)

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.sweep.study import Study, Trial

_PARTS = list(DEFAULTS.parts)
# Options that mean nothing for a search that is shown.
_OF_SEARCHING = (
    *("out", "recipe", "setting", "trials", "metric", "method", "search_seed", "prune", "weights", "model", "parts"),
    *("folds", "epochs", "image_size", "cache", "cache_gib", "checkpoint_minutes", "allow_unlabeled", "retry_failed"),
    "give_up",
)


def sweep(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + " with labels; or the folder of a search, to show it.")],
    out: Annotated[Path | None, typer.Option(help="The folder to make, or to resume.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="A setting or an option of the network, and its values: A,B,C or LOW..HIGH or log:LOW..HIGH; "
            "repeatable.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=MAX_TRIALS, help=f"Trials. By default all of a grid, else {DEFAULT_TRIALS}."
        ),
    ] = None,
    metric: Annotated[
        Metric, typer.Option(metavar="NAME", help=f"What trials are compared by: {', '.join(METRICS)}.")
    ] = "val_macro_f1_best",
    method: Annotated[
        MethodChoice,
        typer.Option(
            metavar="NAME",
            help=f"How settings are chosen: {', '.join(get_args(Method))} (from the scores so far). auto: grid if all "
            "values are listed and --trials covers them, else tpe.",
        ),
    ] = "auto",
    prune: Annotated[
        Prune,
        typer.Option(help="End trials that are worse than the median of the others at the same epoch, or none."),
    ] = "none",
    search_seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**32 - 1, help="Seed of the search; of the trainings: --set seed=N."
        ),
    ] = 0,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="NAME|FILE", help="Settings of all trials: a name, see `hpa recipes`, or a TOML file."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="none|imagenet|FILE|RUN", help="What each trial starts from, see `hpa train`.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe, for all trials; repeatable."),
    ] = None,
    model: Annotated[str, setting(help="The network, see `hpa models`.", metavar="NAME")] = DEFAULTS.model,
    parts: Annotated[
        list[str], setting("--part", help="A part of STORE to train on; repeatable.", metavar="NAME")
    ] = _PARTS,
    folds: Annotated[
        int, setting(help="Number of folds. 1: a share of the samples validates one model.", metavar="N")
    ] = DEFAULTS.folds,
    epochs: Epochs = DEFAULTS.epochs,
    image_size: ImageSize = str(DEFAULTS.image_size),
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again.")] = False,
    give_up: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", help="Let trial N fail: one that ends its process each time, by taking all memory; repeatable."
        ),
    ] = None,
    cache: CacheKind = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: CheckpointMinutes = 10,
    allow_unlabeled: Annotated[
        bool, typer.Option("--allow-unlabeled", help="Train also on parts of which no sample has a class.")
    ] = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Train with many settings and rank them; rerun to resume.

    Several processes may work on one search: run the same command in each. `hpa sweep SWEEP` shows one.
    """
    from hpa_data.store.store import open_store
    from hpa_model.sweep.study import is_sweep, read_study

    if vary is None or out is None:
        if vary is None and out is None and (is_sweep(Path(store)) or not _is_store(store)):
            refuse_unused(ctx, *_OF_SEARCHING, when=True, reason="where a search is shown")
            _show_study(read_study(Path(store)), Path(store), as_json=as_json)
            return
        missing = "vary" if vary is None else "out"
        example = "--vary learning_rate=log:1e-4..1e-2" if vary is None else "--out sweep"
        raise InputError(f"{missing} must be given with a store. Received: none. Pass {example}, for example.")
    if is_sweep(Path(store)):
        raise InputError(
            f"STORE must be a store. Received: {store}, the folder of a search. Pass the store, with --out {store}."
        )
    check_cache(ctx, cache, cache_gib, store)
    with quiet():
        from hpa_model.backend import describe_device

        describe_device(1)  # its libraries write lines when they first look for GPUs
        from hpa_model.sweep.plan import configure_data
        from hpa_model.sweep.run import TrialOptions, run_sweep
        from hpa_model.training.job import Checkpointing

    opened = open_store(store)
    wanted = _plan(ctx, opened, out, vary)
    options = TrialOptions(
        allow_unlabeled=allow_unlabeled,
        cache_bytes=choose_cache(opened, configure_data(wanted.settings), cache, cache_gib),
        checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes),
    )
    with resumable(out, overwrite=False), progress("images") as shown:
        study = run_sweep(
            opened,
            wanted,
            out,
            options=dataclasses.replace(options, progress=shown),
            retries_failed=retry_failed,
            given_up=give_up or (),
            on_begin=_print_begin,
            on_end=_print_end,
        )
    _show_study(study, out, as_json=as_json)
    if any(trial.state == "failed" for trial in study.trials):
        raise typer.Exit(1)


def _is_store(path: str) -> bool:
    """Tell whether a path may be a store: a URL, a file, or a folder with Zarr metadata."""
    return is_url(path) or Path(path).is_file() or (Path(path) / "zarr.json").exists()


def _plan(ctx: typer.Context, store: "Store", out: Path, vary: list[str]) -> "Study":
    """Check what is asked for; InputError also for a setting that is both set and varied."""
    from hpa_model.config import find_recipe
    from hpa_model.sweep.plan import configure_common, plan_study
    from hpa_model.sweep.study import is_sweep, read_study

    asked = ctx.params
    texts = asked["setting"] or []
    recipe = None if asked["recipe"] is None else find_recipe(asked["recipe"])
    study = plan_study(
        store,
        merge_options(ctx, recipe, texts),
        vary,
        **{name: asked[name] for name in ("metric", "method", "trials", "prune", "weights")},
        seed=asked["search_seed"],
        existing=read_study(out) if is_sweep(out) else None,
    )
    reason = "with a grid, in which nothing is drawn; the seed of the trainings is --set seed=N"
    refuse_unused(ctx, "search_seed", when=study.method == "grid", reason=reason)
    common = configure_common(study.settings)
    if common is not None:
        free = [varied.name for varied in study.space]
        refuse_unused_settings(ctx, common, recipe, texts, weights=study.weights, varied=free)
    on_line = merge_options(ctx, None, texts)  # what a recipe says is replaced
    names = set(_name_settings(on_line))
    if names & {"symmetries", "augment"}:  # two names for one thing, see `merge_settings`
        names |= {"symmetries", "augment"}
    for varied in study.space:
        if varied.name in names:
            same = " (symmetries is a word of augment)" if varied.name in {"symmetries", "augment"} else ""
            raise InputError(f"{varied.name} must be set or varied. Received: both{same}. Leave one out.")
    return study


def _name_settings(settings: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """Name settings, and the entries of tables among them, as what is varied is named."""
    for name, value in settings.items():
        yield table + name
        if isinstance(value, Mapping):
            yield from _name_settings(value, f"{table}{name}.")


def _print_begin(study: "Study", trial: "Trial") -> None:
    from hpa_model.sweep.space import format_value

    settings = ", ".join(f"{name}={format_value(value)}" for name, value in trial.settings.items())
    print(escape(f"Trial {trial.number} of {study.n_trials}: {settings}"), file=sys.stderr)


def _print_end(study: "Study", trial: "Trial") -> None:
    score = "" if trial.score is None else f"  {study.metric} {trial.score:.4f}"
    best = study.best
    which = "" if best is None else ", the best so far" if best == trial else f"  (best {best.score:.4f})"
    why = f": {trial.reason}" if trial.reason else ""
    print(escape(f"Trial {trial.number} {trial.state}{score}{which}{why}"), file=sys.stderr)


def _show_study(study: "Study", out: Path, *, as_json: bool) -> None:
    """Print what a search has found, and draw its figures."""
    from hpa_model.sweep.study import trial_folder
    from hpa_model.sweep.table import (
        describe_caution,
        describe_metric,
        describe_skill,
        draw_table,
        list_failures,
        write_best,
    )

    paths: list[Path] = []
    recipe, note = None, ""
    try:
        recipe = write_best(out, study)
        from hpa_model.sweep.figures import write_figures

        paths = write_figures(study, out)
    except ImportError as error:
        note = f"No figures: {error.name} is not installed. Run: pip install '.[sweep]'"
    except OSError as error:
        note = f"No figures. {describe_os_error(error)}"
    best = study.best
    lines = [describe_metric(study), "", _escape_lines(draw_table(study)), ""]
    left = study.n_trials - sum(trial.state != "running" for trial in study.trials)
    if left > 0:
        lines.append(
            f"Not finished: {left} of {study.n_trials} trials. Run the same command to go on, unless another process "
            "works on them."
        )
    lines += abbreviate(list_failures(study))
    if best is not None:
        lines.append(f"Best run: {trial_folder(out, best.number)}")
    if recipe is not None:
        lines.append(f"Best recipe: {recipe}")
    lines += [f"Figure: {path}" for path in paths]
    lines += [line for line in (note, describe_skill(study), describe_caution(study, out)) if line]
    result = {
        "sweep": str(out),
        "n_trials": study.n_trials,
        "metric": study.metric,
        "minimizes": study.minimizes,
        "method": study.method,
        "best": None if best is None else best.number,
        "recipe": None if recipe is None else str(recipe),
        "figures": [str(path) for path in paths],
        "trials": [dataclasses.asdict(trial) for trial in study.trials],
    }
    show(result, as_json, "\n".join(lines))


def _escape_lines(text: str) -> str:
    """Escape each line of a text."""
    return "\n".join(map(escape, text.splitlines()))
