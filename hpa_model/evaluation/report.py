"""The report of a run: one HTML file with figures, tables, and images of correct and wrong predictions."""

import base64
import importlib.resources
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.preview import resize_to, to_rgb
from hpa_data.store.store import Store, open_store
from hpa_data.system.atomic import write_atomic
from hpa_model.evaluation import figures
from hpa_model.evaluation.scores import THRESHOLDINGS, score_run
from hpa_model.runs.folder import REPORT_FILE, SCORES_FILE, RunDescription, read_history, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import predict_cross_fitted

# Images of each kind, and pixels of their longer side.
N_EXAMPLES, IMAGE_PIXELS = 6, 224
# Classes without a sample that are named.
MAX_NAMED = 20
TEMPLATE = "report.html.jinja"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample in the report. Classes come with their predicted probabilities."""

    id: str

    part: str
    """Empty where the id alone tells which sample it is."""

    image: str
    """A JPEG file as a data URL."""

    width: int
    height: int
    """Of the image, in pixels."""

    true_positives: tuple[tuple[str, float], ...]
    false_negatives: tuple[tuple[str, float], ...]
    false_positives: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written."""

    path: Path
    missing_images_reason: str
    """Why it has no images; empty if it has them."""


def write_report(run: Path, store: Store | None = None) -> Report:
    """Score a run and write its report.

    Parameters
    ----------
    run : Path
        A finished run.
    store : Store, optional
        To read images from; by default the one that the run was trained on. If it has changed since, or is missing,
        the report says so instead of showing images.

    Raises
    ------
    InputError
        If the run is not finished.
    """
    description = read_run(run)
    scores = score_run(run)
    rows = read_out_of_fold(run)
    correct, wrong = pick_examples(rows)
    examples, missing_images_reason = _find_examples(store, description, rows, [*correct, *wrong])
    histories = read_history(run, description.config.folds)
    drawings = {
        "history": figures.draw_history(histories),
        "classes": figures.draw_classes(scores),
        "folds": figures.draw_folds(rows, scores),
        "thresholds": figures.draw_thresholds(rows, scores),
    }
    text = _load_template().render(
        name=run.absolute().name,
        description=description,
        config=asdict(description.config),
        scores=scores,
        scores_file=SCORES_FILE,
        max_named=MAX_NAMED,
        figures={name: figures.render_svg(figure) for name, figure in drawings.items()},
        thresholdings=THRESHOLDINGS,
        correct=examples[: len(correct)],
        wrong=examples[len(correct) :],
        missing_images_reason=missing_images_reason,
    )
    write_atomic(run / REPORT_FILE, text.encode())
    return Report(path=run / REPORT_FILE, missing_images_reason=missing_images_reason)


def _load_template() -> jinja2.Template:
    """Load the template of the report, which escapes values unless it marks them as safe."""
    text = importlib.resources.files("hpa_model.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)


def pick_examples(rows: OutOfFold) -> tuple[list[int], list[int]]:
    """Pick rows to show: the correct ones of highest confidence, and the wrong ones of largest loss.

    Predictions use cross-fitted thresholds. A row is correct if all of its classes are. Its confidence is the lowest
    of the probabilities that it gives to the true labels, its loss their cross-entropy. Correct rows show different
    sets of classes as far as possible.

    Returns
    -------
    correct, wrong : list of int
        Indices of rows, `N_EXAMPLES` of each at most.
    """
    predictions = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    truth = rows.labels.astype(bool)
    likelihood = np.where(truth, rows.probs, 1 - rows.probs)
    is_correct = (predictions == rows.labels).all(axis=1)
    confident = np.flatnonzero(is_correct)[np.argsort(-likelihood.min(axis=1)[is_correct], kind="stable")]
    seen: set[bytes] = set()
    first: list[int] = []
    again: list[int] = []
    for index in confident.tolist():
        (again if rows.labels[index].tobytes() in seen else first).append(index)
        seen.add(rows.labels[index].tobytes())
    loss = -np.log(likelihood.clip(1e-7)).sum(axis=1)
    worst = np.flatnonzero(~is_correct)[np.argsort(-loss[~is_correct], kind="stable")]
    return [*first, *again][:N_EXAMPLES], worst[:N_EXAMPLES].tolist()


def _find_examples(
    store: Store | None, description: RunDescription, rows: OutOfFold, chosen: list[int]
) -> tuple[list[Example], str]:
    """Read the images of rows; or none of them, and why."""
    try:
        opened = store or open_store(description.store)
    except InputError as error:
        return [], f"{error} If the store was moved, pass --store to `hpa evaluate`."
    try:
        return read_examples(opened, description, rows, chosen), ""
    except InputError as error:
        return [], str(error)


def read_examples(store: Store, description: RunDescription, rows: OutOfFold, chosen: list[int]) -> list[Example]:
    """Read the images of rows from the store that the run was trained on.

    Raises
    ------
    InputError
        If it is another store.
    """
    predictions = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    parts = description.config.parts
    for part in parts:
        if store.part(part).manifest.fingerprint != description.fingerprints.get(part):
            raise InputError(
                f"Cannot show images of {store.location}: its part {part} is not the one that the run was trained on. "
                "Pass --store with the store of the run."
            )
    with store.reader(parts) as reader:
        parts_of = [""] * len(reader) if rows.parts is None else reader.parts
        positions = {key: position for position, key in enumerate(zip(parts_of, reader.ids, strict=True))}
        keys = rows.keys
        absent = [rows.ids[index] for index in chosen if keys[index] not in positions]
        if absent:
            raise InputError(
                f"Cannot show images of {store.location}: it has no sample {absent[0]}, which the run was trained on. "
                "Pass --store with the store of the run."
            )
        return [
            _make_example(
                to_rgb(reader.read_one(positions[keys[index]]), reader.dataset.channels),
                rows,
                predictions,
                index,
                description.classes,
            )
            for index in chosen
        ]


def _make_example(
    rgb: npt.NDArray[np.uint8],
    rows: OutOfFold,
    predictions: npt.NDArray[np.uint8],
    index: int,
    classes: tuple[str, ...],
) -> Example:
    probs, truth, predicted = rows.probs[index], rows.labels[index].astype(bool), predictions[index].astype(bool)

    def name(mask: npt.NDArray[np.bool_]) -> tuple[tuple[str, float], ...]:
        return tuple((classes[k], float(probs[k])) for k in sorted(np.flatnonzero(mask), key=lambda k: -probs[k]))

    small = resize_to(rgb, IMAGE_PIXELS)
    return Example(
        id=rows.ids[index],
        part="" if rows.parts is None else rows.parts[index],
        image=encode_image(small),
        width=small.shape[1],
        height=small.shape[0],
        true_positives=name(truth & predicted),
        false_negatives=name(truth & ~predicted),
        false_positives=name(predicted & ~truth),
    )


def encode_image(rgb: npt.NDArray[np.uint8]) -> str:
    """Encode an image, RGB, uint8 (Y, X, 3), as a JPEG file in a data URL."""
    encoded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1]  # OpenCV writes BGR
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
