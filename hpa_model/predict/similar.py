"""Samples whose features are alike: the nearest of one, and near neighbors between parts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_model.predict.embeddings import Embeddings

# Rows that are compared with all others at a time: 1,024 times 100,000 cosines take 400 MB.
BLOCK = 1024
# Of a cosine: equal features have 1 less as much, or more.
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Neighbor:
    """Two samples, and how alike they are."""

    row: int
    """Of the embeddings, as the next; -1 for a sample that is not among them."""

    other: int

    cosine: float
    """Of the angle between their features, at most 1."""


def scale_vectors(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Divide features, (N, D), by their length; those of length 0 stay 0."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def find_row(found: Embeddings, name: str, part: str | None = None) -> int:
    """Find the row of a sample; InputError if there is none, or two parts have its id and `part` says not which."""
    rows = [row for row, each in enumerate(found.ids) if each == name and part in {None, found.parts[row]}]
    if len(rows) == 1:
        return rows[0]
    if rows:
        parts = ", ".join(found.parts[row] for row in rows)
        raise InputError(f"id must be in one part. Received: {name!r}, which is in {parts}. Pass --part.")
    raise InputError(
        f"id must be one of the embeddings. Received: {name!r}. Check the spelling, or embed its part, too."
    )


def find_nearest(vectors: npt.NDArray[np.float32], row: int, n: int) -> list[Neighbor]:
    """List the samples that are most like one.

    Parameters
    ----------
    vectors : array of float32, shape (N, D)
    row : int
        That sample, which is not listed.
    n : int

    Returns
    -------
    list of Neighbor, length min(n, N - 1)
        The nearest first; of those that are equally near, the first.
    """
    return [each for each in rank_by_cosine(vectors, vectors[row], row=row) if each.other != row][:n]


def rank_by_cosine(
    vectors: npt.NDArray[np.float32], vector: npt.NDArray[np.float32], *, row: int = -1
) -> list[Neighbor]:
    """List samples, (N, D), by how like they are to one with the features `vector`, (D,), the most alike first."""
    cosines = np.clip(scale_vectors(vectors) @ scale_vectors(vector[None])[0], -1, 1)  # sums are rounded
    order = np.argsort(-cosines, kind="stable").tolist()
    return [Neighbor(row=row, other=other, cosine=float(cosines[other])) for other in order]


def rank_scaled(scaled: npt.NDArray[np.float32], row: int, n: int) -> list[Neighbor]:
    """List what `find_nearest` does, of features that `scale_vectors` has scaled once for many searches."""
    cosines = np.clip(scaled @ scaled[row], -1, 1)  # sums are rounded
    order = [other for other in np.argsort(-cosines, kind="stable")[: n + 1].tolist() if other != row]
    return [Neighbor(row=row, other=other, cosine=float(cosines[other])) for other in order[:n]]


def find_between(found: Embeddings, part: str, *, min_cosine: float) -> list[Neighbor]:
    """List samples of a part with the sample of the other parts that is most like it, if they are alike enough.

    Parameters
    ----------
    found : Embeddings
        Of this part and at least one other.
    part : str
    min_cosine : float
        Pairs below it are left out.

    Returns
    -------
    list of Neighbor
        The most alike first; `row` is of the part.

    Raises
    ------
    InputError
        If there is no such part, or no other.
    """
    is_of_part = np.array([each == part for each in found.parts])
    if not is_of_part.any() or is_of_part.all():
        parts = ", ".join(dict.fromkeys(found.parts))
        raise InputError(
            f"against must be a part beside others. Received: {part!r}; the embeddings are of {parts}. Run `hpa embed` "
            "with a --part for each."
        )
    rows, others = np.flatnonzero(is_of_part), np.flatnonzero(~is_of_part)
    scaled = scale_vectors(found.vectors)
    pairs: list[Neighbor] = []
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        cosines = scaled[block] @ scaled[others].T  # (B, M)
        nearest = cosines.argmax(axis=1)
        values = np.clip(cosines[np.arange(len(block)), nearest], -1, 1)
        pairs += [
            Neighbor(row=row, other=other, cosine=value)
            for row, other, value in zip(block.tolist(), others[nearest].tolist(), values.tolist(), strict=True)
            if value >= min_cosine - ROUNDING
        ]
    return sorted(pairs, key=lambda pair: -pair.cosine)
