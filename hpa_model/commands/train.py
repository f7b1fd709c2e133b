"""The commands of `hpa` that run a network, score one, or measure what it is fed."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpa_data.commands.console import STORE, Json, Overwrite, progress, quiet, show
from hpa_data.errors import InputError
from hpa_model.commands.evaluate import describe_scores, write_page

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.runs.folder import EpochRecord


Cache = Annotated[str, typer.Option(help="ram keeps decoded samples in memory; or none.")]
CacheGib = Annotated[
    float | None, typer.Option(help="What the cache may hold at most.  [default: half of the free memory]")
]
Checkpoint = Annotated[
    float, typer.Option("--checkpoint-minutes", min=0, help="Between checkpoints; one comes after each epoch, too.")
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Log each epoch's figures for TensorBoard.")]


def train(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    out: Annotated[Path, typer.Option(help="The run folder to make, or to go on with.")],
    recipe: Annotated[Path | None, typer.Option(help="A TOML file of settings; options on the line win.")] = None,
    model: Annotated[str | None, typer.Option(help="The network, see hpa models.  [default: gapnet]")] = None,
    part: Annotated[list[str] | None, typer.Option(help="May be given several times.  [default: train]")] = None,
    folds: Annotated[int | None, typer.Option(help="[default: 3]")] = None,
    fold_method: Annotated[
        str | None, typer.Option(help="stratified, contiguous or grouped-stratified.  [default: stratified]")
    ] = None,
    legacy_leak: Annotated[
        bool | None,
        typer.Option("--legacy-leak", help="Validate copies, train on copies of what validates: scores flatter."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: 50]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: 20]")] = None,
    loss: Annotated[str | None, typer.Option(help="bce, f1 (soft macro-F1) or focal.  [default: bce]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: 0.001]")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Train smaller, for trials.  [default: the network's own, mostly the store's]")
    ] = None,
    bn_momentum: Annotated[
        float | None, typer.Option(help="Lower it when an epoch has few steps.  [default: 0.99]")
    ] = None,
    symmetries: Annotated[
        bool | None, typer.Option("--symmetries", help="Mirror and rotate training images, anew in each epoch.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.  [default: float32]")
    ] = None,
    xla: Annotated[bool | None, typer.Option("--xla", help="Compile with XLA; for GPUs.")] = None,
    devices: Annotated[int | None, typer.Option(help="GPUs that share each batch.  [default: 1]")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="The same weights each time, at some cost.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe: optimizer=sgd, options.stride=1."),
    ] = None,
    cache: Cache = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: Checkpoint = 10,
    tensorboard: Tensorboard = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train one model a fold and write a run folder; the same command again goes on where it was stopped."""
    from hpa_data.store.store import open_store
    from hpa_model.config import make_config, merge_settings, parse_setting, read_recipe

    given = {
        "model": model,
        "parts": part or None,
        "folds": folds,
        "fold_method": fold_method,
        "legacy_leak": legacy_leak,
        "epochs": epochs,
        "batch_size": batch_size,
        "loss": loss,
        "learning_rate": learning_rate,
        "image_size": image_size,
        "bn_momentum": bn_momentum,
        "symmetries": symmetries,
        "precision": precision,
        "xla": xla,
        "devices": devices,
        "deterministic": deterministic,
        "seed": seed,
    }
    settings = read_recipe(recipe) if recipe is not None else {}
    for text in setting or []:
        settings = merge_settings(settings, parse_setting(text))
    config = make_config(merge_settings(settings, {name: value for name, value in given.items() if value is not None}))
    opened = open_store(store)

    with quiet():
        from hpa_model.training.finetune import train_and_finetune
        from hpa_model.training.job import Checkpointing

    with contextlib.suppress(InputError):  # a server that speaks HTTP alone lists nothing
        for name in opened.parts():
            if name not in config.parts and opened.part(name).copies is not None:
                asked = " ".join(f"--part {part}" for part in (*config.parts, name))
                print(f"The store also has augmented copies; to train on them, too: {asked}", file=sys.stderr)
    if (out / "config.json").exists() and not overwrite:
        print(f"Going on with {out}; what is done is not done again", file=sys.stderr)
    cache_bytes = _choose_cache(opened, config.parts, cache, cache_gib)
    with _going_on(out, overwrite), progress("images") as shown:
        done = train_and_finetune(
            opened,
            config,
            out,
            overwrite=overwrite,
            recipe=recipe,
            cache_bytes=cache_bytes,
            progress=shown,
            on_epoch=print_epoch,
            checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes, tensorboard=tensorboard),
        )
    lines = []
    for trained in done:
        lines += _tell_run(trained.run, trained.scores, opened)
    show(done[-1].scores, as_json, "\n".join(lines))


