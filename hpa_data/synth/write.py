"""Write folders of synthetic samples in Kaggle's format."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import HPA_2018, decode_labels
from hpa_data.errors import InputError
from hpa_data.synth.labels import draw_split_labels
from hpa_data.synth.sample import draw_sample
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads
from hpa_data.tables import write_table

SPLITS = ("train", "test")
# Last numbers of the seeds of a sample's id and pixels.
STREAM_ID, STREAM_PIXELS = 1, 2


@dataclass(frozen=True, kw_only=True)
class SynthSummary:
    """What `write_samples` wrote."""

    folder: Path
    n_samples: int
    """Labeled training samples."""
    n_test: int
    n_bytes: int
    """Size of all PNG files."""


def write_samples(
    folder: Path,
    *,
    n_samples: int,
    seed: int = 0,
    uniform: bool = False,
    n_test: int = 0,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> SynthSummary:
    """Write synthetic samples as Kaggle's training folder, and optionally its test folder.

    Writes ``train/<id>_<channel>.png`` and ``train.csv``; with test samples also ``test/``, ``sample_submission.csv``
    and ``test_truth.csv``, the labels that are not published for the real test set. The tables are written last: a
    folder without ``train.csv`` is incomplete.

    Parameters
    ----------
    folder : Path
        New or empty.
    n_samples : int
        Training samples, at least 1.
    seed : int
        At least 0. The same seed gives the same files, for any `threads`; sample i keeps its id, labels and
        pixels when `n_samples` or `n_test` changes.
    uniform : bool
        Draw each class equally often instead of as often as in the real table; see `draw_labels`.
    n_test : int
        Test samples, at least 0.
    threads : int, optional
        By default one per core.
    progress : Progress, optional
        Of samples; not started.

    Returns
    -------
    SynthSummary

    Raises
    ------
    InputError
        If a number is out of range, or `folder` is a file or not empty.
    """
    if n_samples < 1 or n_test < 0:
        raise InputError(
            f"n_samples must be at least 1 and n_test at least 0. Received: n_samples={n_samples}, n_test={n_test}. "
            "Pass other numbers."
        )
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1. Received: threads={threads}. Leave it out for one per core.")
    splits = [
        draw_split_labels(n, seed=seed, split=split, uniform=uniform)
        for split, n in enumerate((n_samples, n_test))
        if n
    ]
    prepare_folder(folder)

    ids: list[list[str]] = []
    n_bytes = 0
    for split, labels in enumerate(splits):
        (folder / SPLITS[split]).mkdir(parents=True, exist_ok=True)
        ids.append([draw_id(seed, split, row) for row in range(len(labels))])
        for written in write_planes(
            folder / SPLITS[split], ids[split], labels, seed=seed, split=split, threads=threads
        ):
            n_bytes += written
            progress.advance(1)

    if n_test:
        write_labels(folder / "test_truth.csv", "Target", ids[1], decode_labels(splits[1]))
        write_labels(folder / "sample_submission.csv", "Predicted", ids[1], ["0"] * n_test)
    write_labels(folder / "train.csv", "Target", ids[0], decode_labels(splits[0]))
    return SynthSummary(folder=folder, n_samples=n_samples, n_test=n_test, n_bytes=n_bytes)


def prepare_folder(folder: Path) -> None:
    """Create the folder; InputError if it is a file or not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"folder must be new or empty. Received: folder={folder}, which is not. Pass another folder.")
    folder.mkdir(parents=True, exist_ok=True)


def draw_id(seed: int, split: int, row: int) -> str:
    """Draw the id of a sample: a UUID that depends on seed, split and row alone."""
    return str(uuid.UUID(bytes=np.random.default_rng([seed, split, row, STREAM_ID]).bytes(16), version=4))


def write_planes(
    folder: Path, ids: Sequence[str], labels: npt.NDArray[np.uint8], *, seed: int, split: int, threads: int | None
) -> Iterator[int]:
    """Draw and write samples in several threads.

    Parameters
    ----------
    folder : Path
        Of the PNG files.
    ids : sequence of str, length N
    labels : array of uint8, shape (N, K)
    seed, split : int
        Seeds of the pixels, together with the row.
    threads : int, optional
        By default one per core.

    Yields
    ------
    int
        Bytes written for one sample, in the order of rows.
    """

    def write_sample(row: int) -> int:
        image = draw_sample(labels[row], rng=np.random.default_rng([seed, split, row, STREAM_PIXELS]))
        return sum(
            write_png(folder / f"{ids[row]}_{channel}.png", np.ascontiguousarray(image[..., index]))
            for index, channel in enumerate(HPA_2018.channel_names)
        )

    # Threads, not processes: drawing spends its time in OpenCV and NumPy, which release the interpreter's lock, and a
    # script that calls this needs no `if __name__ == "__main__"`.
    with sample_threads(threads or CPU_COUNT) as team:
        yield from team.map(write_sample, range(len(ids)))


def write_png(path: Path, plane: npt.NDArray[np.uint8]) -> int:
    """Write a plane as an 8-bit gray PNG; return its size in bytes."""
    _, data = cv2.imencode(".png", plane)
    # Not cv2.imwrite: it returns False where a full disk should be an error.
    return path.write_bytes(data.tobytes())


def write_labels(path: Path, column: str, ids: Sequence[str], values: Sequence[str]) -> None:
    """Write a table of ids and one more column, sorted by id as Kaggle's are."""
    write_table(path, ("Id", column), sorted(zip(ids, values, strict=True)))
