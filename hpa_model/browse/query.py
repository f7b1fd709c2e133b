"""Which samples are shown, and in which order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, PENDING
from hpa_data.errors import InputError
from hpa_model.browse.catalog import NOWHERE, Catalog

# How a sample has to do with a class. Missed and wrong are of out-of-fold predictions alone.
Relation = Literal["labeled", "predicted", "found", "missed", "wrong", "any"]
Verdict = Literal["", "right", "wrong", "unpredicted"]
Kind = Literal["", "originals", "copies", "unreadable"]
Order = Literal["store", "id", "probability", "least probable", "threshold", "error", "family"]
# Letters before the name of a column of metadata.
COLUMN = "meta."


@dataclass(frozen=True, kw_only=True)
class Query:
    """A selection of samples; the defaults select all."""

    text: str = ""
    """Letters of the id, capital or small."""

    part: str = ""

    label: int = -1
    """Index of a class; -1 for any."""

    relation: Relation = "labeled"
    """Of the sample to that class."""

    low: float = 0.0
    """Probabilities of that class, or the highest of all classes, from here…"""

    high: float = 1.0
    """… to here. Samples without probabilities are left out if one of both is set."""

    verdict: Verdict = ""
    """Whether all classes of a sample are predicted as labeled."""

    fold: int = -1

    kind: Kind = ""

    order: Order = "store"

    columns: tuple[tuple[str, str], ...] = ()
    """Names and values of metadata."""


def parse_query(given: Mapping[str, str], catalog: Catalog) -> Query:
    """Read a query from texts by name, as of an address; InputError if one has no such name or value.

    Examples
    --------
    >>> parse_query({"fold": "one"}, None)
    Traceback (most recent call last):
    hpa_data.errors.InputError: fold must be a whole number. Received: 'one'. Leave it out.
    """
    known = {field.name: field.type for field in fields(Query) if field.name != "columns"}
    values: dict[str, Any] = {}
    columns = []
    for name, text in given.items():
        if name.startswith(COLUMN) and name.removeprefix(COLUMN) in catalog.columns:
            columns.append((name.removeprefix(COLUMN), text))
        elif name in known:
            values[name] = _parse(name, known[name], text)
        else:
            raise InputError(f"query must have names of filters. Received: {name[:80]!r}. Leave it out.")
    query = Query(**values, columns=tuple(sorted(columns)))
    if query.part and query.part not in catalog.part_names:
        raise InputError(f"part must be one that is shown. Received: {query.part[:80]!r}. Leave it out.")
    if not -1 <= query.label < len(catalog.dataset.classes):
        raise InputError(f"label must be the index of a class. Received: {query.label}. Leave it out.")
    return query


def _parse(name: str, kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if kind in {int, float}:
        try:
            value = kind(text)
            if abs(value) < 2**53 and math.isfinite(value):  # no whole number that is too large for a float gets there
                return value
        except (ValueError, OverflowError):
            pass
        raise InputError(
            f"{name} must be a {'whole ' if kind is int else ''}number. Received: {text[:80]!r}. Leave it out."
        )
    if text not in get_args(kind):
        raise InputError(
            f"{name} must be one of {', '.join(filter(None, get_args(kind)))}. Received: {text[:80]!r}. Leave it out."
        )
    return text


def select(catalog: Catalog, query: Query) -> npt.NDArray[np.int64]:
    """Return the indices of the samples of a query, int64 (M,), in its order; of equals, the first come first."""
    chosen = np.ones(len(catalog), bool)
    if query.part:
        chosen &= catalog.parts == catalog.part_names.index(query.part)
    if query.kind == "unreadable":
        chosen &= np.isin(catalog.status, (PENDING, FAILED))
    elif query.kind:
        is_copy = np.zeros(len(catalog), bool)
        is_copy[list(catalog.transforms)] = True
        chosen &= is_copy == (query.kind == "copies")
    for name, value in query.columns:
        chosen &= np.array([each == value for each in catalog.columns[name]])
    if query.text:
        text = query.text.casefold()
        rows = np.flatnonzero(chosen)
        chosen[rows] = [text in catalog.ids[row].casefold() for row in rows.tolist()]
    chosen &= _choose_predicted(catalog, query)
    return _sort(catalog, query, np.flatnonzero(chosen))


def _choose_predicted(catalog: Catalog, query: Query) -> npt.NDArray[np.bool_]:
    """Return which samples have the labels and predictions of a query, bool (N,)."""
    chosen = np.ones(len(catalog), bool)
    found = catalog.predictions
    k = query.label
    predicted = found.predicted[:, k] if found is not None and k >= 0 else np.zeros(len(catalog), bool)
    if k >= 0 and query.relation != "any":
        labeled = catalog.labels[:, k]
        chosen &= {
            "labeled": labeled,
            "predicted": predicted,
            "found": labeled & predicted & catalog.is_judged,
            "missed": labeled & ~predicted & catalog.is_judged,
            "wrong": predicted & ~labeled & catalog.is_judged,
        }[query.relation]
    if query.verdict == "unpredicted":
        chosen &= (found.origins == NOWHERE) if found is not None else True
    elif query.verdict:
        chosen &= catalog.is_judged & (catalog.is_right == (query.verdict == "right"))
    if query.fold >= 0:
        chosen &= (found.folds == query.fold) if found is not None else False
    if (query.low, query.high) != (0.0, 1.0):
        probs = _take_probs(catalog, k)
        chosen &= (found.origins != NOWHERE) if found is not None else False
        chosen &= (probs >= query.low) & (probs <= query.high)
    return chosen


def _take_probs(catalog: Catalog, k: int) -> npt.NDArray[np.float32]:
    """Return the probability of a class for each sample, or the highest one, (N,)."""
    if catalog.predictions is None:
        return np.zeros(len(catalog), np.float32)
    probs = catalog.predictions.probs
    return probs[:, k] if k >= 0 else probs.max(axis=1)


def _sort(catalog: Catalog, query: Query, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sort indices of samples, (M,); those without what they are sorted by come last."""
    if query.order == "id":
        return np.array(sorted(rows.tolist(), key=catalog.ids.__getitem__), np.int64)
    if query.order == "family":
        return rows[np.argsort(catalog.families[rows], kind="stable")]
    found = catalog.predictions
    if query.order == "store" or found is None:
        return rows
    has_probs = found.origins[rows] != NOWHERE
    probs = _take_probs(catalog, query.label)[rows].astype(np.float64)
    if query.order == "error":
        key = -catalog.losses[rows]
        has_probs = catalog.is_judged[rows]
    elif query.order == "threshold":
        key = _measure_margins(catalog, query.label, rows)
        has_probs = has_probs & (found.has_thresholds[rows] | (found.thresholds is None))
    else:
        key = probs if query.order == "least probable" else -probs
    return rows[np.argsort(np.where(has_probs, key, np.inf), kind="stable")]