def finetune(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    loss: Annotated[str, typer.Option(help="bce, f1 (soft macro-F1) or focal.")] = "bce",
    epochs: Annotated[int, typer.Option(min=1, help="At most; the best by validation loss is kept.")] = 14,
    folds: Annotated[str, typer.Option(help="best: only the fold that scores best, as in the paper; or all.")] = "best",
    learning_rate: Annotated[float | None, typer.Option(help="[default: as in the run]")] = None,
    store: Annotated[str | None, typer.Option(help="The store, if it was moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make.  [default: RUN-finetuned-LOSS]")] = None,
    cache: Cache = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: Checkpoint = 10,
    tensorboard: Tensorboard = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train the dense net of a run's models further, over a frozen chain of convolutions, into a run of its own."""
    from hpa_data.store.store import open_store
    from hpa_model.config import check_finetuning
    from hpa_model.runs.folder import read_run

    check_finetuning(loss, folds)
    description = read_run(run)
    try:
        opened = open_store(store or description.store)
    except InputError as error:
        raise InputError(f"{error} If the store was moved, pass --store.") from error
    with quiet():
        from hpa_model.training.finetune import finetune as finetune_run
        from hpa_model.training.finetune import name_finetuned
        from hpa_model.training.job import Checkpointing

    cache_bytes = _choose_cache(opened, description.config.parts, cache, cache_gib)
    out = out or name_finetuned(run, loss)
    with _going_on(out, overwrite), progress("images") as shown:
        done = finetune_run(
            run,
            loss=loss,  # type: ignore[arg-type]
            epochs=epochs,
            folds=folds,  # type: ignore[arg-type]
            learning_rate=learning_rate,
            store=opened,
            out=out,
            overwrite=overwrite,
            cache_bytes=cache_bytes,
            progress=shown,
            on_epoch=print_epoch,
            checkpointing=Checkpointing(checkpoint_s=60 * checkpoint_minutes, tensorboard=tensorboard),
        )
    show(done.scores, as_json, "\n".join(_tell_run(done.run, done.scores, opened)))


@contextlib.contextmanager
def _going_on(out: Path, overwrite: bool) -> Any:
    """Say, where a training is interrupted, how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if overwrite else "the same command"
        if any(out.glob("fold*/checkpoint.npz")) or any(out.glob("fold*/probs.npz")):
            print(f"What is done is kept; {again} goes on from there.", file=sys.stderr)
        raise


def _tell_run(run: Path, scores: Any, store: "Store") -> list[str]:
    """Say how a run scored, write its page, and say where both are."""
    from hpa_model.runs.folder import read_run

    lines = [describe_scores(scores), f"Run folder: {run}"]
    description = read_run(run)
    if description.finetuned_from:
        folds = ", ".join(map(str, description.finetuned_folds))
        lines.append(f"Fine-tuned: fold {folds}; any other model is that of {description.finetuned_from}")
    n_left_out = description.n_left_out
    if n_left_out:
        lines.append(f"Left out, could not be converted: {n_left_out} samples")
    return [*lines, write_page(run, store)]


def _choose_cache(store: "Store", parts: tuple[str, ...], kind: str, gib: float | None) -> int:
    """Decide how many bytes of decoded samples may be kept, and say how many samples that is."""
    from hpa_data.reader.cache import choose_cache_bytes

    if kind not in {"none", "ram"} or (kind == "none" and gib is not None) or (gib is not None and not 0 < gib < 2**20):
        raise InputError(
            f"cache must be none, or ram with a size above 0. Received: --cache {kind}, --cache-gib {gib}. Pass "
            "--cache ram, or neither."
        )
    if kind == "none":
        return 0
    layouts = [store.part(name).layout for name in parts]
    image_bytes = layouts[0].image_bytes
    n_samples = sum(layout.n_samples for layout in layouts)
    n_bytes = choose_cache_bytes(None if gib is None else int(gib * 2**30), n_samples * image_bytes)
    print(f"Kept in memory: up to {min(n_bytes // image_bytes, n_samples)} of {n_samples} samples", file=sys.stderr)
    return n_bytes


def print_epoch(fold: int, record: "EpochRecord") -> None:
    """Print a line for an epoch."""
    # Through rich's own redirection, the line lands above the bar. Folds count from 0, as their folders do.
    print(
        f"fold {fold}  epoch {record.epoch:>3}  loss {record.loss:.4f}  val_loss {record.val_loss:.4f}  "
        f"macro-F1 {record.val_macro_f1:.3f}, best thresholds {record.val_macro_f1_best:.3f}  "
        f"{record.images_per_s:.1f} images/s",
        file=sys.stderr,
    )
