"""Embeddings of a run for parts of a store or for image files, written as a table."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, is_readable
from hpa_data.errors import InputError, Notice
from hpa_data.sources.samples import FolderReader
from hpa_data.store.failures import Failure
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_data.system.outputs import check_distinct, check_output
from hpa_data.system.progress import SILENT, Progress
from hpa_model.predict.chosen import choose_models
from hpa_model.predict.embeddings import Embeddings, check_embeddings_path, estimate_embeddings, write_embeddings
from hpa_model.predict.features import count_features, predict_features
from hpa_model.predict.metadata import read_metadata
from hpa_model.predict.models import list_overridden_settings, load_models, name_models
from hpa_model.predict.opening import name_file, open_samples
from hpa_model.predict.reading import Reading
from hpa_model.predict.source import Source
from hpa_model.runs.folder import THRESHOLDS_FILE
from hpa_model.runs.seal import read_file


@dataclass(frozen=True, kw_only=True)
class EmbeddedSamples:
    """What `embed_samples` wrote."""

    out: Path

    n_samples: int

    n_features: int

    failures: tuple[Failure, ...]
    """Samples that could not be read, with file and reason; they are left out."""

    n_left_out: int = 0
    """Samples that were left out because they lack a channel, as was asked for."""

    notices: tuple[Notice, ...] = ()
    """What should be known of the samples and of how they were read."""


def embed_samples(
    run: Path,
    source: Path | str,
    out: Path,
    *,
    parts: Sequence[str] = ("train",),
    folds: Sequence[int] | None = None,
    layer: str | None = None,
    reading: Reading | None = None,
    metadata: Path | None = None,
    calibrated: bool = False,
    strict: bool = False,
    progress: Progress = SILENT,
) -> EmbeddedSamples:
    """Compute the features and probabilities of samples, and write them with ids and labels.

    Parameters
    ----------
    run : Path
        The run folder; not of an ensemble.
    source : Path or str
        A store, its URL, or image files, as for `submit.predict_submission`.
    out : Path
        The file to write, see `embeddings.write_embeddings`.
    parts : sequence of str
        Of the store.
    folds : sequence of int, optional
        Whose models are used, by default all; see `features.predict_features` for how several are joined.
    layer : str, optional
        A layer of the networks whose output are the features; by default the input of the output layer.
    reading : Reading, optional
        How image files are read; by default as those of the run.
    metadata : Path, optional
        A table with more that is known of samples, see `metadata.read_metadata`.
    calibrated : bool
        Write calibrated probabilities, see `models.predict_calibrated`.
    strict : bool
        Refuse if there is a notice before anything is read.
    progress : Progress, optional
        Of images.

    Raises
    ------
    InputError
        If the samples are not like those that the run was trained on, or the file could not be written: before the
        first image is read. If the run has no such layer, or is an ensemble.
    """
    check_embeddings_path(out)
    check_distinct({"out": out}, inputs={"SOURCE": name_file(source), "metadata": metadata})
    models = choose_models(run, folds, calibrated=calibrated, decides=False)
    description, decision = models.description, _hash_decision(run)
    opened = open_samples(models, source, parts=parts, reading=reading)
    with opened.source.reader as reader:
        before = opened.list_before(reader.ids, strict=strict)
        columns, unknown = ({}, ()) if metadata is None else read_metadata(metadata, reader.ids)
        before += unknown
        rows = np.flatnonzero(is_readable(reader.status))
        if not len(rows):
            raise InputError(f"Cannot embed {source}: none of its samples is readable. Convert it again.")
        networks = load_models(run, description, models.folds)
        before += list_overridden_settings(networks)
        n_features = count_features(networks, layer)
        check_output(out, n_bytes=estimate_embeddings(len(rows), n_features, len(description.classes), columns))
        progress.start(len(rows))
        vectors, probs = predict_features(
            networks,
            reader,
            rows,
            description.config.batch_size,
            progress.part(),
            layer=layer,
            temperatures=models.temperatures,
            calibrations=models.decision.calibrations if calibrated else None,
            names=name_models(run, description, models.folds),
        )
        is_read = reader.status[rows] != FAILED  # a folder's reader knows only now
        kept = rows[is_read].tolist()
        ids = [reader.ids[index] for index in kept]
        failures = opened.source.list_failures()
        notices = [*before, *opened.list_after(ids)]
        labels, is_labeled = _list_labels(opened.source, len(reader), len(description.classes))
        found = Embeddings(
            ids=tuple(ids),
            parts=tuple("" if isinstance(reader, FolderReader) else reader.parts[index] for index in kept),
            vectors=vectors[is_read],
            classes=description.full_dataset.classes,
            probs=probs[is_read],
            labels=labels[kept] if is_labeled.any() else None,
            is_labeled=is_labeled[kept],
            metadata={name: tuple(column[index] for index in kept) for name, column in columns.items()},
            about={
                "hpa": version("hpa"),
                "run": run.absolute().name,
                "decision": decision,
                "folds": list(models.folds),
                "layer": layer,
                "calibrated": calibrated,
                "network": description.config.model if description.baseline is None else description.baseline.model,
            },
        )
    write_embeddings(out, found)
    return EmbeddedSamples(
        out=out,
        n_samples=len(ids),
        n_features=vectors.shape[1],
        failures=tuple(failures[name] for name in reader.ids if name in failures),
        n_left_out=opened.source.n_left_out,
        notices=tuple(notices),
    )


def _hash_decision(run: Path) -> str | None:
    """Return what tells the thresholds of a run from those of others: a SHA-256; None if it has none."""
    path = run / THRESHOLDS_FILE
    if not path.is_file():
        return None
    return hashlib.sha256(read_file(path, max_bytes=MAX_TEXT_BYTES)).hexdigest()


def _list_labels(source: Source, n_samples: int, n_classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """List the labels of all samples, (N, K), 0 where they are not known, and of which they are, (N,)."""
    labels, is_labeled = np.zeros((n_samples, n_classes), np.uint8), np.zeros(n_samples, bool)
    first = 0
    for part in source.parts:
        rows = slice(first, first + len(part.ids))
        if part.labels is not None:
            labels[rows], is_labeled[rows] = part.labels, True
        first += len(part.ids)
    return labels, is_labeled
