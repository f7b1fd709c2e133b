"""Features of samples as a file: AnnData, Parquet, or arrays of NumPy."""

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError, first_line
from hpa_data.system.atomic import open_output
from hpa_data.system.outputs import check_output
from hpa_model.runs.folder import CORRUPTION_ERRORS

# Modules that write and read a format, and the extra that brings them.
FORMATS = {".npz": None, ".parquet": ("pyarrow", "PyArrow", "tables"), ".h5ad": ("anndata", "anndata", "embed")}
# Columns of a Parquet file that are not of a class or of the metadata, and what stands before those that are.
EMBEDDING, PROB, LABEL = "embedding", "prob:", "label:"
# Names that no column of the metadata may have, beside those that begin as above.
OWN_COLUMNS = ("id", "part", "is_labeled", "class", "predicted", EMBEDDING, "_index")  # the last one is AnnData's


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Features of samples, and what is known of each."""

    ids: tuple[str, ...]
    """Length N; not two are of the same part."""

    parts: tuple[str, ...]
    """Of a store, length N; empty texts for image files."""

    vectors: npt.NDArray[np.float32]
    """Shape (N, D)."""

    classes: tuple[str, ...]

    probs: npt.NDArray[np.float32]
    """Shape (N, K)."""

    labels: npt.NDArray[np.uint8] | None
    """Multi-hot, shape (N, K), 0 where they are not known; None if they are known of no sample."""

    is_labeled: npt.NDArray[np.bool_]
    """Of which samples the labels are known, shape (N,)."""

    about: dict[str, Any]
    """How they were made: names and values that JSON has."""

    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What else is known of each sample: columns of N texts, such as cell lines."""


def is_own(name: str) -> bool:
    """Return whether no column of the metadata may have a name."""
    return name in OWN_COLUMNS or name.startswith((PROB, LABEL))


def check_embeddings_path(path: Path) -> None:
    """Refuse a file of embeddings that could not be written, before hours are spent on them: InputError."""
    _check_format(path, "out", "write")
    check_output(path, example="emb.npz")


def _check_format(path: Path, option: str, verb: str) -> None:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        example = path.with_suffix(".npz") if path.name and not path.is_dir() else "emb.npz"
        raise InputError(
            f"{option} must be a file that ends in {', '.join(FORMATS)}. Received: {path}. Pass {example}."
        )
    needed = FORMATS[suffix]
    if needed is not None and importlib.util.find_spec(needed[0]) is None:
        _, name, extra = needed
        raise InputError(
            f"Cannot {verb} {path}: {name} is not installed. Run: pip install '.[{extra}]', or pass a .npz file."
        )


