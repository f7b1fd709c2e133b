"""What is predicted: parts of a store, or image files."""

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpa_data.convert.intensities import Levels, find_dim_read, measure_levels
from hpa_data.dataset import FAILED, FILLED, PENDING, Dataset
from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.folds.duplicates import find_uniform
from hpa_data.reader.kvstore import is_url
from hpa_data.reader.reader import Reader
from hpa_data.sources.mapping import map_channels
from hpa_data.sources.naming import Found, SampleFiles, missing_channels, search_source
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import group_notes
from hpa_data.sources.samples import FolderReader, read_sample
from hpa_data.store.failures import Failure, list_failures
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_model.predict.reading import Reading, compare_part
from hpa_model.predict.seen import ImageKey, Wanted, list_wanted
from hpa_model.runs.folder import RunDescription

# Samples that are read before all others, to see how bright their channels are.
N_MEASURED = 8

# Remedies of `hpa convert` that a prediction does not have: its images have the size of the run.
_NOT_HERE = re.compile(r" and --overwrite|, or another --image-size|, or a smaller size: --image-size \d+x\d+")


def is_store(source: Path | str) -> bool:
    """Return whether a source is a store or its URL, not image files."""
    return is_url(source) or Path(source, "zarr.json").is_file()


@dataclass(frozen=True, kw_only=True)
class Source:
    """Samples that can be read, and what is known of them before they are."""

    reader: Reader | FolderReader

    notices: tuple[Notice, ...]

    parts: tuple[Part, ...] = ()
    """Of a store; empty for image files."""

    n_left_out: int = 0
    """Samples that are left out because they lack a channel, as was asked for."""

    def list_failures(self) -> dict[str, Failure]:
        """List the samples that could not be read, by id; of image files, once they were to be read."""
        if isinstance(self.reader, FolderReader):
            failures = self.reader.failures.items()
            files = self.reader.failed_files
            found = [
                Failure(id=self.reader.ids[index], file=files[index], reason=_NOT_HERE.sub("", why))
                for index, why in failures
            ]
        else:
            found = [failure for part in self.parts for failure in list_failures(part)]
            pending = np.flatnonzero(self.reader.status == PENDING).tolist()
            reason = "Its conversion is not finished. Run the same `hpa convert` again."
            found += [Failure(id=self.reader.ids[index], file="", reason=reason) for index in pending]
        return {failure.id: failure for failure in found}

    def list_wanted(self, description: RunDescription, ids: Sequence[str]) -> list[Wanted]:
        """List some samples with what says which training samples they are; those of files, once they were read."""
        if isinstance(self.reader, FolderReader):
            found = [Wanted(id=name, image=_image_key(self.reader, row)) for row, name in enumerate(self.reader.ids)]
        else:
            found = [each for part in self.parts for each in list_wanted(part, description)]
        wanted = set(ids)
        return [each for each in found if each.id in wanted]

    def list_notices(self, ids: Sequence[str]) -> list[Notice]:
        """Tell what is notable of some samples that were read: filled channels, and notes on their files."""
        wanted = set(ids)
        filled: dict[str, tuple[str, ...]] = {}
        notes: dict[str, str] = {}
        if isinstance(self.reader, FolderReader):
            filled = {self.reader.ids[index]: names for index, names in self.reader.filled.items()}
            notes = {self.reader.ids[index]: note for index, note in self.reader.notes.items()}
        for part in self.parts:
            status = part.read_status().tolist()
            names = part.read_filled() or [()] * len(status)
            filled |= {name: names[row] for row, name in enumerate(part.ids) if status[row] == FILLED}
            readable = enumerate(part.ids) if part.copies is None else ()
            of_part = part.read_notes()
            notes |= {name: of_part[row][0] for row, name in readable if status[row] != FAILED and of_part[row][0]}
        return [
            *_notice_filled({name: names for name, names in filled.items() if name in wanted}),
            *group_notes([note for name, note in notes.items() if name in wanted]),
        ]


def _image_key(reader: FolderReader, index: int) -> ImageKey | None:
    """Return what tells the image of a sample of files from others; None where it was not read, or shows nothing."""
    sums = reader.sums.get(index)
    if sums is None or find_uniform(sums[None], pixels=int(np.prod(reader.image_shape[:2])))[0]:
        return None
    return reader.checksums[index], sums.tobytes()


def _notice_filled(filled: dict[str, tuple[str, ...]]) -> list[Notice]:
    if not filled:
        return []
    counts = Counter(name for names in filled.values() for name in names)
    listed = ", ".join(f"{name} in {number}" for name, number in counts.items())
    return [
        Notice(
            what=f"channels are missing and filled with zeros{f' ({listed})' if listed else ''}",
            n=len(filled),
            examples=tuple(filled)[:N_EXAMPLES],
            remedy="Add the files of the channels.",
        )
    ]


