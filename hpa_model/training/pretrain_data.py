"""The samples of a pre-training: which are trained on and which are held out; and a reader that shows no labels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.folds.relations import find_relations
from hpa_data.reader.reader import ABSENT, ORIGINAL, Reader
from hpa_data.store.store import Store
from hpa_model.config import TrainConfig

Indices = npt.NDArray[np.int64]


@contextmanager
def open_unlabeled(store: Store, config: TrainConfig, *, cache_bytes: int = 0) -> Iterator[Reader]:
    """Open a reader over parts, with or without labels, that shows none.

    In place of labels, uint8 (N, K), it has what an autoencoder should reach: an error of 0, uint8 (N, 1).
    """
    with store.reader(config.parts, cache_bytes=cache_bytes, channels=config.channels or None) as reader:
        reader.labels = np.zeros((len(reader), 1), np.uint8)
        yield reader


def split_samples(
    store: Store, parts: Sequence[str], reader: Reader, *, share: float, seed: int
) -> tuple[Indices, Indices]:
    """Split the samples of a reader into those to train on and those to validate on, as a function of the seed.

    Samples with the same pixels or the same id are on one side, and so are copies and their parents; copies are never
    validated. Samples that cannot be read are on neither side. Labels play no part.

    Parameters
    ----------
    store : Store
    parts : sequence of str
    reader : Reader
        Over these parts, in the same order.
    share : float
        Of the samples, apart from copies, those to validate on, rounded; at least one.
    seed : int

    Returns
    -------
    training, validation : arrays of int64
        Indices into the reader, in its order.

    Raises
    ------
    InputError
        If a part is not finished, the parents of copies are in none of the parts, or fewer than two samples differ.
    """
    n_pending = int((reader.status == PENDING).sum())
    if n_pending:
        raise InputError(
            f"Cannot pre-train: {n_pending} samples are still pending. Rerun the same `hpa convert` or `hpa augment`."
        )
    if (reader.parents == ABSENT).any():
        raise InputError(
            "Cannot pre-train: there are copies without the part of their parents. Name that part by --part, too."
        )
    readable = is_readable(reader.status)
    originals = np.flatnonzero(readable & (reader.parents == ORIGINAL))
    groups = find_relations([store.part(name) for name in parts], reader, near=False).merge(fold_groups=False)
    _, members = np.unique(groups[originals], return_inverse=True)
    n_groups = int(members.max()) + 1 if len(members) else 0
    if n_groups < 2:
        raise InputError(
            f"Cannot pre-train: at least 2 different samples are needed, the parts have {n_groups}. Name further parts "
            "by --part."
        )
    order = np.random.default_rng(np.random.SeedSequence([seed, 0])).permutation(n_groups)
    sizes = np.bincount(members)[order].cumsum()
    n_held_out = int(np.clip(np.searchsorted(sizes, round(share * len(originals))) + 1, 1, n_groups - 1))
    is_held_out = np.zeros(len(reader), bool)
    is_held_out[originals] = np.isin(members, order[:n_held_out])
    is_copy = reader.parents != ORIGINAL
    sides = np.where(is_copy, is_held_out[reader.parents], is_held_out)
    return np.flatnonzero(readable & ~sides), np.flatnonzero(is_held_out)