def estimate_embeddings(
    n_samples: int, n_features: int, n_classes: int, metadata: Mapping[str, Sequence[str]] | None = None
) -> int:
    """Estimate how large a file of embeddings can be, in bytes."""
    texts = sum(len(cell) + 4 for column in (metadata or {}).values() for cell in column)
    return n_samples * (4 * n_features + 5 * n_classes + 100) + texts


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write embeddings. Atomic.

    Parameters
    ----------
    path : Path
        ``.npz``: arrays ``id`` and ``part`` (N,), ``classes`` (K,), all text, ``embeddings``, float32 (N, D),
        ``probs``, float32 (N, K), ``is_labeled``, bool (N,), ``labels``, uint8 (N, K), if any are known, and
        ``about``, a text in JSON; no pickles. ``metadata`` is a text in JSON, too: an object of lists.
        ``.parquet``: a row for each sample, with columns ``id``, ``part``, ``embedding``, a list of D numbers, and
        ``prob:CLASS`` and ``label:CLASS`` for each class, empty where labels are not known, and the columns of the
        metadata; ``about`` is in the metadata of the file as ``hpa``.
        ``.h5ad``: AnnData, with the features as ``X``, ``id``, ``part``, ``is_labeled`` and the metadata in ``obs``,
        probabilities and labels in ``obsm`` with the classes as names of columns, and ``about`` in ``uns["hpa"]``.
    embeddings : Embeddings
    """
    suffix = path.suffix.lower()
    with open_output(path) as file:
        if suffix == ".npz":
            np.savez_compressed(file, allow_pickle=False, **_list_arrays(embeddings))
        elif suffix == ".parquet":
            _write_parquet(file, embeddings)
        else:
            _write_anndata(file, embeddings)


def read_embeddings(path: Path) -> Embeddings:
    """Read embeddings of any of the formats; InputError if there are none in the file.

    Columns that another program added to a Parquet file, or to ``obs`` of AnnData, are metadata, too.
    """
    _check_format(path, "embeddings", "read")
    readers: dict[str, Callable[[Path], Embeddings]] = {
        ".npz": _read_npz,
        ".parquet": _read_parquet,
        ".h5ad": _read_anndata,
    }
    try:
        found = readers[path.suffix.lower()](path)
        _check(found)
    except FileNotFoundError:
        raise InputError(f"Cannot read {path}: there is no such file. Make it with `hpa embed`.") from None
    except CORRUPTION_ERRORS as error:
        raise InputError(f"Cannot read {path}: it holds no embeddings ({error}). Make it with `hpa embed`.") from error
    return found


def _check(found: Embeddings) -> None:
    """Check what others may have written; ValueError if it does not fit together."""
    n, k = len(found.ids), len(found.classes)
    shapes: dict[str, tuple[int, ...]] = {"part": (len(found.parts),), "is_labeled": found.is_labeled.shape}
    shapes |= {"probs": found.probs.shape, "embeddings": found.vectors.shape[:1]}
    expected: dict[str, tuple[int, ...]] = {"part": (n,), "is_labeled": (n,), "probs": (n, k), "embeddings": (n,)}
    if found.labels is not None:
        shapes["labels"], expected["labels"] = found.labels.shape, (n, k)
    for name, column in found.metadata.items():
        shapes[name], expected[name] = (len(column),), (n,)
    wrong = next((name for name in shapes if shapes[name] != expected[name]), None)
    if wrong is not None:
        raise ValueError(f"{wrong} has the shape {shapes[wrong]}, where {expected[wrong]} is expected")
    if not all(map(str.strip, found.metadata)):
        raise ValueError("a column of its metadata has no name")
    folds, layer = found.about.get("folds"), found.about.get("layer")
    if not (folds is None or (isinstance(folds, list) and all(type(fold) is int for fold in folds))):
        raise ValueError("its folds are no list of numbers")
    if not (layer is None or isinstance(layer, str)):
        raise ValueError("its layer is no text")
    if not ((found.probs >= 0) & (found.probs <= 1)).all():
        raise ValueError("its probabilities are not all from 0 to 1")
    if found.vectors.ndim != 2 or not np.isfinite(found.vectors).all():
        raise ValueError("its features are no table of finite numbers")


def _list_arrays(found: Embeddings) -> dict[str, npt.NDArray[Any]]:
    arrays = {
        "id": np.array(found.ids, str),
        "part": np.array(found.parts, str),
        "classes": np.array(found.classes, str),
        "embeddings": found.vectors,
        "probs": found.probs,
        "is_labeled": found.is_labeled,
        "about": np.array(json.dumps(found.about)),
    }
    if found.metadata:  # as an array of texts, each cell would take the room of the longest
        arrays["metadata"] = np.array(json.dumps(found.metadata))
    return arrays if found.labels is None else arrays | {"labels": found.labels}


def _read_npz(path: Path) -> Embeddings:
    with np.load(path, allow_pickle=False) as file:
        return Embeddings(
            ids=tuple(file["id"].tolist()),
            parts=tuple(file["part"].tolist()),
            vectors=np.asarray(file["embeddings"], np.float32),
            classes=tuple(file["classes"].tolist()),
            probs=np.asarray(file["probs"], np.float32),
            labels=np.asarray(file["labels"], np.uint8) if "labels" in file else None,
            is_labeled=np.asarray(file["is_labeled"], bool),
            about=_decode_about(str(file["about"])),
            metadata=_decode_metadata(str(file["metadata"])) if "metadata" in file else {},
        )


def _decode_about(text: str) -> dict[str, Any]:
    about = json.loads(text)
    if not isinstance(about, dict):
        raise ValueError("what is said about it is no object")
    return about


def _decode_metadata(text: str) -> dict[str, tuple[str, ...]]:
    return {str(name): tuple(map(str, column)) for name, column in _decode_about(text).items()}


def _describe_cell(value: Any) -> str:
    """Return a cell of another program as text; empty where it is missing."""
    is_missing = value is None or (isinstance(value, float) and np.isnan(value)) or str(value) in ("<NA>", "NaT")
    return "" if is_missing else str(value)


def _write_parquet(file: Any, found: Embeddings) -> None:
    import pyarrow
    from pyarrow import parquet

    values = pyarrow.array(np.ascontiguousarray(found.vectors).ravel())
    columns: dict[str, Any] = {
        "id": pyarrow.array(list(found.ids)),
        "part": pyarrow.array(list(found.parts)),
        EMBEDDING: pyarrow.FixedSizeListArray.from_arrays(values, found.vectors.shape[1]),
    }
    columns |= {PROB + name: pyarrow.array(found.probs[:, k]) for k, name in enumerate(found.classes)}
    if found.labels is not None:
        unknown = ~found.is_labeled
        columns |= {
            LABEL + name: pyarrow.array(found.labels[:, k], mask=unknown) for k, name in enumerate(found.classes)
        }
    columns |= {name: pyarrow.array(list(column), pyarrow.string()) for name, column in found.metadata.items()}
    table = pyarrow.table(list(columns.values()), names=list(columns))
    parquet.write_table(table.replace_schema_metadata({"hpa": json.dumps(found.about)}), file)


def _read_parquet(path: Path) -> Embeddings:
    from pyarrow import parquet

    table = parquet.read_table(path)
    classes = [name.removeprefix(PROB) for name in table.column_names if name.startswith(PROB)]
    embedding = table[EMBEDDING].combine_chunks()
    vectors = np.stack(embedding.to_numpy(zero_copy_only=False)) if len(table) else np.zeros((0, 0))
    labels = [table[LABEL + name] for name in classes if LABEL + name in table.column_names]
    is_labeled = ~labels[0].is_null().to_numpy() if labels else np.zeros(len(table), bool)
    return Embeddings(
        ids=tuple(map(str, table["id"].to_pylist())),
        parts=tuple(map(str, table["part"].to_pylist())),
        vectors=np.asarray(vectors, np.float32),
        classes=tuple(classes),
        probs=_stack([table[PROB + name] for name in classes], np.float32),
        labels=_stack([column.fill_null(0) for column in labels], np.uint8) if labels else None,
        is_labeled=is_labeled,
        about=_decode_about((table.schema.metadata or {}).get(b"hpa", b"{}").decode()),
        metadata={
            name: tuple(map(_describe_cell, table[name].to_pylist())) for name in table.column_names if not is_own(name)
        },
    )


def _stack(columns: Sequence[Any], dtype: Any) -> npt.NDArray[Any]:
    """Put columns of a table, each of length N, side by side: (N, K)."""
    return np.stack([column.to_numpy() for column in columns], axis=1).astype(dtype)


def _write_anndata(file: Any, found: Embeddings) -> None:
    import tempfile

    import anndata
    import pandas as pd

    index = pd.Index(_name_rows(found), dtype=object)
    names = pd.Index(found.classes, dtype=object)
    obsm = {"probs": pd.DataFrame(found.probs, index=index, columns=names)}
    if found.labels is not None:
        obsm["labels"] = pd.DataFrame(found.labels, index=index, columns=names)
    table = anndata.AnnData(
        X=found.vectors,
        obs=pd.DataFrame(
            {"id": _categorize(found.ids), "part": _categorize(found.parts), "is_labeled": found.is_labeled}
            | {name: _categorize(column) for name, column in found.metadata.items()},
            index=index,
        ),
        var=pd.DataFrame(index=pd.Index([str(d) for d in range(found.vectors.shape[1])], dtype=object)),
        obsm=obsm,
        uns={"hpa": json.dumps(found.about)},
    )
    with tempfile.TemporaryDirectory() as folder:  # HDF5 needs a file of its own
        whole = Path(folder) / "a.h5ad"
        table.write_h5ad(whole, compression="gzip")
        file.write(whole.read_bytes())


def _categorize(texts: Sequence[str]) -> Any:
    """Make a column of texts in the one form that AnnData writes with every version of pandas."""
    import pandas as pd

    return pd.Categorical(np.array(texts, object), categories=pd.Index(sorted(set(texts)), dtype=object))


def _name_rows(found: Embeddings) -> list[str]:
    """Name each row: by its id, and by its part, too, where two parts have the same."""
    if len(set(found.ids)) == len(found.ids):
        return list(found.ids)
    return [f"{part}/{name}" for part, name in zip(found.parts, found.ids, strict=True)]


def _read_anndata(path: Path) -> Embeddings:
    import anndata

    try:
        table = anndata.read_h5ad(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # it has errors of its own, of no common class
        raise ValueError(first_line(error)) from error
    probs = table.obsm["probs"]
    return Embeddings(
        ids=tuple(map(str, table.obs["id"])),
        parts=tuple(map(str, table.obs["part"])),
        vectors=np.asarray(table.X, np.float32),
        classes=tuple(map(str, probs.columns)),
        probs=np.asarray(probs, np.float32),
        labels=np.asarray(table.obsm["labels"], np.uint8) if "labels" in table.obsm else None,
        is_labeled=np.asarray(table.obs["is_labeled"], bool),
        about=_decode_about(str(table.uns.get("hpa", "{}"))),
        metadata={
            str(name): tuple(map(_describe_cell, table.obs[name].astype(object)))
            for name in table.obs.columns
            if not is_own(str(name))
        },
    )
