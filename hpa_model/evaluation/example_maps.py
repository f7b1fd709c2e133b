"""The class maps of a report: where the models see a class in the samples that it shows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError, first_line
from hpa_data.store.store import Store, open_store
from hpa_data.system.garbage import loading
from hpa_model.evaluation.figure_class_maps import make_base, overlay
from hpa_model.evaluation.images import IMAGE_PIXELS, Example, ExampleMap, Images, encode_image, find_positions, shrink
from hpa_model.evaluation.results import Results
from hpa_model.runs.folder import BEST_FILE, fold_folder

if TYPE_CHECKING:
    from hpa_model.evaluation.class_maps import Mapper

QUALITY = 75  # of JPEG: a map is smooth
MAX_MAPS = 2  # of an example
MAX_LETTERS = 200  # of an error of a framework
OFF = "they were switched off."


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A class of an example whose map is shown."""

    number: int
    kind: str
    name: str
    prob: float


def add_maps(images: Images, store: Store | None, results: Results) -> Images:
    """Add to each example of a report the map of its main class, by the model that was not trained on it.

    Of a correct prediction that is its most probable class, of a wrong one the worst of those that were missed and the
    surest of those that were wrongly predicted.

    Parameters
    ----------
    images : Images
        As read from the store.
    store : Store, optional
        By default that of the run.
    results : Results

    Returns
    -------
    Images
        Those given, if there are none, or if the run has no networks of its own. Without maps, and with the reason, if
        Keras or a model is missing or unusable, or for any other error: a report does not fail for a picture.
    """
    description = results.description
    if images.missing_reason or description.baseline is not None or description.ensemble is not None:
        return images
    try:
        with loading():
            from hpa_model.evaluation.class_maps import make_mapper
            from hpa_model.runs.models import load_model
    except (ImportError, ValueError) as error:  # Keras raises the second for a backend that it does not know
        reason = f"Keras cannot be loaded ({first_line(error).rstrip('.')}). Run: pip install '.[train]'."
        return replace(images, missing_maps_reason=reason)

    @cache
    def find_mapper(fold: int) -> "Mapper":
        return make_mapper(load_model(fold_folder(results.folder, fold) / BEST_FILE, description))

    try:
        return _add_all(images, store or open_store(description.store), results, find_mapper)
    except InputError as error:
        return replace(images, missing_maps_reason=str(error))
    except Exception as error:  # of a network that another program has made, and its framework; the report matters more
        return replace(images, missing_maps_reason=f"Cannot compute them: {_describe(error)}.")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error).strip()[:MAX_LETTERS]}".rstrip(".: ")


def _add_all(images: Images, store: Store, results: Results, find_mapper: "Callable[[int], Mapper]") -> Images:
    description, rows = results.description, results.rows
    indices = {key: row for row, key in enumerate(rows.keys)}
    used: list[Mapper] = []
    with store.reader(description.config.parts, channels=description.config.channels or None) as reader:
        positions = find_positions(store, reader, rows)

        def add(example: Example) -> Example:
            row = indices[example.part, example.id]
            wanted = pick_classes(example, description.classes)
            image = reader.read_one(positions(row))
            mapper = find_mapper(int(rows.folds[row]))
            used.append(mapper)
            numbers = [each.number for each in wanted] + [-1] * (MAX_MAPS - len(wanted))  # JAX compiles for each length
            maps, _ = mapper(image[None], numbers)
            base = make_base(shrink(image, IMAGE_PIXELS), reader.dataset.channels)
            drawn = [_draw(mapper, base, each, cells) for each, cells in zip(wanted, maps[0], strict=False)]
            return replace(example, maps=tuple(drawn))

        correct, wrong = tuple(map(add, images.correct)), tuple(map(add, images.wrong))
    return replace(
        images,
        correct=correct,
        wrong=wrong,
        maps_layer=used[0].layer if used else "",
        map_size=used[0].grid.size if used else (0, 0),
    )


def pick_classes(example: Example, classes: tuple[str, ...]) -> list[_Wanted]:
    """Pick the classes of an example whose maps are shown, see `add_maps`."""
    picked = [("missed", example.false_negatives[-1:]), ("wrong", example.false_positives[:1])]
    if not example.false_negatives and not example.false_positives:
        picked = [("found", example.true_positives[:1])]
    return [
        _Wanted(number=classes.index(name), kind=kind, name=name, prob=prob)
        for kind, pairs in picked
        for name, prob in pairs
    ]


def _draw(mapper: "Mapper", base: npt.NDArray[np.uint8], wanted: _Wanted, cells: npt.NDArray[np.float32]) -> ExampleMap:
    highest = float(cells.max())
    values = mapper.grid.spread(cells, *base.shape)
    return ExampleMap(
        kind=wanted.kind,
        name=wanted.name,
        prob=wanted.prob,
        image=encode_image(overlay(base, values, highest or 1.0), quality=QUALITY),
        highest=highest,
    )
