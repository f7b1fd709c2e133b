"""The images of a report: correct predictions, the largest errors, and a few samples of each class."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel
from hpa_data.errors import InputError
from hpa_data.preview import brighten, to_rgb
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store, open_store
from hpa_model.evaluation.results import Results
from hpa_model.runs.out_of_fold import OutOfFold

# Images of each kind, and pixels of their longer side: at 28 classes the page stays below 2.5 MB.
N_EXAMPLES, IMAGE_PIXELS = 6, 288
N_FOUND, N_MISSED, N_WRONG, THUMBNAIL_PIXELS = 2, 1, 1, 112
MAX_NAMED = 4  # classes of one kind below an image


@dataclass(frozen=True, kw_only=True)
class ExampleMap:
    """Where in a sample a model sees a class."""

    kind: str
    """``found``, ``missed`` or ``wrong``."""

    name: str
    """Of the class."""

    prob: float

    image: str
    """The map over all channels in gray."""

    highest: float
    """The value of the strongest color; 1 is what each cell has if the evidence lies evenly. 0 if there is none."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample in the report. Classes come with their predicted probabilities."""

    id: str

    part: str
    """Empty where the id alone tells which sample it is."""

    image: str
    """A JPEG file as a data URL: all channels."""

    signal: str
    """The same of the channel that the labels describe, in gray; empty if the data set does not name one."""

    width: int
    height: int
    """Of the images, in pixels."""

    true_positives: tuple[tuple[str, float], ...]
    false_negatives: tuple[tuple[str, float], ...]
    false_positives: tuple[tuple[str, float], ...]

    maps: tuple[ExampleMap, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A sample in the gallery of a class."""

    id: str
    kind: str
    """``found``, ``missed`` or ``wrong``."""

    prob: float
    """Of the class."""

    image: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Samples of one class."""

    name: str
    thumbnails: tuple[Thumbnail, ...]


@dataclass(frozen=True, kw_only=True)
class Images:
    """All images of a report."""

    correct: tuple[Example, ...] = ()
    wrong: tuple[Example, ...] = ()
    galleries: tuple[Gallery, ...] = ()

    channels: tuple[Channel, ...] = ()
    """In whose colors they are shown."""

    signal: str = ""
    """The name of the channel that is also shown alone."""

    missing_reason: str = ""
    """Why there are no images."""

    maps_layer: str = ""
    """The layer whose cells the class maps have; empty if there are none."""

    map_size: tuple[int, int] = (0, 0)
    missing_maps_reason: str = ""
    """Why there are no class maps, of a run that could have some."""


def pick_examples(rows: OutOfFold, predictions: npt.NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Pick rows to show: the correct ones of highest confidence, and the wrong ones of largest loss.

    A row is correct if all of its classes are. Its confidence is the lowest of the probabilities that it gives to the
    true labels, its loss their cross-entropy. Correct rows show different sets of classes as far as possible.

    Parameters
    ----------
    rows : OutOfFold
    predictions : array of uint8, shape (N, K)

    Returns
    -------
    correct, wrong : list of int
        Indices of rows, `N_EXAMPLES` of each at most.
    """
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


def pick_gallery(rows: OutOfFold, predictions: npt.NDArray[np.uint8], k: int) -> list[tuple[str, int]]:
    """Pick rows for the gallery of a class: the surest that were found, and the worst missed and wrong ones.

    Returns
    -------
    list of pairs
        Kind, as in `Thumbnail`, and index of the row.
    """
    truth, predicted, probs = rows.labels[:, k].astype(bool), predictions[:, k].astype(bool), rows.probs[:, k]
    kinds = (
        ("found", truth & predicted, -probs, N_FOUND),
        ("missed", truth & ~predicted, probs, N_MISSED),
        ("wrong", predicted & ~truth, -probs, N_WRONG),
    )
    picked = []
    for kind, mask, key, n in kinds:
        indices = np.flatnonzero(mask)
        picked += [(kind, int(index)) for index in indices[np.argsort(key[indices], kind="stable")][:n]]
    return picked


def read_images(store: Store | None, results: Results) -> Images:
    """Read the images of a report from the store that the run was trained on; or none, and why."""
    try:
        opened = store or open_store(results.description.store)
    except InputError as error:
        return Images(missing_reason=f"{error} If the store was moved, pass --store to `hpa evaluate`.")
    try:
        return _read_all(opened, results)
    except InputError as error:
        return Images(missing_reason=str(error))


def _read_all(store: Store, results: Results) -> Images:
    """Read all images; InputError if it is another store."""
    description, rows = results.description, results.rows
    for part in description.config.parts:
        if store.part(part).manifest.fingerprint != description.fingerprints.get(part):
            raise InputError(
                f"Cannot show images of {store.location}: its part {part} is not the one that the run was trained on. "
                "Pass --store with the store of the run."
            )
    correct, wrong = pick_examples(rows, results.predictions)
    chosen = {k: pick_gallery(rows, results.predictions, k) for k in results.scores.shown}
    with store.reader(description.config.parts, channels=description.config.channels or None) as reader:
        positions = find_positions(store, reader, rows)
        channels = reader.dataset.channels
        signal = find_signal(channels)

        def example(index: int) -> Example:
            small = shrink(reader.read_one(positions(index)), IMAGE_PIXELS)
            return _make_example(small, channels, signal, results, index)

        def thumbnail(kind: str, index: int, k: int) -> Thumbnail:
            rgb = to_rgb(shrink(reader.read_one(positions(index)), THUMBNAIL_PIXELS), channels)
            height, width = rgb.shape[:2]
            return Thumbnail(
                id=rows.ids[index],
                kind=kind,
                prob=float(rows.probs[index, k]),
                image=encode_image(rgb, quality=70),
                width=width,
                height=height,
            )

        return Images(
            correct=tuple(map(example, correct)),
            wrong=tuple(map(example, wrong)),
            galleries=tuple(
                Gallery(
                    name=description.classes[k], thumbnails=tuple(thumbnail(kind, index, k) for kind, index in picked)
                )
                for k, picked in chosen.items()
                if picked
            ),
            channels=channels,
            signal="" if signal is None else channels[signal].name,
        )


def find_signal(channels: Sequence[Channel]) -> int | None:
    """Return the index of the channel that the labels describe; None if the data set does not name one of several."""
    signals = [c for c, channel in enumerate(channels) if channel.role == "signal"]
    return signals[0] if signals and len(channels) > 1 else None


def find_positions(store: Store, reader: Reader, rows: OutOfFold) -> Callable[[int], int]:
    """Return a function that finds a row's position in the reader; it raises InputError if it is not there."""
    parts_of = [""] * len(reader) if rows.parts is None else reader.parts
    positions = {key: position for position, key in enumerate(zip(parts_of, reader.ids, strict=True))}
    keys = rows.keys

    def find(index: int) -> int:
        if keys[index] not in positions:
            raise InputError(
                f"Cannot show images of {store.location}: it has no sample {rows.ids[index]}, which the run was "
                "trained on. Pass --store with the store of the run."
            )
        return positions[keys[index]]

    return find


def shrink(image: npt.NDArray[np.uint8], pixels: int) -> npt.NDArray[np.uint8]:
    """Resize an image, uint8 (Y, X, C), so that its longer side has this many pixels, channel by channel."""
    height, width, n_channels = image.shape
    scale = pixels / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale <= 1 else cv2.INTER_LINEAR
    planes = [cv2.resize(np.ascontiguousarray(image[..., c]), size, interpolation=how) for c in range(n_channels)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def _make_example(
    image: npt.NDArray[np.uint8], channels: Sequence[Channel], signal: int | None, results: Results, index: int
) -> Example:
    rows, classes = results.rows, results.description.classes
    probs, truth = rows.probs[index], rows.labels[index].astype(bool)
    predicted = results.predictions[index].astype(bool)

    def name(mask: npt.NDArray[np.bool_]) -> tuple[tuple[str, float], ...]:
        return tuple((classes[k], float(probs[k])) for k in sorted(np.flatnonzero(mask), key=lambda k: -probs[k]))

    return Example(
        id=rows.ids[index],
        part="" if rows.parts is None else rows.parts[index],
        image=encode_image(to_rgb(image, channels)),
        signal="" if signal is None else encode_image(brighten(image[..., signal])),
        width=image.shape[1],
        height=image.shape[0],
        true_positives=name(truth & predicted),
        false_negatives=name(truth & ~predicted),
        false_positives=name(predicted & ~truth),
    )


def encode_image(image: npt.NDArray[np.uint8], *, quality: int = 82) -> str:
    """Encode an image, RGB (Y, X, 3) or gray (Y, X), uint8, as a JPEG file in a data URL."""
    pixels = image[..., ::-1] if image.ndim == 3 else image  # OpenCV writes BGR
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
