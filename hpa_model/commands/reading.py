"""How commands that take image files beside a store read them: as the command line says, else as the run did."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.import_options import ReadingOptions
from hpa_data.commands.options import refuse_unused

if TYPE_CHECKING:
    from hpa_model.predict import Reading

Like = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="Read image files as this part of the run was read; needed where its parts were read differently.",
    ),
]


def choose_reading(
    ctx: typer.Context, run: Path, source: str, like: str | None, files: ReadingOptions
) -> "Reading | None":
    """Return how SOURCE is read, None for a store; InputError for options that are not of such a source."""
    from hpa_model.predict import is_store

    is_files = not is_store(source)
    has_files = is_files and Path(source).exists()
    refuse_unused(ctx, "parts", when=has_files, reason="with a folder of image files or an archive")
    refuse_unused(ctx, "like", *files.given, when=not is_files, reason="with a store")
    return adapt_reading(run, like, files) if is_files else None


def adapt_reading(run: Path, like: str | None, files: ReadingOptions) -> "Reading":
    """Return how image files are read: as the command line says, and otherwise as those of the run."""
    from hpa_model.predict import find_reading
    from hpa_model.runs.folder import read_run

    reading = find_reading(read_run(run), like)
    dataset = files.dataset(reading.dataset)
    if files.image_size is None:  # a data set has another size than its copies in stores may have
        dataset = dataset.resized(reading.dataset.height, reading.dataset.width)
    return replace(reading, options=files.import_options(reading.options), dataset=dataset)
