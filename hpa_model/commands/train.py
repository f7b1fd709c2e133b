"""The command `hpa train`: its options and its text."""

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from hpa_data.commands.console import escape, progress, quiet, resumable, show
from hpa_data.commands.options import STORE, Json, Overwrite, RetryMinutes
from hpa_data.errors import InputError
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_data.system.launch import find_place
from hpa_model.commands.channels import RecipeChannels
from hpa_model.commands.evaluate import describe_comparison
from hpa_model.commands.options import (
    Augment,
    BatchSize,
    CacheGib,
    CacheKind,
    CheckpointMinutes,
    Coordinator,
    Devices,
    Epochs,
    HostCount,
    HostIndex,
    ImageSize,
    LearningRate,
    Logs,
    PrecisionOption,
    Symmetries,
    Tensorboard,
    check_cache,
    choose_cache,
    choose_logs,
    setting,
)
from hpa_model.commands.settings import read_settings, refuse_unused_settings
from hpa_model.commands.trained import describe_run, describe_unfinished, encode_runs, print_epoch
from hpa_model.config import Loss, Sampling, TrainConfig

if TYPE_CHECKING:
    from hpa_data.store.store import Store

DEFAULTS = TrainConfig()
_PARTS, _CHANNELS, _MIX = list(DEFAULTS.parts), list(DEFAULTS.channels), list[str]()


