"""Joining finished runs into one: an ensemble, a run like any other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.outputs import check_output_folder
from hpa_data.tables import encode_table
from hpa_model.config import JoinMethod, Keep, TrainConfig, read_environment
from hpa_model.evaluation.contributions import Contributions, measure_contributions, write_contributions
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import FOLDS_FILE, PROBS_FILE, RunDescription, fold_folder, list_sealed, read_run
from hpa_model.runs.joining import cross_fit, write_joiners
from hpa_model.runs.members import describe_member
from hpa_model.runs.membership import NAME, EnsembleSettings
from hpa_model.runs.origin import read_origin, read_versions
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold, write_out_of_fold
from hpa_model.runs.seal import seal_files, unseal_files
from hpa_model.training.resuming import check_run_folder, hold_run

# Settings that the members share, as the same samples are in the same folds.
SHARED = ("parts", "folds", "fold_method", "duplicates", "legacy_leak", "seed")


@dataclass(frozen=True, kw_only=True)
class FinishedEnsemble:
    """An ensemble that was joined."""

    run: Path
    scores: Scores
    contributions: Contributions


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run that is joined, with its rows."""

    folder: Path
    description: RunDescription
    rows: OutOfFold


def join_runs(
    runs: Sequence[Path], out: Path, *, method: JoinMethod = "mean", overwrite: bool = False
) -> FinishedEnsemble:
    """Join finished runs over the same samples and folds, and write a run folder.

    Parameters
    ----------
    runs : sequence of Path
        At least two, networks or baselines.
    out : Path
        The run folder to create, or to finish.
    method : {"mean", "weighted", "stacked"}
        See `runs.joining.Joiner`. What is fitted for a fold is fitted on the rows of the other folds.
    overwrite : bool
        Replace an existing run.

    Returns
    -------
    FinishedEnsemble
        The run can be evaluated, compared and predicted with; a prediction needs the members at their places.

    Raises
    ------
    InputError
        If a run is not finished, or is an ensemble, or differs from another in its samples, labels, folds or classes,
        or `out` is of another run; nothing is written then.
    """
    resolved = [run.resolve() for run in runs]
    if len(runs) < 2 or len(set(resolved)) < len(runs):
        raise InputError(
            f"runs must be at least two, each named once. Received: {', '.join(map(str, runs)) or 'none'}. Name each "
            "run folder once."
        )
    if out.resolve() in resolved:
        raise InputError(f"out must be another folder than the runs. Received: {out}. Name another.")
    opened = [_Run(folder=run, description=read_run(run), rows=read_out_of_fold(run)) for run in runs]
    for run in opened:
        if run.description.config.folds < 2:
            raise InputError(
                f"Cannot join {run.folder}: it has one fold, and what joins a fold is fitted on the others. "
                "Join runs of at least two folds."
            )
    settings = EnsembleSettings(
        method=method, members=tuple(describe_member(run.folder, out, run.description) for run in opened)
    )
    for other in opened[1:]:
        _refuse_differences(opened[0], other)
    first = _choose_first(opened)
    description = _describe(first, opened, settings)
    check_run_folder(out, description, overwrite=overwrite)
    check_output_folder(out)
    probs = np.stack([_align(run.rows, first.rows) for run in opened])  # (M, N, K)
    joined, joiners = cross_fit(first.rows.labels, probs, first.rows.folds, method, n_folds=description.config.folds)
    rows = replace(first.rows, probs=joined)
    contributions = measure_contributions(
        settings, _name_runs(runs), rows, probs, joiners[-1], n_folds=description.config.folds
    )
    with hold_run(out, description, overwrite=overwrite):
        write_joiners(out, joiners)
        write_contributions(out, contributions)
        _write_rows(out, rows, description.config.folds)
    scores = score_run(out)
    seal_files(out, list_sealed(range(description.config.folds)))
    return FinishedEnsemble(run=out, scores=scores, contributions=contributions)


def _refuse_differences(one: _Run, other: _Run) -> None:
    """Refuse to join runs of other samples, labels, folds or classes: InputError that names both and says how."""
    differences = [
        *_compare_descriptions(one.description, other.description),
        *_compare_rows(one.rows, other.rows),
    ]
    if differences:
        raise InputError(
            f"Cannot join {one.folder} and {other.folder}: they differ in {', '.join(differences)}. Join runs of the "
            "same store that were trained with the same --part, --folds, --fold-method, --duplicates and --seed."
        )


def _compare_descriptions(one: RunDescription, other: RunDescription) -> list[str]:
    differences = []
    if one.classes != other.classes:
        different = sorted(set(one.classes) ^ set(other.classes)) or ["their order"]
        differences.append(f"classes ({len(one.classes)} and {len(other.classes)}; {different[0]})")
    if one.config.folds != other.config.folds:
        differences.append(f"folds ({one.config.folds} and {other.config.folds})")
    if one.config.parts != other.config.parts:
        differences.append(f"parts ({', '.join(one.config.parts)} and {', '.join(other.config.parts)})")
    if one.config.legacy_leak != other.config.legacy_leak:
        differences.append(f"legacy_leak ({one.config.legacy_leak} and {other.config.legacy_leak})")
    for name in one.config.parts:
        if name in other.fingerprints and one.fingerprints[name] != other.fingerprints[name]:
            differences.append(f"part {name} (it was converted again, or is of another store)")
    return differences


