"""The commands `hpa train` and `hpa finetune`: their options and their text."""

import contextlib
import dataclasses
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hpa_data.commands.console import escape, progress, quiet, resumable, show
from hpa_data.commands.options import STORE, Json, Overwrite, RetryMinutes, has_no_effect, refuse_unused, was_given
from hpa_data.errors import InputError
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_data.system.hosts import find_place
from hpa_model.commands.channels import RecipeChannels, split_channels
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
    Module,
    PrecisionOption,
    Symmetries,
    Tensorboard,
    check_cache,
    check_cache_size,
    choose_cache,
    choose_logs,
    import_module,
    setting,
)
from hpa_model.commands.trained import describe_run, describe_unfinished, encode_runs, print_epoch
from hpa_model.config import FoldChoice, Loss, Sampling, TrainConfig

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
        from hpa_model.backend import describe_device, over_hosts
        from hpa_model.training.finetune import train_and_finetune
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


def finetune(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    loss: Annotated[Loss, typer.Option(help="The loss; f1 is the soft macro-F1.")] = "bce",
    epochs: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Number of epochs. Which epoch's model is kept: as in the run (setting keep)."
        ),
    ] = 14,
    which_folds: Annotated[
        FoldChoice, typer.Option(help="Fine-tune the model of the best fold, as the paper did, or of all folds.")
    ] = DEFAULTS.finetune_folds,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate; by default that of the run.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images per step; by default those of the run.")
    ] = None,
    model: Module = None,
    store: Annotated[str | None, typer.Option(help="The store, if it was moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make. By default RUN-finetuned-LOSS.")] = None,
    cache: CacheKind = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: CheckpointMinutes = 10,
    log: Logs = None,
    tensorboard: Tensorboard = False,
    overwrite: Overwrite = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Fine-tune the classification heads of the models of a run.

    The convolutional backbones stay as they are. The result is another run folder; rerun to resume.
    """
    from hpa_data.store.store import open_store
    from hpa_model.evaluation.scores import score_run
    from hpa_model.runs.folder import read_run

    check_cache_size(ctx, cache, cache_gib)
    description = read_run(run)
    check_cache(ctx, cache, cache_gib, store or str(description.store))
    try:
        opened = open_store(store or description.store)
    except InputError as error:
        raise InputError(f"{error} If the store was moved, pass --store.") from error
    with quiet():
        from hpa_model.backend import describe_device
        from hpa_model.training.finetune import finetune as finetune_run
        from hpa_model.training.finetune import name_finetuned
        from hpa_model.training.job import Checkpointing
        from hpa_model.training.train import TrainedRun

        describe_device(1)  # as in `train`
        import_module(model)

    cache_bytes = choose_cache(opened, description.config, cache, cache_gib)
    out = out or name_finetuned(run, loss)
    with resumable(out, overwrite=overwrite), progress("images") as shown:
        finished = finetune_run(
            run,
            loss=loss,
            epochs=epochs,
            folds=which_folds,
            learning_rate=learning_rate,
            batch_size=batch_size,
            store=opened,
            out=out,
            overwrite=overwrite,
            cache_bytes=cache_bytes,
            progress=shown,
            on_epoch=print_epoch,
            checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes, logs=choose_logs(log, tensorboard)),
        )
    text = describe_run(finished.run, finished.scores, opened)
    before = [TrainedRun(run=run, scores=score_run(run))] if as_json else []
    show(encode_runs([*before, TrainedRun(run=finished.run, scores=finished.scores)]), as_json, text)


def read_settings(ctx: typer.Context, recipe: Path | None, texts: list[str]) -> TrainConfig:
    """Build a configuration from what `merge_options` merges."""
    from hpa_model.config import make_config

    return make_config(merge_options(ctx, recipe, texts))


def refuse_unused_settings(
    ctx: typer.Context,
    config: TrainConfig,
    recipe: Path | None,
    texts: list[str],
    *,
    weights: str | None = None,
    varied: Collection[str] = (),
) -> None:
    """Refuse settings that stand on the command line, as options or by ``--set``, and have no effect: InputError.

    Those of a recipe may have none, as it is written for many command lines, and may be replaced. `weights` are what a
    training starts from; `varied` is as for `list_unused`.
    """
    from hpa_model.config import list_unused, load_recipe, parse_setting

    replaced = {} if recipe is None else load_recipe(recipe)
    unused = list_unused(config, has_weights=weights not in {None, "", "none"}, varied=varied)
    if weights and weights not in {"none", "imagenet"} and Path(weights).is_dir():
        unused.setdefault("stem", "where a training starts from a run or an encoder, whose channels are known")
    for name, reason in unused.items():
        if name in replaced:
            continue
        refuse_unused(ctx, name, when=name in ctx.params, reason=reason)
        for text in texts:
            if name in parse_setting(text):
                raise has_no_effect(f"--set {text}", reason)


def merge_options(ctx: typer.Context, recipe: Path | None, texts: list[str]) -> dict[str, Any]:
    """Merge the settings of a recipe, of ``--set`` and of the options on the command line, later ones winning."""
    from hpa_model.config import load_recipe, merge_settings, parse_image_size, parse_mix, parse_setting

    fields = [field.name for field in dataclasses.fields(TrainConfig)]
    options = {name: ctx.params[name] for name in fields if name in ctx.params and was_given(ctx, name)}
    if "image_size" in options:
        options["image_size"] = parse_image_size(options["image_size"])
    if "mix" in options:
        options["mix"] = parse_mix(options["mix"])
    if "channels" in options:
        options["channels"] = split_channels(options["channels"])
    settings = load_recipe(recipe) if recipe is not None else {}
    for text in texts:
        parsed = parse_setting(text)
        refuse_unused(ctx, *(parsed.keys() & fields), when=True, reason=f"beside --set {text}")
        is_entry = "." in text.partition("=")[0]  # of a table, whose others stay
        settings = merge_settings(settings, parsed, tables=("options", *parsed) if is_entry else ("options",))
    return merge_settings(settings, options)
