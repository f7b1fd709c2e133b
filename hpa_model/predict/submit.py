"""Predictions of a run for parts of a store or for image files, written as tables."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, is_readable
from hpa_data.errors import InputError, Notice
from hpa_data.reader.reader import Reader
from hpa_data.sources.samples import FolderReader
from hpa_data.store.failures import Failure
from hpa_data.system.outputs import check_distinct, check_output
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import first_duplicate
from hpa_model.predict.chosen import choose_models, notice_count
from hpa_model.predict.models import list_overridden_settings, load_models, name_models, predict_calibrated
from hpa_model.predict.opening import name_file, open_samples
from hpa_model.predict.reading import Reading
from hpa_model.predict.submission import (
    check_ids,
    check_submission,
    estimate_submission,
    read_sample_submission,
    write_submission,
)
from hpa_model.predict.tables import check_probs_path, estimate_probs, write_probs
from hpa_model.thresholds import ClassCalibration

# Ids that are looked at for the nearest one; 20,000 take a second.
MAX_COMPARED = 20_000


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

    failures: tuple[Failure, ...]
    """The same with file and reason, in the order of the rows."""

    n_extra: int
    """Samples that were left out because the sample submission does not list them."""

    n_left_out: int = 0
    """Samples that were left out because they lack a channel, as was asked for."""

    notices: tuple[Notice, ...] = ()
    """What should be known of the samples and of how they were read."""

    probs: Path | None = None
    """The file of probabilities."""

    labels_per_sample: float = float("nan")
    """Classes of a sample of the training data, on average; NaN where that is not known."""


def predict_submission(
    run: Path,
    source: Path | str,
    out: Path,
    *,
    parts: Sequence[str] = ("test",),
    folds: Sequence[int] | None = None,
    thresholds: Path | None = None,
    reading: Reading | None = None,
    sample_submission: Path | None = None,
    probs: Path | None = None,
    names: bool = False,
    allow_empty: bool = False,
    tta: bool = False,
    calibrated: bool = False,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Prediction:
    """Predict parts of a store, or image files, and write a submission.

    Parameters
    ----------
    run : Path
        The run folder.
    source : Path or str
        A store, its URL, or image files: a folder, an archive, or a folder inside one.
    out : Path
        The CSV file to write.
    parts : sequence of str
        Of the store. No id may be in two of them.
    folds : sequence of int, optional
        Average the models of these folds, and use thresholds fitted to their rows alone. By default all, with the
        thresholds of the run.
    thresholds : Path, optional
        For a run without folds, which has no thresholds: another run of the same classes, whose thresholds are used. By
        default 0.5 for every class.
    reading : Reading, optional
        How image files are read; by default as those of the run, see `find_reading`. Not for stores.
    sample_submission : Path, optional
        A table whose ids, in its order, are the rows. Without it, the rows are all samples in the order of the source.
    probs : Path, optional
        A file for the probabilities of all classes; see `tables.write_probs`.
    names : bool
        Add a column with the names of the classes.
    allow_empty : bool
        Leave rows without a class as they are. By default, such a row gets its most probable class if every sample
        of the training data shows one.
    tta : bool
        See `predict_probs`.
    calibrated : bool
        Write calibrated probabilities, see `models.predict_calibrated`. The classes stay the same.
    strict : bool
        Refuse to predict if there is a notice before anything is read.
    progress : Progress, optional
        Of images.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If the samples are not like those that the run was trained on, an id of the sample submission has no sample, or
        an output could not be written: all of it before the first image is read.
    """
    files = {"out": out, "probs": probs}
    check_output(out, example="submission.csv")
    check_distinct(files, inputs={"sample-submission": sample_submission, "SOURCE": name_file(source)})
    models = choose_models(run, folds, thresholds, calibrated=calibrated)
    description = models.description
    dataset = description.full_dataset
    if probs is not None:
        check_probs_path(probs, dataset.classes)
    opened = open_samples(models, source, parts=parts, reading=reading)
    with opened.source.reader as reader:
        repeated = first_duplicate(reader.ids)
        if repeated is not None:
            raise InputError(f"Cannot predict {source}: two parts have id {repeated!r}. Predict them one at a time.")
        order, chosen = _find_rows(reader, source, sample_submission)
        check_ids(order, source)
        check_output(out, n_bytes=estimate_submission(order, names=names))
        if probs is not None:
            check_output(probs, option="probs", n_bytes=estimate_probs(order, len(dataset.classes)))
        before = opened.list_before(order, strict=strict)
        readable = is_readable(reader.status[chosen])
        if not readable.any():
            raise InputError(f"Cannot predict {source}: none of its samples is readable. Convert it again.")
        networks = load_models(run, description, models.folds)
        before += list_overridden_settings(networks)
        progress.start(int(readable.sum()))
        rows = chosen[readable]
        found, given_out = predict_calibrated(
            networks,
            reader,
            rows,
            description.config.batch_size,
            progress.part(),
            calibrations=(models.decision.calibrations if calibrated else None)
            or [ClassCalibration()] * len(dataset.classes),
            tta=tta,
            temperatures=models.temperatures,
            names=name_models(run, description, models.folds),
            remedy="Train the run again, or leave that model out: pass --fold with each of the others.",
        )
        # A folder's reader knows only now which files it could read.
        is_read = reader.status[rows] != FAILED
        ids = [reader.ids[index] for index in rows[is_read].tolist()]
        failures = opened.source.list_failures()
        notices = [*before, *opened.list_after(ids)]
    predictions = models.decision.predict(found[is_read], fill=False if allow_empty else None)
    notices += notice_count(predictions, models.rows)
    predicted = dict(zip(ids, predictions, strict=True))
    failed = tuple(name for name in order if name not in predicted)
    write_submission(out, order, predicted, dataset, names=names)
    check_submission(out, order, dataset)
    if probs is not None:
        write_probs(probs, order, dict(zip(ids, given_out[is_read], strict=True)), dataset.classes)
    return Prediction(
        out=out,
        n_rows=len(order),
        n_labels=int(predictions.sum()),
        failed=failed,
        failures=tuple(failures[name] for name in failed),
        n_extra=len(reader) - len(order),
        n_left_out=opened.source.n_left_out,
        notices=tuple(notices),
        labels_per_sample=models.labels_per_sample,
        probs=probs,
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
        near = difflib.get_close_matches(missing[0], reader.ids[:MAX_COMPARED], 1)
        nearest = f". The nearest id that it has is {near[0]!r}" if near else ""
        raise InputError(
            f"Cannot predict {source}: {sample_submission} lists {missing[0]!r}{others}, which it does not "
            f"have{nearest}. Convert the whole test folder, or pass the sample submission of these samples."
        )
    return order, np.array([positions[name] for name in order])