def _measure_margins(catalog: Catalog, k: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how far probabilities are from their threshold: that of a class, or of the nearest one, (M,)."""
    found = catalog.predictions
    assert found is not None
    if found.thresholds is None:
        return np.zeros(len(rows))
    thresholds = np.where(found.thresholds < 1, found.thresholds, np.inf)  # 1: never predicted, so never nearly
    if k >= 0:
        return np.abs(found.probs[rows, k] - thresholds[k])
    return np.abs(found.probs[rows] - thresholds).min(axis=1)


def spread(catalog: Catalog, rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Take some of the samples, spread over the classes: each class in turn gives its next one.

    Parameters
    ----------
    catalog : Catalog
    rows : array of int64, shape (M,)
    n : int

    Returns
    -------
    array of int64, shape (min(n, M),)
        In the order of `rows`. Samples without a label count as a class of their own.
    """
    if len(rows) <= n:
        return rows
    labels = np.column_stack([catalog.labels[rows], ~catalog.labels[rows].any(axis=1)])
    queues = [np.flatnonzero(column).tolist() for column in labels.T if column.any()]
    taken: dict[int, None] = {}
    for turn in range(len(rows)):
        for queue in queues:
            if turn < len(queue) and len(taken) < n:
                taken[queue[turn]] = None
        if len(taken) >= n:
            break
    return rows[np.sort(np.array(list(taken), np.int64))]
