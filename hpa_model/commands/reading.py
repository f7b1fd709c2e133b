"""How commands that take image files beside a store read them: as the command line says, else as the run did."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.import_options import ReadingOptions

if TYPE_CHECKING:
    from hpa_model.predict import Reading

Like = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="Read image files as this part of the run was read; needed where its parts were read differently.",
    ),
]


def choose_reading(run: Path, like: str | None, files: ReadingOptions) -> "Reading":
    """Return how image files are read: as the command line says, and otherwise as those of the run."""
    from hpa_model.predict import find_reading
    from hpa_model.runs.folder import read_run

    reading = find_reading(read_run(run), like)
    dataset = files.dataset(reading.dataset)
    if files.image_size is None:  # a data set has another size than its copies in stores may have
        dataset = dataset.resized(reading.dataset.height, reading.dataset.width)
    return replace(reading, options=files.import_options(reading.options), dataset=dataset)
