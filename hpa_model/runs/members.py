"""The members of an ensemble: described when it is made, found again when it predicts."""

import os
from collections.abc import Iterable
from pathlib import Path

from hpa_data.errors import InputError
from hpa_model.runs.baseline import BASELINE_FILE
from hpa_model.runs.folder import BEST_FILE, CONFIG_FILE, OUT_OF_FOLD_FILE, RunDescription, fold_folder
from hpa_model.runs.membership import Member, refuse_ensemble
from hpa_model.runs.seal import check_file, hash_file


def describe_member(run: Path, out: Path, description: RunDescription) -> Member:
    """Describe a finished run as a member of an ensemble in the folder `out`.

    Raises
    ------
    InputError
        If it is an ensemble itself, or a model is missing or not as it was sealed.
    """
    refuse_ensemble(description.ensemble, run, purpose="join")
    files = [name_model(run, description, fold) for fold in range(description.config.folds)]
    return Member(
        run=str(run.absolute()),
        relative=Path(os.path.relpath(run.resolve(), out.resolve())).as_posix(),
        model=description.config.model,
        channels=description.channels,
        models=tuple(map(_hash, files)),
        probs=_hash(run / OUT_OF_FOLD_FILE),
    )


def name_model(run: Path, description: RunDescription, fold: int) -> Path:
    """Return the file of the model of a fold, of a network or a baseline."""
    return fold_folder(run, fold) / (BEST_FILE if description.baseline is None else BASELINE_FILE)


def _hash(path: Path) -> str:
    try:
        sha256 = hash_file(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Cannot join {path.parent.parent if path.name != OUT_OF_FOLD_FILE else path.parent}: {path} is missing or "
            "cannot be read. Run the command that made the run again."
        ) from error
    check_file(path, sha256)
    return sha256


def find_member(run: Path, member: Member) -> Path:
    """Find the folder of a member: where it was, as far from the ensemble as it was, or beside the ensemble.

    Returns
    -------
    Path
        The first of these folders that holds a run.

    Raises
    ------
    InputError
        If there is none.
    """
    recorded = Path(member.run)
    for folder in (recorded, run / member.relative, run.absolute().parent / recorded.name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise InputError(
        f"Cannot predict with {run}: its member {recorded.name} is neither at {recorded} nor beside the ensemble. Put "
        "it back there, or make the ensemble again by `hpa ensemble` with --overwrite."
    )


def check_member(run: Path, member: Member, folder: Path, description: RunDescription, folds: Iterable[int]) -> None:
    """Refuse a member that is not the one that an ensemble was joined from: InputError.

    Parameters
    ----------
    run : Path
        The ensemble.
    member : Member
    folder : Path
        Of the member.
    description : RunDescription
        Of the member.
    folds : iterable of int
        Whose models are compared.
    """
    if description.channels != member.channels or description.config.folds != len(member.models):
        raise _changed(run, folder, "it has other channels or folds")
    for fold in folds:
        path = name_model(folder, description, fold)
        try:
            is_same = hash_file(path) == member.models[fold]
        except (OSError, ValueError):
            is_same = False
        if not is_same:
            raise _changed(run, folder, f"the model of fold {fold}, {path}, is another one, or is missing")


def _changed(run: Path, folder: Path, how: str) -> InputError:
    return InputError(
        f"Cannot use {run}: its member {folder} was changed since they were joined, {how}. Put it back from a copy, or "
        "make the ensemble again by `hpa ensemble` with --overwrite."
    )