def train(  # the options of the recipe are called as the fields of TrainConfig, and default to its defaults
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    out: Annotated[Path, typer.Option(help="The run folder to make, or to resume.")],
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Settings: a name, see `hpa recipes`, or a TOML file. Options on the command line take precedence.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="none|imagenet|FILE|RUN",
            help="Start from ImageNet's weights, a Keras file, a run of this network or an encoder of `hpa pretrain`.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe, such as optimizer=sgd; repeatable."),
    ] = None,
    model: Annotated[
        str, setting(help="The network, see `hpa models`, or package.module:function.", metavar="NAME")
    ] = DEFAULTS.model,
    parts: Annotated[
        list[str], setting("--part", help="A part of STORE to train on; repeatable.", metavar="NAME")
    ] = _PARTS,
    channels: RecipeChannels = _CHANNELS,
    folds: Annotated[
        int,
        setting(
            help="Number of folds, one model for each. 1: a share of the samples validates it. 0: none does.",
            metavar="N",
        ),
    ] = DEFAULTS.folds,
    validation: Annotated[
        float, setting(help="With --folds 1: the share of the samples that validate the model.", metavar="SHARE")
    ] = DEFAULTS.validation,
    which: Annotated[
        list[int] | None,
        typer.Option(
            "--fold",
            metavar="N",
            help="Train this fold alone, from 0; repeatable. Other processes may train others; the last one scores the "
            "run.",
        ),
    ] = None,
    fold_method: Annotated[
        FoldMethod,
        setting(help=f"How samples are assigned to folds: {', '.join(get_args(FoldMethod))}.", metavar="METHOD"),
    ] = DEFAULTS.fold_method,
    duplicates: Annotated[
        DuplicateSearch,
        setting(
            help=f"Duplicates that stay in one fold: {', '.join(get_args(DuplicateSearch))}. auto: near where that "
            "takes less than a minute, else exact.",
            metavar="KIND",
        ),
    ] = DEFAULTS.duplicates,
    legacy_leak: Annotated[
        bool,
        setting(
            "--legacy-leak",
            help="Split samples and copies alike into contiguous folds, as the paper probably did. Inflates scores.",
        ),
    ] = DEFAULTS.legacy_leak,
    epochs: Epochs = DEFAULTS.epochs,
    batch_size: BatchSize = DEFAULTS.batch_size,
    loss: Annotated[Loss, setting(help="The loss; f1 is the soft macro-F1.")] = DEFAULTS.loss,
    sampling: Annotated[
        Sampling,
        setting(
            help=f"How often samples of rare classes are drawn: {', '.join(get_args(Sampling))}. balanced: each class "
            "equally often.",
            metavar="KIND",
        ),
    ] = DEFAULTS.sampling,
    mix: Annotated[
        list[str],
        setting(
            "--mix",
            help="Weights of the parts in an epoch: train=1,external=1 for as many images of each.",
            metavar="PART=WEIGHT,…",
        ),
    ] = _MIX,
    learning_rate: LearningRate = DEFAULTS.learning_rate,
    image_size: ImageSize = str(DEFAULTS.image_size),
    symmetries: Symmetries = DEFAULTS.symmetries,
    augment: Augment = "none",
    precision: PrecisionOption = DEFAULTS.precision,
    devices: Devices = DEFAULTS.devices,
    coordinator: Coordinator = None,
    host_index: HostIndex = None,
    n_hosts: HostCount = None,
    seed: Annotated[
        int, setting(help="Seed of folds, weights, order, augmentation and dropout.", metavar="N")
    ] = DEFAULTS.seed,
    cache: CacheKind = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: CheckpointMinutes = 10,
    log: Logs = None,
    tensorboard: Tensorboard = False,
    allow_unlabeled: Annotated[
        bool,
        typer.Option("--allow-unlabeled", help="Train also on parts of which no sample has a class."),
    ] = False,
    overwrite: Overwrite = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Train one model per fold and write a run folder; rerun to resume.

    Most defaults are those of the paper.
    """
    from hpa_data.store.store import open_store
    from hpa_model.config import find_recipe

    check_cache(ctx, cache, cache_gib, store)
    place = find_place(coordinator, host_index, n_hosts)
    recipe = None if recipe is None else find_recipe(recipe)
    config = read_settings(ctx, recipe, setting or [])
    refuse_unused_settings(ctx, config, recipe, setting or [], weights=weights)
    opened = open_store(store)

    with quiet():
        from hpa_model.backend import describe_device
        from hpa_model.training.finetune import train_and_finetune
        from hpa_model.training.hosts import over_hosts
        from hpa_model.training.job import Checkpointing
        from hpa_model.training.lockstep import agree_on_settings, end_folds, follow

    tell = partial(print, file=sys.stderr)
    with over_hosts(place, tell) as hosts:
        with quiet():
            describe_device(1)  # its libraries write lines when they first look for GPUs
        if hosts is not None:
            agree_on_settings(hosts, config)
            if not hosts.is_first:
                follow(opened, hosts, cache_bytes=choose_cache(opened, config, cache, cache_gib))
                tell(f"Host {hosts.index + 1} of {hosts.n_hosts} has done its share. The first host has the run.")
                return
        _tell_of_samples(opened, config, allow_unlabeled=allow_unlabeled)
        cache_bytes = choose_cache(opened, config, cache, cache_gib)
        with resumable(out, overwrite=overwrite), progress("images") as shown:
            runs = train_and_finetune(
                opened,
                config,
                out,
                folds=which,
                overwrite=overwrite,
                allow_unlabeled=allow_unlabeled,
                recipe=recipe,
                weights=weights,
                cache_bytes=cache_bytes,
                progress=shown,
                on_epoch=print_epoch,
                checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes, logs=choose_logs(log, tensorboard)),
            )
        if hosts is not None:
            end_folds(hosts)
    texts = [describe_unfinished(run) if run.missing else describe_run(run.run, run.scores, opened) for run in runs]
    if len(runs) > 1:
        from hpa_model.evaluation.compare import compare_runs

        texts.append(describe_comparison(compare_runs([run.run for run in runs])))
    text = "\n\n".join(texts)
    show(encode_runs(runs), as_json, text)


def _tell_of_samples(store: "Store", config: TrainConfig, *, allow_unlabeled: bool) -> None:
    """Tell what should be known of the parts of a store before a training on them."""
    from hpa_model.training.data import summarize_data

    with contextlib.suppress(InputError):  # a plain HTTP server cannot list parts
        for name in store.parts():
            if name not in config.parts and store.part(name).copies is not None:
                flags = " ".join(f"--part {part}" for part in (*config.parts, name))
                print(f"The store also holds augmented copies. To train on them, pass {flags}", file=sys.stderr)
    data = summarize_data(store, config.parts)
    # Parts without a class are refused, in one line.
    if allow_unlabeled or not data.empty_parts:
        for notice in data.list_notices(legacy_leak=config.legacy_leak):
            print(escape(str(notice)), file=sys.stderr)
