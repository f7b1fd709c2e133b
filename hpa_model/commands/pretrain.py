"""The command `hpa pretrain`: its options and its text."""

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, progress, quiet, resumable, show
from hpa_data.commands.options import STORE, Json, Overwrite, RetryMinutes
from hpa_data.errors import InputError
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.channels import RecipeChannels
from hpa_model.commands.options import (
    BatchSize,
    CacheGib,
    CacheKind,
    CheckpointMinutes,
    Devices,
    Epochs,
    ImageSize,
    LearningRate,
    PrecisionOption,
    Symmetries,
    check_cache,
    choose_cache,
    setting,
)
from hpa_model.commands.settings import read_settings, refuse_unused_settings
from hpa_model.config import DEFAULTS, TrainConfig
from hpa_model.config.pretraining import UNUSED_SETTINGS, PretrainSettings

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.runs.history import ReconstructionRecord
    from hpa_model.training.pretrain import FinishedPretraining

DEFAULT_SETTINGS = PretrainSettings()
_PARTS, _CHANNELS = list(DEFAULTS.parts), list(DEFAULTS.channels)


def pretrain(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help=STORE + "; labels are not needed, and not read.")],
    out: Annotated[Path, typer.Option(help="The folder to make, or to resume.")],
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Settings: a name, see `hpa recipes`, or a TOML file. Options on the command line take precedence. "
            "What concerns classes and folds is not used.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe, such as optimizer=sgd; repeatable."),
    ] = None,
    mask: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of each image that is masked, to be filled in.")
    ] = DEFAULT_SETTINGS.mask,
    mask_patch: Annotated[
        int, typer.Option(metavar="N", help="Side of a masked patch, in pixels of the network's input.")
    ] = DEFAULT_SETTINGS.mask_patch,
    noise: Annotated[
        float, typer.Option(metavar="SD", help="Standard deviation of added noise; 1 is the range of gray levels.")
    ] = DEFAULT_SETTINGS.noise,
    validation_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the samples that are held out to validate on.")
    ] = DEFAULT_SETTINGS.validation_share,
    model: Annotated[str, setting(help="The network, see `hpa models`.", metavar="NAME")] = DEFAULTS.model,
    parts: Annotated[
        list[str],
        setting("--part", help="A part of STORE to train on, labeled or not; repeatable.", metavar="NAME"),
    ] = _PARTS,
    channels: RecipeChannels = _CHANNELS,
    epochs: Epochs = DEFAULTS.epochs,
    batch_size: BatchSize = DEFAULTS.batch_size,
    learning_rate: LearningRate = DEFAULTS.learning_rate,
    image_size: ImageSize = str(DEFAULTS.image_size),
    symmetries: Symmetries = DEFAULTS.symmetries,
    precision: PrecisionOption = DEFAULTS.precision,
    devices: Devices = DEFAULTS.devices,
    seed: Annotated[
        int, setting(help="Seed of weights, order, held-out samples, masks and noise.", metavar="N")
    ] = DEFAULTS.seed,
    cache: CacheKind = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: CheckpointMinutes = 10,
    overwrite: Overwrite = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Train an encoder without labels; resumable.

    The convolutions of the network and their mirror image learn to reconstruct the images. The option `--weights` of
    `hpa train` starts from them.
    """
    from hpa_data.store.store import open_store
    from hpa_model.config.library import find_recipe

    check_cache(ctx, cache, cache_gib, store)
    _refuse_unused_settings(setting or [])
    recipe = None if recipe is None else find_recipe(recipe)
    config = read_settings(ctx, recipe, setting or [])
    refuse_unused_settings(ctx, config, recipe, setting or [])
    settings = PretrainSettings(mask=mask, mask_patch=mask_patch, noise=noise, validation_share=validation_share)
    opened = open_store(store)

    with quiet():
        from hpa_model.backend import describe_device
        from hpa_model.training.job import Checkpointing
        from hpa_model.training.pretrain import pretrain as pretrain_encoder

        describe_device(1)  # its libraries write lines when they first look for GPUs

    _name_other_parts(opened, config.parts)
    cache_bytes = choose_cache(opened, config, cache, cache_gib)
    with resumable(out, overwrite=overwrite), progress("images") as shown:
        finished = pretrain_encoder(
            opened,
            config,
            out,
            settings=settings,
            overwrite=overwrite,
            cache_bytes=cache_bytes,
            progress=shown,
            on_epoch=print_epoch,
            checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes),
        )
    show(finished, as_json, f"{describe(finished)}\n{advise(store, config, finished.folder)}")


def _refuse_unused_settings(texts: list[str]) -> None:
    """Refuse a setting that is not used, if it is named on the command line: InputError."""
    from hpa_model.config import parse_setting

    for text in texts:
        parsed = parse_setting(text)
        unused = sorted(parsed.keys() & set(UNUSED_SETTINGS))
        unused += ["keep"] if parsed.get("keep") == "highest_macro_f1" else []
        if unused:
            raise InputError(
                f"{unused[0]} must not be set for `hpa pretrain`, which has no classes, folds or stages. Received: "
                f"--set {text}. {'Pass --symmetries, or leave it out.' if unused[0] == 'augment' else 'Leave it out.'}"
            )


def _name_other_parts(store: "Store", parts: tuple[str, ...]) -> None:
    """Say which parts of originals are not used."""
    with contextlib.suppress(InputError):  # a plain HTTP server cannot list parts
        found = store.parts()
        others = [name for name in found if name not in parts and store.part(name).copies is None]
        if others and set(parts) <= set(found):
            flags = " ".join(f"--part {part}" for part in (*parts, *others))
            print(f"The store has further parts, which need no labels here: {flags}", file=sys.stderr)


def describe(finished: "FinishedPretraining") -> str:
    """Describe what was trained, and what to do next."""
    lines = [
        f"Trained on {finished.n_training:,} samples without their labels, validated on {finished.n_validation:,}.",
        f"Reconstructions explain {_describe_share(finished.val_explained)}; mean squared error "
        f"{finished.val_loss:.3g}, epoch {finished.best_epoch} of {finished.n_epochs}.",
        f"Encoder: {finished.encoder}",
        *(f"Picture: {path}" for path in finished.pictures),
    ]
    if finished.missing:
        lines.append(f"No figure of the losses: {finished.missing} is missing. Run: pip install '.[figures]'")
    return "\n".join(lines)


def advise(store: str, config: TrainConfig, folder: Path) -> str:
    """Write the command that trains the same network on the same images from the encoder."""
    flags = [] if config.model == DEFAULTS.model else ["--model", config.model]
    flags += [word for name, value in config.options.items() for word in ("--set", f"options.{name}={value}")]
    flags += ["--channels", ",".join(config.channels)] if config.channels else []
    size = config.image_size
    flags += ["--image-size", str(size) if isinstance(size, int) else "x".join(map(str, size))] if size else []
    words = ["hpa", "train", store, *flags, "--weights", str(folder), "--out", "RUN"]
    return f"To start a training from it: {escape(shlex.join(words))}"


def _describe_share(share: float) -> str:
    if share < 0:
        return (
            f"nothing of the variance of the validation images: the mean of each channel is closer (share {share:.3f})"
        )
    return f"{share:.1%} of the variance of the validation images"


def print_epoch(_: int, record: "ReconstructionRecord", is_best: bool) -> None:
    """Print a line for an epoch, marked if its encoder is kept."""
    print(
        f"epoch {record.epoch:>3}  loss {record.loss:.5f}  val_loss {record.val_loss:.5f}  explained "
        f"{record.val_explained:.3f}  {record.images_per_s:.1f} images/s{'  kept' if is_best else ''}",
        file=sys.stderr,
    )
