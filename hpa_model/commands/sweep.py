"""The command `hpa sweep`: its options and its text."""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hpa_data.commands.console import escape, progress, quiet, resumable, show
from hpa_data.commands.options import STORE, Json, RetryMinutes, refuse_unused, was_given
from hpa_data.errors import InputError
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
from hpa_model.commands.train import merge_options
from hpa_model.config import DEFAULTS
from hpa_model.sweep.options import (
    DEFAULT_TRIALS,
    HEADLINE_METRIC,
    MAX_TRIALS,
    METRICS,
    Method,
    MethodChoice,
    Metric,
    Prune,
)

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.sweep.space import Varied
    from hpa_model.sweep.study import Study, Trial

_PARTS = list(DEFAULTS.parts)
# Options that mean nothing for a search that is shown.
_OF_SEARCHING = (
    *("out", "recipe", "setting", "trials", "metric", "method", "search_seed", "prune", "weights", "model", "parts"),
    *("folds", "epochs", "image_size", "cache", "cache_gib", "checkpoint_minutes", "allow_unlabeled", "retry_failed"),
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
        int, setting(help="Number of folds; one model is trained for each.", metavar="N")
    ] = DEFAULTS.folds,
    epochs: Epochs = DEFAULTS.epochs,
    image_size: ImageSize = str(DEFAULTS.image_size),
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run trials that failed again.")] = False,
    cache: CacheKind = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: CheckpointMinutes = 10,
    allow_unlabeled: Annotated[
        bool, typer.Option("--allow-unlabeled", help="Train also on parts of which no sample has a class.")
    ] = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Search for good settings: train with many, and rank them; rerun to resume.

    Several processes may work on one search: run the same command in each. `hpa sweep SWEEP` shows one.
    """
    from hpa_model.sweep.study import is_sweep, read_study

    if vary is None or out is None:
        if vary is None and out is None and (is_sweep(Path(store)) or not _is_store(store)):
            refuse_unused(ctx, *_OF_SEARCHING, when=True, reason="where a search is shown")
            _show_study(read_study(Path(store)), Path(store), as_json=as_json)
            return
        missing = "vary" if vary is None else "out"
        example = "--vary learning_rate=log:1e-4..1e-2" if vary is None else "--out sweep"
        raise InputError(f"{missing} must be given with a store. Received: none. Pass {example}, for example.")
    check_cache(ctx, cache, cache_gib)
    with quiet():
        from hpa_model.backend import describe_device

        describe_device(1)  # its libraries write lines when they first look for GPUs
    opened, wanted = _plan_study(ctx, store, out, vary)
    from hpa_model.sweep.run import TrialOptions, run_sweep
    from hpa_model.training.job import Checkpointing

    options = TrialOptions(
        allow_unlabeled=allow_unlabeled,
        cache_bytes=choose_cache(opened, _configure_data(wanted), cache, cache_gib),
        checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes),
    )
    with resumable(out, overwrite=False), progress("images") as shown:
        study = run_sweep(
            opened,
            wanted,
            out,
            options=dataclasses.replace(options, progress=shown),
            retries_failed=retry_failed,
            on_begin=_print_begin,
            on_end=_print_end,
        )
    _show_study(study, out, as_json=as_json)
    if any(trial.state == "failed" for trial in study.trials):
        raise typer.Exit(1)


def _is_store(path: str) -> bool:
    """Tell whether a path may be a store: anything but a folder without Zarr metadata."""
    return not Path(path).is_dir() or (Path(path) / "zarr.json").exists()


def _plan_study(ctx: typer.Context, store: str, out: Path, vary: list[str]) -> "tuple[Store, Study]":
    """Check what is asked for, and return the store, opened, and the study."""
    from hpa_data.store.store import open_store
    from hpa_model.config import find_recipe
    from hpa_model.sweep.run import describe_store
    from hpa_model.sweep.space import OPTIONS, nest_settings, parse_space
    from hpa_model.sweep.study import Study, is_sweep, read_study

    asked = ctx.params
    settings = merge_options(ctx, asked["recipe"] and find_recipe(asked["recipe"]), asked["setting"] or [])
    space = parse_space(vary, settings)
    for varied in space:  # of a recipe it is replaced
        on_line = merge_options(ctx, None, asked["setting"] or [])
        name = varied.name.removeprefix(OPTIONS)
        if name in (on_line.get("options", {}) if varied.name.startswith(OPTIONS) else on_line):
            raise InputError(f"{varied.name} must be set or varied. Received: both. Leave one out.")
        settings.pop(varied.name, None)
    n_points, existing = _count(space), read_study(out) if is_sweep(out) else None
    method = _choose_method(asked["method"], asked["trials"], space, existing)
    n_trials = asked["trials"] or (n_points if method == "grid" and n_points else DEFAULT_TRIALS)
    if n_points is not None:
        n_trials = min(n_trials, n_points)
    metric, prune = asked["metric"], asked["prune"]
    _check_metric(metric, prune, space)
    plain = json.loads(json.dumps({name: value for name, value in settings.items() if _differs(name, value)}))
    weights = asked["weights"] or ""
    weights = "" if weights == "none" else weights if weights == "imagenet" else weights and str(Path(weights).absolute())
    study = Study(
        settings=plain,
        space=space,
        metric=metric,
        method=method,
        seed=asked["search_seed"],
        prune=prune,
        n_trials=n_trials,
        weights=weights,
        store="",
        fingerprints={},
        versions={},
    )
    opened = open_store(store)
    return opened, dataclasses.replace(study, **describe_store(opened, _configure_data(study)))
