"""Prediction: the models of all folds of a run, averaged, for samples with or without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, is_readable
from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchReader, count_symmetries
from hpa_data.reader.kvstore import is_url
from hpa_data.reader.reader import Reader
from hpa_data.sources.naming import find_samples
from hpa_data.sources.samples import FolderReader
from hpa_data.store.store import open_store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import first_duplicate
from hpa_model.backend import feed, on_tensorflow, reraise_reader_errors
from hpa_model.nets.symmetry import with_symmetry_input
from hpa_model.runs.folder import BEST_FILE, RunDescription, fold_folder, read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_thresholds
from hpa_model.submission import check_submission, predict_at_least_one, read_sample_submission, write_submission


def predict_probs(
    models: Sequence[keras.Model],
    reader: BatchReader,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    progress: Progress = SILENT,
    *,
    tta: bool = False,
) -> npt.NDArray[np.float32]:
    """Predict samples and average over models.

    Parameters
    ----------
    models : sequence of keras.Model, at least one
    reader : Reader
        Of parts of a store, or of a folder. Each sample is read once, whatever the number of models.
    indices : array of int64, shape (M,)
    batch_size : int
    progress : Progress, optional
        Of images. Its `start` is not called.
    tta : bool
        Test-time augmentation: also average over the eight flips and rotations of each image, four if it is not
        square.

    Returns
    -------
    array of float32, shape (M, K)
        Mean probabilities in [0, 1], in the order of `indices`.
    """
    predictors = [with_symmetry_input(model) if tta else model for model in models]
    for model in predictors:
        model.jit_compile = not on_tensorflow()  # XLA compiles again for each batch size; JAX has nothing else
    rows = []
    with reraise_reader_errors(reader) as source:
        for batch in feed(source, indices, batch_size, shuffle=False, epochs=1):
            images = batch[0] if isinstance(batch, tuple) else batch
            n_images = len(images)
            views: list[Any] = [images]
            if tta:
                views = [
                    (images, np.full(n_images, code, np.uint8)) for code in range(count_symmetries(reader.image_shape))
                ]
            rows.append(np.mean([model.predict_on_batch(view) for model in predictors for view in views], axis=0))
            del batch, images, views
            progress.advance(n_images)
    return np.concatenate(rows).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a prediction wrote."""

    out: Path
    """The CSV file."""

    n_rows: int

    n_labels: int
    """Classes of all rows together."""

    failed: tuple[str, ...]
    """Ids whose images could not be read; their rows are empty."""

    n_extra: int
    """Samples that were left out because the sample submission does not list them."""


def predict_submission(
    run: Path,
    source: Path | str,
    out: Path,
    *,
    parts: Sequence[str] = ("test",),
    sample_submission: Path | None = None,
    allow_empty: bool = False,
    tta: bool = False,
    progress: Progress = SILENT,
) -> Prediction:
    """Predict parts of a store, or a folder of image files, and write a submission.

    Parameters
    ----------
    run : Path
        The run folder.
    source : Path or str
        A store, its URL, or a folder of image files.
    out : Path
        The CSV file to write.
    parts : sequence of str
        Of the store. No id may be in two of them.
    sample_submission : Path, optional
        A table whose ids, in its order, are the rows. Without it, the rows are all samples in the order of the source.
    allow_empty : bool
        See `submission.predict_at_least_one`.
    tta : bool
        See `predict_probs`.
    progress : Progress, optional
        Of images.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If the samples are not like those that the run was trained on, or an id of the sample submission has no sample.
    """
    if out.is_dir():
        raise InputError(f"out must be a file. Received: {out}, a folder. Pass {out / 'submission.csv'}.")
    description = read_run(run)
    thresholds = read_thresholds(run, description.classes)
    with _open_source(source, parts, description) as reader:
        repeated = first_duplicate(reader.ids)
        if repeated is not None:
            raise InputError(f"Cannot predict {source}: two parts have id {repeated!r}. Predict them one at a time.")
        order, chosen = _find_rows(reader, source, sample_submission)
        readable = is_readable(reader.status[chosen])
        if not readable.any():
            raise InputError(f"Cannot predict {source}: none of its samples is readable. Convert it again.")
        models = [
            load_model(fold_folder(run, fold) / BEST_FILE, description) for fold in range(description.config.folds)
        ]
        progress.start(int(readable.sum()))
        probs = predict_probs(models, reader, chosen[readable], description.config.batch_size, progress.part(), tta=tta)
        rows = predict_at_least_one(probs, thresholds, allow_empty=allow_empty)
        # A folder's reader knows only now which files it could read.
        predicted = {
            reader.ids[index]: row
            for index, row in zip(chosen[readable].tolist(), rows, strict=True)
            if reader.status[index] != FAILED
        }
    write_submission(out, order, predicted)
    check_submission(out, order, len(description.classes))
    return Prediction(
        out=out,
        n_rows=len(order),
        n_labels=int(sum(row.sum() for row in predicted.values())),
        failed=tuple(name for name in order if name not in predicted),
        n_extra=len(reader) - len(order),
    )


def _find_rows(
    reader: Reader | FolderReader, source: Path | str, sample_submission: Path | None
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the ids of the rows to write, in order, and their indices into the reader, int64 (M,)."""
    if sample_submission is None:
        return reader.ids, np.arange(len(reader))
    order = read_sample_submission(sample_submission)
    positions = {name: index for index, name in enumerate(reader.ids)}
    missing = [name for name in order if name not in positions]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"Cannot predict {source}: {sample_submission} lists {missing[0]!r}{others}, which it does not have. "
            "Convert the whole test folder, or pass the sample submission of these samples."
        )
    return order, np.array([positions[name] for name in order])


def is_store(source: Path | str) -> bool:
    """Return whether a source is a store or its URL, not a folder of image files."""
    return is_url(source) or Path(source, "zarr.json").is_file()


def _open_source(source: Path | str, parts: Sequence[str], description: RunDescription) -> Reader | FolderReader:
    """Open parts of a store, or a folder; InputError if its samples are not like those that the run was trained on."""
    reader: Reader | FolderReader
    if is_store(source):
        store = open_store(source)
        for part in parts:
            for name in ("channels", "classes"):
                found, expected = getattr(store.part(part).manifest, name), getattr(description, name)
                if found != expected:
                    raise InputError(
                        f"{name} must be those that the run was trained on, {', '.join(expected)}. Received: "
                        f"{', '.join(found)} in part {part}. Choose another run or part."
                    )
        reader = store.reader(parts)
    elif not Path(source).exists():
        raise InputError(
            f"source must be a store, its URL, or a folder of image files. Received: {source}, which does not exist. "
            "Check the path."
        )
    else:
        reader = FolderReader(find_samples(source))
    if tuple(reader.image_shape) != description.image_shape:
        raise InputError(
            f"Cannot predict {source}: its images have the shape {tuple(reader.image_shape)}, the run was trained on "
            f"{description.image_shape}. Choose another run or part."
        )
    return reader
