"""A run's page: one file that opens from disk, with figures, tables, and pictures of hits and misses."""

import base64
import importlib.resources
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.preview import to_rgb
from hpa_data.store.store import Store, open_store
from hpa_data.system.atomic import write_atomic
from hpa_model.evaluation import figures
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import REPORT_FILE, RunDescription, read_history, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import predict_cross_fitted

# Pictures of each kind, and their width and height in pixels.
N_EXAMPLES, PICTURE = 6, 224
TEMPLATE = "report.html.jinja"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample on the page.

    Attributes
    ----------
    id : str
    picture : str
        A JPEG file as a data URL.
    hit, missed, false : tuple of (str, float)
        Classes it shows that were predicted, that were not, and that were predicted in vain; with probabilities.
    """

    id: str
    picture: str
    hit: tuple[tuple[str, float], ...]
    missed: tuple[tuple[str, float], ...]
    false: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page that was written.

    Attributes
    ----------
    page : Path
    missing_images_reason : str
        Why it has none; empty if it has them.
    """

    page: Path
    missing_images_reason: str


def write_report(run: Path, store: Store | None = None) -> Report:
    """Score a run and write its page.

    Parameters
    ----------
    run : Path
        A finished run.
    store : Store, optional
        For the pictures; by default the one that the run was trained from. Where that is not the store it was any more,
        or is not there, the page says so in their place.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If the run is not finished.
    """
    description = read_run(run)
    scores = score_run(run)
    rows = read_out_of_fold(run)
    hits, misses = pick_examples(rows)
    try:
        shown = read_examples(store or open_store(description.store), description, rows, [*hits, *misses])
        absent = ""
    except InputError as error:
        shown, absent = [], str(error)
    histories = read_history(run, description.config.folds)
    drawn = {
        "history": figures.draw_history(histories),
        "classes": figures.draw_classes(scores),
        "folds": figures.draw_folds(rows, scores),
        "thresholds": figures.draw_thresholds(rows, scores),
    }
    page = _load_template().render(
        name=run.absolute().name,
        description=description,
        config=asdict(description.config),
        scores=scores,
        figures={name: figures.render_svg(figure) for name, figure in drawn.items()},
        hits=shown[: len(hits)],
        misses=shown[len(hits) :],
        absent=absent,
    )
    write_atomic(run / REPORT_FILE, page.encode())
    return Report(page=run / REPORT_FILE, missing_images_reason=absent)


def _load_template() -> jinja2.Template:
    """Load the page's template; whatever is put into it is escaped unless the template says otherwise."""
    text = importlib.resources.files("hpa_model.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)


def pick_examples(rows: OutOfFold) -> tuple[list[int], list[int]]:
    """Pick rows to show: the surest of those that are wholly right, and the worst of the wrong ones.

    Predictions are at honest thresholds. A row is as sure as the least of the probabilities that it gives to what is
    true; the worst rows are those with the largest cross-entropy. No two hits show the same set of classes, while there
    are others.

    Returns
    -------
    hits, misses : list of int
    """
    predictions = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    truth = rows.labels.astype(bool)
    right = np.where(truth, rows.probs, 1 - rows.probs)
    exact = (predictions == rows.labels).all(axis=1)
    certain = np.flatnonzero(exact)[np.argsort(-right.min(axis=1)[exact], kind="stable")]
    seen: set[bytes] = set()
    first: list[int] = []
    again: list[int] = []
    for index in certain.tolist():
        (again if rows.labels[index].tobytes() in seen else first).append(index)
        seen.add(rows.labels[index].tobytes())
    loss = -np.log(right.clip(1e-7)).sum(axis=1)
    worst = np.flatnonzero(~exact)[np.argsort(-loss[~exact], kind="stable")]
    return [*first, *again][:N_EXAMPLES], worst[:N_EXAMPLES].tolist()


def read_examples(store: Store, description: RunDescription, rows: OutOfFold, chosen: list[int]) -> list[Example]:
    """Read pictures of rows from the store that they come from, and say what was predicted for them.

    Raises
    ------
    InputError
        If the store is another one.
    """
    predictions = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    config = description.config
    for part in config.parts:
        if store.part(part).manifest.fingerprint != description.fingerprints.get(part):
            raise InputError(
                f"Pictures must come from the store that the run was trained from. Received: {store.location}, whose "
                f"part {part} is another one. Pass --store."
            )
    examples = []
    with store.reader(config.parts) as reader:
        places = {name: place for place, name in enumerate(reader.ids)}
        for index in chosen:
            if rows.ids[index] not in places:
                raise InputError(
                    f"Pictures must come from the store that the run was trained from. Received: {store.location}, "
                    f"without {rows.ids[index]}. Pass --store."
                )
            image = reader.read_one(places[rows.ids[index]])

            def name(mask: npt.NDArray[np.bool_], row: Any = rows.probs[index]) -> tuple[tuple[str, float], ...]:
                found = sorted(np.flatnonzero(mask).tolist(), key=lambda k: -row[k])
                return tuple((description.classes[k], float(row[k])) for k in found)

            truth, guess = rows.labels[index].astype(bool), predictions[index].astype(bool)
            examples.append(
                Example(
                    id=rows.ids[index],
                    picture=encode_picture(image),
                    hit=name(truth & guess),
                    missed=name(truth & ~guess),
                    false=name(guess & ~truth),
                )
            )
    return examples


def encode_picture(image: npt.NDArray[np.uint8]) -> str:
    """Mix an image's channels, uint8 (Y, X, 4), to a small JPEG file as a data URL."""
    small = cv2.resize(to_rgb(image), (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise RuntimeError("OpenCV must encode JPEG. Received: a refusal. Install opencv-python-headless.")
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
