"""The folds of a run that this process trains: it holds their locks, so that other processes train others."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError
from hpa_model.config import TrainConfig
from hpa_model.runs.checkpoint import START, TrainingState, read_state
from hpa_model.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    RunDescription,
    find_last_file,
    fold_folder,
    list_fold_files,
    remove_partial_files,
    remove_results,
)
from hpa_model.runs.hold import hold_free_folds, list_holders, refuse_trained, release
from hpa_model.runs.models import is_complete
from hpa_model.runs.seal import unseal_files
from hpa_model.training.network import choose_stages


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A fold of a run that is not finished, and that this process does not train."""

    fold: int

    holder: str
    """The process that trains it, in words; empty if nobody does."""


def check_chosen(folds: Sequence[int] | None, config: TrainConfig) -> None:
    """Refuse folds that a run does not have: InputError."""
    n_folds = config.folds
    if folds is not None and not n_folds:
        raise InputError(
            f"fold must be left out with folds=0, which is one model of all samples. Received: "
            f"{', '.join(map(str, folds))}. Leave it out."
        )
    if folds is not None and (not folds or not all(0 <= fold < n_folds for fold in folds)):
        received = ", ".join(map(str, folds)) or "none"
        raise InputError(
            f"fold must be from 0 to {n_folds - 1}, as the run has {n_folds}. Received: {received}. Choose among them."
        )


def claim_folds(run: Path, description: RunDescription, chosen: Sequence[int] | None) -> dict[int, ExitStack]:
    """Lock the unfinished folds of a run that are to be trained, and remove what must not outlast their training.

    Only who holds the lock of the run may call it.

    Parameters
    ----------
    run : Path
    description : RunDescription
    chosen : sequence of int, optional
        All of these. By default those that no other process trains.

    Returns
    -------
    dict of int to ExitStack
        What releases the lock of each, by their numbers, ascending.

    Raises
    ------
    InputError
        If another process trains one of `chosen`, or all that are not finished; then no fold is locked.
    """
    held, others = _hold_unfinished(run, description, chosen)
    if others and (chosen is not None or not held):
        release(held)
        if chosen is None:
            refuse_trained(run, others)
        fold, holder = next(iter(others.items()))
        raise InputError(
            f"Cannot train fold {fold} of {run}: {holder} trains it. Wait for it, or stop it; or pass another --fold, "
            "which is trained beside it."
        )
    return _prepare(run, description, held)


def claim_free_folds(run: Path, description: RunDescription) -> dict[int, ExitStack]:
    """Lock the unfinished folds of a run that nobody trains, as `claim_folds` does; there may be none."""
    return _prepare(run, description, _hold_unfinished(run, description, None)[0])


def _hold_unfinished(
    run: Path, description: RunDescription, chosen: Sequence[int] | None
) -> tuple[dict[int, ExitStack], dict[int, str]]:
    config = choose_stages(description)
    wanted = range(config.n_models) if chosen is None else sorted(set(chosen))
    return hold_free_folds(run, [fold for fold in wanted if not is_finished(run, fold, config)])


def _prepare(run: Path, description: RunDescription, held: dict[int, ExitStack]) -> dict[int, ExitStack]:
    """Remove what must not outlast the training of folds that are locked."""
    try:
        for fold in held:
            _clear(run, fold, find_last_file(description.config))
        if held:  # what was fitted to the models that are trained further must not meet the new ones
            remove_results(run)
    except BaseException:
        release(held)
        raise
    return held


def _clear(run: Path, fold: int, last_file: str) -> None:
    """Remove partial files of a fold, and the file that shows that it is finished."""
    folder = fold_folder(run, fold)
    folder.mkdir(exist_ok=True)
    remove_partial_files(folder)
    unseal_files(run, list_fold_files(fold))
    (folder / last_file).unlink(missing_ok=True)


def is_finished(run: Path, fold: int, config: TrainConfig) -> bool:
    """Return whether a fold has its model and its probabilities, if there are any, after all epochs of `config`."""
    folder = fold_folder(run, fold)
    if not ((folder / find_last_file(config)).exists() and is_complete(folder / BEST_FILE)):
        return False
    # Without a checkpoint it was copied, or trained by a version before 0.4.0.
    return not (folder / CHECKPOINT_FILE).exists() or read_progress(run, fold).is_over(config)


def read_progress(run: Path, fold: int) -> TrainingState:
    """Read how far a fold has been trained; InputError if its checkpoint is damaged."""
    path = fold_folder(run, fold) / CHECKPOINT_FILE
    return read_state(path) if path.exists() else START


def list_missing(run: Path, description: RunDescription) -> list[Missing]:
    """List the folds of a run that are not finished, with who trains them.

    Only who holds the lock of the run may call it.
    """
    config = choose_stages(description)
    missing = [fold for fold in range(config.n_models) if not is_finished(run, fold, config)]
    holders = list_holders(run) if missing else {}
    return [Missing(fold=fold, holder=holders.get(fold, "")) for fold in missing]
