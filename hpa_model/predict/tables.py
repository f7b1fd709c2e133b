"""Probabilities of all classes as a file: CSV, Parquet, or arrays of NumPy."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_output
from hpa_data.system.outputs import check_output
from hpa_data.tables import write_table

FORMATS = (".csv", ".parquet", ".npz")


def check_probs_path(path: Path, classes: Sequence[str]) -> None:
    """Refuse a file of probabilities that could not be written, before hours are spent on them: InputError."""
    if path.suffix.lower() not in FORMATS:
        example = path.with_suffix(".csv")
        raise InputError(f"probs must be a file that ends in {', '.join(FORMATS)}. Received: {path}. Pass {example}.")
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(
            f"Cannot write {path}: PyArrow is not installed. Run: pip install '.[tables]', or pass a .csv or .npz file."
        )
    check_output(path, option="probs", example="probs.csv")
    if path.suffix.lower() != ".npz" and "id" in classes:
        raise InputError(
            f"Cannot write {path}: a class is called 'id', as the column of ids is. Pass a .npz file, which has no "
            "columns."
        )


def estimate_probs(order: Sequence[str], n_classes: int) -> int:
    """Estimate how large a file of probabilities can be, in bytes: that of a CSV file, the largest of the formats."""
    return sum(map(len, order)) + 14 * n_classes * len(order)  # 14: a comma and up to nine digits with an exponent


def write_probs(
    path: Path, order: Sequence[str], probs: Mapping[str, npt.NDArray[np.float32]], classes: Sequence[str]
) -> None:
    """Write the probabilities of samples. Atomic.

    Parameters
    ----------
    path : Path
        ``.csv`` or ``.parquet``: a column ``id`` and one for each class, called as it is; the cells of a sample without
        probabilities are empty. ``.npz``: arrays ``id`` (N,), ``classes`` (K,), both text, and ``probs``, float32
        (N, K), NaN for a sample without probabilities; no pickles.
    order : sequence of str, length N
        The ids, one per row.
    probs : mapping of str to array of float32, shape (K,)
        By id; an id that could not be read is not in it.
    classes : sequence of str, length K
    """
    if path.suffix.lower() == ".csv":
        empty = [""] * len(classes)
        rows = ([name, *(map(_format, probs[name].tolist()) if name in probs else empty)] for name in order)
        write_table(path, ["id", *classes], rows)
        return
    nothing = np.full(len(classes), np.nan, np.float32)
    table = np.stack([probs.get(name, nothing) for name in order])  # (N, K)
    with open_output(path) as file:
        if path.suffix.lower() == ".npz":
            np.savez_compressed(file, id=np.array(order, str), classes=np.array(classes, str), probs=table)
            return
        import pyarrow
        from pyarrow import parquet

        columns = [pyarrow.array(table[:, k], mask=np.isnan(table[:, k])) for k in range(len(classes))]
        parquet.write_table(pyarrow.table([pyarrow.array(list(order)), *columns], names=["id", *classes]), file)


def _format(value: float) -> str:
    """Format a probability with all digits of a float32."""
    return f"{value:.9g}"
