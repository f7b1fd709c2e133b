"""The samples that a run's models are to see, and what should be known of them: before they are read, and after."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError, Notice
from hpa_data.sources.samples import FolderReader
from hpa_model.predict.chosen import ChosenModels
from hpa_model.predict.reading import Reading, find_reading
from hpa_model.predict.seen import TrainingSamples, notice_seen
from hpa_model.predict.source import Source, is_store, open_source


@dataclass(frozen=True, kw_only=True)
class OpenedSamples:
    """Samples that can be read, and the models that are to see them."""

    models: ChosenModels
    source: Source

    location: Path | str
    """What the samples were opened from."""

    @property
    def is_files(self) -> bool:
        """Whether they are image files, of which nothing is known before they are read."""
        return isinstance(self.source.reader, FolderReader)

    def list_before(self, ids: Sequence[str], *, strict: bool) -> list[Notice]:
        """Tell what is known of some samples before they are read; InputError if that is something, and `strict`."""
        notices = [*self.models.notices, *self.source.notices, *([] if self.is_files else self._list_seen(ids))]
        if strict and notices:
            more = f" and {len(notices) - 1} more" if len(notices) > 1 else ""
            text = str(notices[0]).removeprefix("Warning: ").partition(". ")[0]
            raise InputError(f"Cannot use {self.location} with --strict: {text}{more}. {notices[0].remedy}")
        return notices

    def list_after(self, ids: Sequence[str]) -> list[Notice]:
        """Tell what is known of some samples only when they have been read."""
        return [*self.source.list_notices(ids), *(self._list_seen(ids) if self.is_files else [])]

    def _list_seen(self, ids: Sequence[str]) -> list[Notice]:
        """Tell which of some samples the models were trained on."""
        models, description = self.models, self.models.description
        training = TrainingSamples(run=models.run, description=description, samples=models.samples, folds=models.folds)
        return notice_seen(training, self.source.list_wanted(description, ids))


def open_samples(
    models: ChosenModels, location: Path | str, *, parts: Sequence[str], reading: Reading | None = None
) -> OpenedSamples:
    """Open parts of a store, or image files, which are read as those of the run unless `reading` says otherwise.

    Raises
    ------
    InputError
        If there is no such source, or its samples are not like those that the models were trained on.
    """
    if reading is None and not is_store(location):
        reading = find_reading(models.description)
    source = open_source(location, models.description, parts=parts, reading=reading)
    return OpenedSamples(models=models, source=source, location=location)


def name_file(location: Path | str) -> Path | None:
    """Return a source that is a file, such as an archive; None for any other."""
    return Path(location) if os.path.isfile(location) else None
