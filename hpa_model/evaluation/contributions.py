"""What each member adds to an ensemble: its own scores, and those of the ensemble without it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_data.system.records import decode_record, encode_record
from hpa_model.evaluation.difference import compare_rows
from hpa_model.evaluation.scores import predict_headline
from hpa_model.metrics import f1_per_class
from hpa_model.metrics.ranking import average_precision
from hpa_model.runs.folder import refuse_damage
from hpa_model.runs.joining import Joiner, cross_fit
from hpa_model.runs.membership import MEMBERS_FILE, EnsembleSettings
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.runs.seal import REMEDIES, read_file, unseal_files

ClassValues = tuple[float | None, ...]
"""Of each class; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class MemberScore:
    """A member of an ensemble, alone, and what the ensemble is without it."""

    run: str
    """The name of its folder."""

    model: str
    channels: tuple[str, ...]

    weight: float | None
    """In the weighted mean of all members, for new samples; None where no weights are fitted."""

    alone: float
    """Its own headline macro-F1."""

    without: float
    """The headline macro-F1 of the other members, joined in the same way."""

    adds: float
    """What it adds: the headline macro-F1 of the ensemble, minus `without`."""

    low: float
    """Of the 95 % interval of `adds`, from a bootstrap that draws the same samples for both; it holds together with
    those of the other members."""

    high: float

    class_precision: ClassValues
    """Its own average precision of each class."""

    class_precision_without: ClassValues
    """That of the other members, joined in the same way."""


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """The members of an ensemble."""

    members: tuple[MemberScore, ...]
    class_precision: ClassValues
    """Average precision of each class, by the ensemble."""


def measure_contributions(
    settings: EnsembleSettings,
    names: Sequence[str],
    rows: OutOfFold,
    probs: npt.NDArray[np.float32],
    joiner: Joiner,
    *,
    n_folds: int,
) -> Contributions:
    """Score each member alone, and the ensemble without it.

    Parameters
    ----------
    settings : EnsembleSettings
    names : sequence of str, length M
        What to call the members.
    rows : OutOfFold
        Of the ensemble.
    probs : array of float32, shape (M, N, K)
        Of the members, in the order of the rows.
    joiner : Joiner
        Of all rows.
    n_folds : int
    """
    whole = float(f1_per_class(rows.labels, predict_headline(rows)).mean())
    members = []
    for number, (name, member) in enumerate(zip(names, settings.members, strict=True)):
        own = replace(rows, probs=probs[number])
        joined, _ = cross_fit(
            rows.labels, np.delete(probs, number, axis=0), rows.folds, settings.method, n_folds=n_folds
        )
        others = replace(rows, probs=joined)
        difference = compare_rows("", rows, "", others, n_comparisons=len(names))
        adds = difference.difference or 0.0
        members.append(
            MemberScore(
                run=name,
                model=member.model,
                channels=member.channels,
                weight=float(joiner.weights[number, 0]) if settings.method == "weighted" else None,
                alone=float(f1_per_class(rows.labels, predict_headline(own)).mean()),
                without=whole - adds,
                adds=adds,
                low=adds if difference.low is None else difference.low,
                high=adds if difference.high is None else difference.high,
                class_precision=_find_precision(own),
                class_precision_without=_find_precision(others),
            )
        )
    return Contributions(members=tuple(members), class_precision=_find_precision(rows))


def _find_precision(rows: OutOfFold) -> ClassValues:
    found = average_precision(rows.labels, rows.probs)
    return tuple(None if np.isnan(value) else float(value) for value in found)


def write_contributions(run: Path, found: Contributions) -> None:
    """Write what each member adds into the folder of an ensemble."""
    unseal_files(run, [MEMBERS_FILE])
    write_atomic(run / MEMBERS_FILE, (json.dumps(encode_record(found), indent=2) + "\n").encode())


def read_contributions(run: Path, *, n_classes: int, compares_seal: bool = True) -> Contributions:
    """Read what each member adds to an ensemble; InputError if the file is missing or damaged."""
    path = run / MEMBERS_FILE
    remedy = REMEDIES[MEMBERS_FILE]
    with refuse_damage(path, remedy):
        raw = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES, compares_seal=compares_seal))
        found = decode_record(Contributions, raw, name=str(path), remedy=remedy)
        values = [found.class_precision]
        for member in found.members:
            values += [member.class_precision, member.class_precision_without]
        if not all(len(each) == n_classes for each in values):
            raise ValueError(f"it is not of {n_classes} classes")
        if not all(value is None or 0 <= value <= 1 for each in values for value in each):
            raise ValueError("it has a precision that is not from 0 to 1")
    return found