def open_source(
    source: Path | str, description: RunDescription, *, parts: Sequence[str], reading: Reading | None
) -> Source:
    """Open parts of a store, or image files.

    Raises
    ------
    InputError
        If there is no such source, or its samples are not like those that the run was trained on.
    """
    opened = _open_store(source, description, parts) if reading is None else _open_files(source, description, reading)
    shape = tuple(opened.reader.image_shape)
    if shape != description.image_shape:
        raise InputError(
            f"Cannot predict {source}: its images have the shape {shape}, the run was trained on "
            f"{description.image_shape}. Choose another run or part."
            if reading is None
            else f"image_size must be that of the run, {description.image_shape[0]}x{description.image_shape[1]}. "
            f"Received: {shape[0]}x{shape[1]}. Leave --image-size out."
        )
    return opened


def _open_store(source: Path | str, description: RunDescription, names: Sequence[str]) -> Source:
    """Open parts of a store: of their channels, those of the run, in its order, whichever others there are."""
    store = open_store(source)
    parts = [store.part(name) for name in names]
    notices = []
    for part in parts:
        dataset = part.manifest.dataset
        for what in ("channels", "classes"):
            found, expected = getattr(part.manifest, what), getattr(description, what)
            fits = set(found) >= set(expected) if what == "channels" else found == expected
            if not fits:
                raise InputError(
                    f"{what} must be those that the run was trained on, {_list(expected)}, of "
                    f"{description.full_dataset.name}. Received: {_list(found)} in part {part.name}, of "
                    f"{dataset.name}. Choose another run or part."
                )
        notices += compare_part(part, description)
    reader = store.reader(names, channels=description.channels)
    return Source(reader=reader, notices=tuple(notices), parts=tuple(parts))


def _list(names: Sequence[str]) -> str:
    """List names; only the first ones of many."""
    return ", ".join(names) if len(names) <= 30 else f"{', '.join(names[:10])} and {len(names) - 10} more"


def _open_files(source: Path | str, description: RunDescription, reading: Reading) -> Source:
    dataset = reading.dataset
    if not dataset.is_like(description.full_store_dataset):
        raise InputError(
            f"dataset must be that of the run, {description.full_dataset.name}. Received: {dataset.name}, with other "
            "channels or classes. Leave --dataset out, or choose another run."
        )
    found = search_source(source, reading.options, dataset)
    samples = found.samples
    if description.channels != dataset.channel_names:
        samples = tuple(_pick_channels(sample, dataset, description.channels) for sample in samples)
        dataset = dataset.select(description.channels)
        reading = replace(reading, options=_drop_others(reading.options, description.channels))
    if reading.options.missing == "skip":
        samples = tuple(sample for sample in samples if not missing_channels(sample, dataset))
        if not samples:
            raise InputError(
                f"Cannot predict {source}: each of its {len(found.samples)} samples lacks a channel. Pass --missing "
                "fill."
            )
    options, mapping = reading.options, map_channels(samples, reading.options, dataset)
    if options.expected_names is None:  # those of the run win: files in which the planes lie otherwise fail
        options = replace(options, expected_names=mapping.expected_names)
    return Source(
        reader=FolderReader(samples, options, dataset),
        notices=(*reading.notices, *_notice_passed_over(found), *_notice_dim(samples, options, dataset)),
        n_left_out=len(found.samples) - len(samples),
    )


def _pick_channels(sample: SampleFiles, dataset: Dataset, channels: Sequence[str]) -> SampleFiles:
    """Leave only the files of some channels to a sample; the others are neither needed nor read."""
    planes = tuple(sample.planes[dataset.channel_names.index(name)] for name in channels)
    error = sample.error
    if not error and not any(planes):
        beside = next(plane.name for plane in sample.planes if plane is not None)
        error = f"there is no file for {', '.join(channels)} beside {beside}. Add it"
    return sample._replace(planes=planes, error=error)


def _drop_others(options: ImportOptions, channels: Sequence[str]) -> ImportOptions:
    """Leave the scalings of other channels out, which the data set of the run does not have."""
    if options.intensities is None:
        return options
    kept = {name: scaling for name, scaling in options.intensities.items() if name in channels}
    return replace(options, intensities=kept or None)


def _notice_dim(samples: Sequence[SampleFiles], options: ImportOptions, dataset: Dataset) -> tuple[Notice, ...]:
    """Tell which channels are far too dim, or white, in some of the samples, evenly spaced."""
    measured: list[Levels] = []
    for index in np.unique(np.linspace(0, len(samples) - 1, N_MEASURED).round().astype(int)).tolist():
        with contextlib.suppress(InputError):  # those that cannot be read fail when they are predicted
            measured.append(measure_levels(samples[index], read_sample(samples[index], options, dataset)))
    again = "Unless the images of the run were like that, pass"
    return find_dim_read(measured, options, dataset, again=again, channels_only=True)


def _notice_passed_over(found: Found) -> list[Notice]:
    """Tell which files no sample has, a notice for each reason."""
    reasons: dict[str, list[str]] = {}
    for other in found.passed_over:
        reasons.setdefault(other.reason, []).append(other.name)
    return [
        Notice(
            what=f"files are passed over, {reason}",
            n=len(names),
            unit="file",
            examples=tuple(names[:N_EXAMPLES]),
            remedy="Rename or convert the ones that should be predicted.",
        )
        for reason, names in reasons.items()
    ]