def _compare_rows(one: OutOfFold, other: OutOfFold) -> list[str]:
    here, there = ({key: index for index, key in enumerate(rows.keys)} for rows in (one, other))
    alone = sorted(here.keys() ^ there.keys())
    if alone:
        return [f"samples ({alone[0][1]} is in one of them alone; {len(alone)} in all)"]
    if one.labels.shape != other.labels.shape:
        return []  # of other classes
    places = [there[key] for key in one.keys]
    differences = []
    labels = np.flatnonzero((one.labels != other.labels[places]).any(axis=1))
    if len(labels):
        differences.append(f"labels (of {one.ids[labels[0]]}; of {len(labels)} samples in all)")
    folds = np.flatnonzero(one.folds != other.folds[places])
    if len(folds):
        index = folds[0]
        numbers = f"{one.folds[index]} and {other.folds[places[index]]}"
        differences.append(f"the folds of samples ({one.ids[index]} is in {numbers}; {len(folds)} in all)")
    return differences


def _choose_first(runs: Sequence[_Run]) -> _Run:
    """Choose the run whose rows and description the ensemble takes: the one that knows most related samples."""

    def count_groups(run: _Run) -> int:
        return len(run.rows.ids) if run.rows.groups is None else len(np.unique(run.rows.groups))

    return min(runs, key=count_groups)


def _align(rows: OutOfFold, first: OutOfFold) -> npt.NDArray[np.float32]:
    """Return the probabilities of rows in the order of the first, float32 (N, K)."""
    places = {key: index for index, key in enumerate(rows.keys)}
    return rows.probs[[places[key] for key in first.keys]].astype(np.float32)


def _describe(first: _Run, runs: Sequence[_Run], settings: EnsembleSettings) -> RunDescription:
    """Describe an ensemble: like its members, with the channels of all of them, in the order of the store."""
    described = first.description
    stored = described.full_store_dataset
    used = {name for run in runs for name in run.description.channels}
    channels = tuple(name for name in stored.channel_names if name in used)
    dataset = stored.select(channels)
    shared = {name: getattr(described.config, name) for name in SHARED}
    is_part = channels != stored.channel_names
    return replace(
        described,
        config=TrainConfig(
            model=NAME,
            channels=channels if is_part else (),
            epochs=1,
            batch_size=min(run.description.config.batch_size for run in runs),
            keep=_find_keep(runs),
            **shared,
        ),
        channels=channels,
        dataset=dataset,
        store_dataset=stored if is_part else None,
        image_shape=dataset.image_shape,
        versions=read_versions() | {"backend": described.versions.get("backend", "")},
        n_seen=max(run.description.n_seen for run in runs),
        n_seen_unlabeled=max(run.description.n_seen_unlabeled for run in runs),
        origin=read_origin(f"CPU, {CPU_COUNT} threads"),
        environment=read_environment(),
        finetuned_from="",
        finetuned_folds=(),
        base_models=(),
        weights="",
        weights_models=(),
        baseline=None,
        ensemble=settings,
    )


def _find_keep(runs: Sequence[_Run]) -> Keep:
    """Return how the epochs of the members were chosen: by the samples that are scored, if those of any were."""
    found = {run.description.config.keep for run in runs if run.description.baseline is None}
    choices: tuple[Keep, ...] = ("highest_macro_f1", "lowest_loss")
    return next((keep for keep in choices if keep in found), "last")


def _name_runs(runs: Sequence[Path]) -> list[str]:
    """Name runs by their folders; by their paths where folders are called the same."""
    names = [run.absolute().name for run in runs]
    counts = Counter(names)
    return [name if counts[name] == 1 else str(run) for name, run in zip(names, runs, strict=True)]


def _write_rows(out: Path, rows: OutOfFold, n_folds: int) -> None:
    """Write out-of-fold rows as a training does: all together, and those of each fold."""
    table = {"id": rows.ids, "fold": rows.folds.tolist()}
    if rows.parts is not None:
        table["part"] = rows.parts
    unseal_files(out, [FOLDS_FILE])
    write_atomic(out / FOLDS_FILE, encode_table(list(table), zip(*table.values(), strict=True)))
    for fold in range(n_folds):
        folder = fold_folder(out, fold)
        folder.mkdir(exist_ok=True)
        unseal_files(out, [f"{folder.name}/{PROBS_FILE}"])
        with open_atomic(folder / PROBS_FILE) as file:
            np.savez(file, probs=rows.probs[rows.folds == fold])
    write_out_of_fold(out, rows)
