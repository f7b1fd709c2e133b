"""The command `hpa finetune`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import progress, quiet, resumable, show
from hpa_data.commands.options import Json, Overwrite, RetryMinutes
from hpa_data.errors import InputError
from hpa_data.reader.limits import RETRY_MINUTES
from hpa_model.commands.options import (
    CacheGib,
    CacheKind,
    CheckpointMinutes,
    Logs,
    Module,
    Tensorboard,
    check_cache,
    check_cache_size,
    choose_cache,
    choose_logs,
    import_module,
)
from hpa_model.commands.trained import describe_run, encode_runs, print_epoch
from hpa_model.config import FoldChoice, Loss, TrainConfig

if TYPE_CHECKING:
    pass


DEFAULTS = TrainConfig()


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
