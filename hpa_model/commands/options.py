"""Options that several commands of networks have."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hpa_data.commands.options import refuse_unused
from hpa_data.errors import InputError
from hpa_model.augment.options import PolicyName
from hpa_model.config import Precision, TrainConfig
from hpa_model.config.logs import LOGS, Log
from hpa_model.config.rules import check_choice

if TYPE_CHECKING:
    from hpa_data.store.store import Store

# Panels of the help texts.
RESOURCES = "Memory and checkpoints"
SETTINGS = "Settings of the recipe"

DISK = "disk:"


def _check_kind(kind: str, known: tuple[str, ...]) -> str:
    """Refuse a kind of cache that there is not."""
    if kind in known or (kind.startswith(DISK) and kind != DISK):
        return kind
    raise typer.BadParameter(f"{kind!r} is not one of {', '.join(map(repr, (*known, f'{DISK}PATH')))}.")


CacheKind = Annotated[
    str,
    typer.Option(
        metavar="none|ram|disk:PATH",
        callback=lambda kind: _check_kind(kind, ("none", "ram")),
        rich_help_panel=RESOURCES,
        help="Keep decoded samples in memory (ram), or those of a store at a URL, as they are there, in a folder.",
    ),
]
DiskCacheKind = Annotated[
    str,
    typer.Option(
        metavar="none|disk:PATH",
        callback=lambda kind: _check_kind(kind, ("none",)),
        help="Keep samples of a store at a URL, as they are there, in a folder.",
    ),
]
CacheGib = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=RESOURCES, help="Size of the cache in GiB. By default half of the free memory, or of the disk."
    ),
]
CheckpointMinutes = Annotated[
    float,
    typer.Option(
        metavar="N",
        min=0,
        rich_help_panel=RESOURCES,
        help="Minutes between checkpoints. Each epoch ends with one, too.",
    ),
]
Logs = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="|".join(LOGS),
        rich_help_panel=RESOURCES,
        help="The tool to log each epoch with, for its curves; repeatable.",
    ),
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", rich_help_panel=RESOURCES, help="The same as --log tensorboard.")
]
Module = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:FUNCTION",
        help="The network of the run, where it is of another package, with layers of its own. Its module is imported, "
        "so its code is run.",
    ),
]


def setting(*flags: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002 - Typer's name
    """Make an option that is a setting of a recipe, too."""
    return typer.Option(*flags, help=help, metavar=metavar, rich_help_panel=SETTINGS)


Calibrated = Annotated[
    bool,
    typer.Option(
        "--calibrated",
        help="Write probabilities that say how often a label is true, by what `hpa evaluate` fitted for each class.",
    ),
]
Epochs = Annotated[int, setting(help="Number of epochs.", metavar="N")]
BatchSize = Annotated[int, setting(help="Images per step.", metavar="N")]
LearningRate = Annotated[float, setting(help="Learning rate of the first epoch.", metavar="RATE")]
ImageSize = Annotated[
    str,
    setting(
        help="Size of the network's input: pixels of the shorter side, or ROWSxCOLUMNS. 0: its default, mostly the "
        "size in the store.",
        metavar="N",
    ),
]
Symmetries = Annotated[
    bool, setting("--symmetries", help="Flip and rotate training images at random, anew in each epoch.")
]
Augment = Annotated[
    PolicyName,
    setting(
        help=f"How training images are changed on the device, anew in each epoch: {', '.join(get_args(PolicyName))}.",
        metavar="NAME",
    ),
]
PrecisionOption = Annotated[
    Precision, setting(help=f"Precision of the arithmetic: {', '.join(get_args(Precision))}.", metavar="TYPE")
]
Devices = Annotated[int, setting(help="Number of GPUs that share each batch.", metavar="N")]
Coordinator = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Train over hosts, with Keras on JAX: an address of the first one. Start the same command on each.",
    ),
]
HostIndex = Annotated[
    int | None,
    typer.Option(
        metavar="I", min=0, help="Which of the hosts this is, from 0; by default as JAX, Slurm or Open MPI say."
    ),
]
HostCount = Annotated[
    int | None,
    typer.Option("--hosts", metavar="N", min=1, help="How many hosts there are; by default as for --host-index."),
]


def import_module(model: str | None) -> None:
    """Import the module of a network that is named on the command line, for its layers."""
    if model is not None:
        from hpa_model.nets.custom import import_build

        import_build(model)


def check_cache(ctx: typer.Context, kind: str, gib: float | None, store: str, *, allows_ram: bool = True) -> None:
    """Open a cache on a disk, for the stores that this command reads.

    Parameters
    ----------
    ctx : Context
        Of the command.
    kind : str
        Value of `--cache`.
    gib : float or None
    store : str
        Where it is.
    allows_ram : bool

    Raises
    ------
    InputError
        If a size is given without a cache, or is none, or if a cache on a disk has no use.
    """
    check_cache_size(ctx, kind, gib, allows_ram=allows_ram)
    if kind.startswith(DISK):
        from hpa_data.reader.disk_cache import DiskCache, set_disk_cache
        from hpa_data.reader.kvstore import is_url

        if not is_url(store):
            raise InputError(
                f"cache must be none{' or ram' * allows_ram} with a store in a folder: one on a disk is for those "
                f"at URLs. Received: --cache {kind} for {store}. Leave it out."
            )
        cache = DiskCache(Path(kind.removeprefix(DISK)).expanduser(), None if gib is None else int(gib * 2**30))
        set_disk_cache(cache)
        sizes = f"{cache.n_bytes / 2**30:.1f} of at most {cache.max_bytes / 2**30:.1f} GiB"
        print(f"Cache on disk: {cache.folder}, {sizes}", file=sys.stderr)


def check_cache_size(ctx: typer.Context, kind: str, gib: float | None, *, allows_ram: bool = True) -> None:
    """Check the size of a cache before anything is opened: InputError if there is no cache, or it is no size."""
    reason = f"without --cache {'ram' if allows_ram else 'disk:PATH'}"
    refuse_unused(ctx, "cache_gib", when=kind == "none", reason=reason)
    if gib is not None and not 0 < gib < 2**20:
        raise InputError(f"cache-gib must be a size above 0. Received: --cache-gib {gib}. Pass a number of GiB.")


def choose_logs(logs: list[str] | None, tensorboard: bool) -> tuple[Log, ...]:
    """Return what epochs are logged with, by two options; InputError if it is not known."""
    check_choice("log", logs or [], tuple(LOGS))
    return tuple(dict.fromkeys([*(["tensorboard"] if tensorboard else []), *(logs or [])]))


def choose_cache(store: "Store", config: TrainConfig, kind: str, gib: float | None) -> int:
    """Decide how many bytes of decoded samples may be kept, and report how many samples that is."""
    from hpa_data.reader.cache import choose_cache_bytes

    if kind != "ram":
        return 0
    layouts = [store.part(name).layout for name in config.parts]
    height, width, n_channels = layouts[0].image_shape
    image_bytes = height * width * (len(config.channels) or n_channels)
    n_samples = sum(layout.n_samples for layout in layouts)
    n_bytes = choose_cache_bytes(None if gib is None else int(gib * 2**30), n_samples * image_bytes)
    print(f"Cache in memory: up to {min(n_bytes // image_bytes, n_samples)} of {n_samples} samples", file=sys.stderr)
    return n_bytes
