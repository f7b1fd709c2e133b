"""What is explained: samples, the models that explain each, and classes."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_model.evaluation.images import pick_examples
from hpa_model.evaluation.scores import predict_headline
from hpa_model.predict.chosen import ChosenModels
from hpa_model.predict.source import Source
from hpa_model.runs.out_of_fold import OutOfFold

# Samples by default, where the run scored none of them; classes of a sample by default.
N_SAMPLES, MAX_CLASSES = 12, 6


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A sample to explain."""

    index: int
    """In the reader."""

    folds: tuple[int, ...]
    """Those whose models explain it."""

    is_unseen: bool
    """Whether the run scored it with the model that explains it, which was not trained on it."""

    labels: npt.NDArray[np.uint8] | None
    """Multi-hot, (K,); None where they are not known."""


def choose_samples(
    models: ChosenModels, opened: Source, source: Path | str, ids: Sequence[str] = (), *, own_folds: bool
) -> list[Chosen]:
    """Choose samples, and the models that explain each.

    Parameters
    ----------
    models : ChosenModels
    opened : Source
        Of the samples.
    source : Path or str
        What messages call it.
    ids : sequence of str
        By default those that the report of the run shows, if they are among the samples, otherwise the first
        `N_SAMPLES`.
    own_folds : bool
        Whether a sample that the run scored is explained by the model that scored it alone.

    Raises
    ------
    InputError
        If there is no sample of an id, or none that can be read.
    """
    reader, rows = opened.reader, models.rows
    scored = {} if rows is None or not models.description.config.folds else _find_scored(models, opened, rows)
    labels = _list_labels(opened)

    def choose(index: int) -> Chosen:
        fold = None if rows is None or index not in scored else int(rows.folds[scored[index]])
        folds = models.folds if fold is None or not own_folds else (fold,)
        return Chosen(index=index, folds=folds, is_unseen=folds == (fold,), labels=labels[index])

    readable = is_readable(reader.status)
    if ids:
        indices = _find_ids(reader.ids, ids, source)
        broken = [index for index in indices if not readable[index]]
        if broken:
            raise InputError(f"Cannot explain sample {reader.ids[broken[0]]!r}: it is not readable. Convert it again.")
        return [choose(index) for index in indices]
    if rows is not None and scored:
        found = {row: index for index, row in scored.items() if readable[index] and rows.folds[row] in models.folds}
        shown = [choose(found[row]) for row in _pick_rows(rows, models.folds) if row in found]
        if shown:
            return shown
    if not readable.any():
        raise InputError(f"Cannot explain {source}: none of its samples is readable. Convert it again.")
    return [choose(index) for index in np.flatnonzero(readable)[:N_SAMPLES].tolist()]


def _find_scored(models: ChosenModels, opened: Source, rows: OutOfFold) -> dict[int, int]:
    """Find the samples that the run scored: the row of each by its index in the reader."""
    fingerprints = models.description.fingerprints
    known = {key: row for row, key in enumerate(rows.keys)}
    found: dict[int, int] = {}
    first = 0
    for part in opened.parts:
        if part.manifest.fingerprint == fingerprints.get(part.name):
            name = "" if rows.parts is None else part.name
            keys = ((first + n, (name, each)) for n, each in enumerate(part.ids))
            found |= {index: known[key] for index, key in keys if key in known}
        first += len(part.ids)
    return found


def _list_labels(opened: Source) -> list[npt.NDArray[np.uint8] | None]:
    """List the labels of each sample, (K,); None where they are not known."""
    listed: list[npt.NDArray[np.uint8] | None] = []
    for part in opened.parts:
        listed += [None] * len(part.ids) if part.labels is None else list(np.asarray(part.labels))
    return listed or [None] * len(opened.reader)


def _find_ids(known: Sequence[str], ids: Sequence[str], source: Path | str) -> list[int]:
    """Find the samples of some ids, of each in all parts that have it."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(known):
        places.setdefault(name, []).append(index)
    for name in ids:
        if name not in places:
            raise InputError(
                f"id must be that of a sample of {source}. Received: {name!r}. Check the spelling, or pass another "
                "--part."
            )
    return [index for name in dict.fromkeys(ids) for index in places[name]]


def _pick_rows(rows: OutOfFold, folds: Sequence[int]) -> list[int]:
    """Pick the rows of some folds that a report shows: the surest correct ones, and those of largest loss."""
    among = np.flatnonzero(np.isin(rows.folds, folds))
    some = replace(rows, labels=rows.labels[among], probs=rows.probs[among], folds=rows.folds[among])
    correct, wrong = pick_examples(some, predict_headline(rows)[among])
    return [int(among[index]) for index in (*correct, *wrong)]


def find_classes(wanted: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of classes that are given by name or number; InputError if there is no such class."""
    found = []
    for each in wanted:
        if each in classes:
            found.append(classes.index(each))
        elif each.isascii() and each.isdecimal() and int(each) < len(classes):
            found.append(int(each))
        else:
            near = difflib.get_close_matches(each, classes, 1)
            remedy = f"Did you mean {near[0]!r}?" if near else "Check the spelling."
            raise InputError(
                f"class must be a name, or a number from 0 to {len(classes) - 1}. Received: {each!r}. {remedy}"
            )
    return tuple(dict.fromkeys(found))


def pick_classes(
    probs: npt.NDArray[np.float64], predicted: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8] | None
) -> tuple[int, ...]:
    """Pick the true and the predicted classes of a sample, the most probable first; if there are none, that one alone.

    Parameters
    ----------
    probs : array of float64, shape (K,)
    predicted, labels : array of 0 and 1, shape (K,)
        `labels` is None where they are not known. True classes go before others if there are more than `MAX_CLASSES`.
    """
    truth = np.zeros(len(probs), bool) if labels is None else labels.astype(bool)
    wanted = np.flatnonzero(truth | predicted.astype(bool))
    kept = sorted(wanted.tolist(), key=lambda k: (not truth[k], -probs[k]))[:MAX_CLASSES]
    return tuple(sorted(kept, key=lambda k: -probs[k])) or (int(probs.argmax()),)
