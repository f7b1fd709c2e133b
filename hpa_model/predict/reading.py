"""How the files to predict are read: as those that the run was trained on, unless something else is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError, Notice
from hpa_data.sources.options import ImportOptions
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_model.runs.folder import RunDescription

# What decides the pixels of an image, beside the scaling of each channel.
PIXEL_OPTIONS = ("fit", "upscale", "z", "rules")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files become images."""

    options: ImportOptions

    dataset: Dataset

    notices: tuple[Notice, ...] = ()
    """What is not known of how the run's images were read."""


def find_reading(description: RunDescription, like: str | None = None) -> Reading:
    """Find out how the files that a run was trained on were read.

    Parameters
    ----------
    description : RunDescription
    like : str, optional
        The part to take the settings from. Needed where its parts were read with different ones.

    Raises
    ------
    InputError
        If `like` is not such a part, or is needed.
    """
    imports, notices = recall_imports(description), []
    if like is not None and like not in imports:
        raise InputError(
            "like must be a part that the run was trained on, and that was converted from files: "
            f"{', '.join(imports) or 'there is none'}. Received: like={like!r}. Choose one, or leave it out."
        )
    if not imports:
        # Version 0.1.0 recorded no settings, and had rules of its own.
        imports = {"": ImportOptions(rules=1 if description.dataset is None else 2)}
        notices.append(
            Notice(
                what="the run does not record how its images were read, and its store is gone or was converted again",
                n=1,
                unit="run",
                remedy="Files are read as `hpa convert` does by default; pass the options that it was made with.",
            )
        )
    first = imports[like] if like is not None else next(iter(imports.values()))
    for name, options in imports.items():
        differences = compare_options(options, first, description.full_dataset) or _list_other(options, first)
        if like is None and differences:
            raise InputError(
                f"Cannot tell how to read the files: the parts of the run were read differently, {name} with "
                f"{differences[0][1]} and {next(iter(imports))} with {differences[0][2]}. Pass "
                f"{' or '.join(f'--like {part}' for part in imports)}."
            )
    if first.missing == "skip":  # a row that is wanted must not be missing in silence
        first = replace(first, missing="fail")
    return Reading(options=first, dataset=description.full_store_dataset, notices=tuple(notices))


def recall_imports(description: RunDescription) -> dict[str, ImportOptions]:
    """Return how the files of each part of a run were read; of an older run, what its store says if it is there."""
    raw: Mapping[str, Mapping[str, object] | None] = description.imports
    if description.dataset is None:
        try:
            raw = _read_imports(open_store(description.store), description)
        except InputError:
            raw = {}
    return {name: ImportOptions.decode(settings) for name, settings in raw.items() if settings is not None}


def _read_imports(store: Store, description: RunDescription) -> dict[str, Mapping[str, object] | None]:
    """Read how the files of the parts of a run were read from its store; nothing of parts that are others by now."""
    manifests = {name: store.part(name).manifest for name in description.config.parts if name in store.parts()}
    return {
        name: manifest.import_settings
        for name, manifest in manifests.items()
        if manifest.fingerprint == description.fingerprints[name]
    }


def compare_options(one: ImportOptions, other: ImportOptions, dataset: Dataset) -> list[tuple[str, str, str]]:
    """List where two ways to read files give other pixels: what, and its value in both, in words."""
    scaled = [name for name in dataset.channel_names if one.scaling(name) != other.scaling(name)]
    differences = [
        (
            f"intensity of {name}",
            f"intensity {name}={_describe_scaling(one, name)}",
            f"intensity {name}={_describe_scaling(other, name)}",
        )
        for name in scaled
    ]
    for name in PIXEL_OPTIONS:
        here, there = getattr(one, name), getattr(other, name)
        if here != there:
            differences.append((name, f"{name} {here}", f"{name} {there}"))
    return differences


def _list_other(one: ImportOptions, other: ImportOptions) -> list[tuple[str, str, str]]:
    """List the other differences that decide which files are read, and which of their planes."""
    raw, other_raw = one.encode(), other.encode()
    ignored = {"missing", "intensity", "intensities", "windows", "native", "expected_names"}
    return [
        (name, f"{name} {raw.get(name)}", f"{name} {other_raw.get(name)}")
        for name in sorted(raw.keys() | other_raw.keys())
        if name not in ignored and raw.get(name) != other_raw.get(name)
    ]


def _describe_scaling(options: ImportOptions, channel: str) -> str:
    """Describe the scaling of a channel as it is written on the command line."""
    if channel in (options.windows or {}):
        low, high = (options.windows or {})[channel]
        return f"window={low:g}:{high:g}"
    return (options.intensities or {}).get(channel, options.intensity)


def describe_difference(part: Part, first: Part) -> str:
    """Say in words where two parts were read so that pixels of the same file would differ; empty if nowhere."""
    other = first.manifest.import_settings
    dataset = part.manifest.dataset
    differences = [] if other is None else _compare_with(part, ImportOptions.decode(other), dataset)
    return ", ".join(f"{here} in place of {there}" for _, here, there in differences[:3])


def _compare_with(part: Part, other: ImportOptions, dataset: Dataset) -> list[tuple[str, str, str]]:
    """List where the channels of a data set were read unlike with other settings, as `compare_options` does."""
    settings = part.manifest.import_settings
    if settings is None:
        return []
    differences = compare_options(ImportOptions.decode(settings), other, dataset)
    return differences if _rules_matter(part) else [each for each in differences if each[0] != "rules"]


def compare_part(part: Part, description: RunDescription) -> list[Notice]:
    """Return a notice if a part was read with settings other than all parts that a run was trained on."""
    dataset = description.full_dataset
    found = [_compare_with(part, trained, dataset) for trained in recall_imports(description).values()]
    if not found or not all(found):
        return []
    n_samples = len(part.ids)
    names = ", ".join(f"{here} in place of {there}" for _, here, there in found[0][:3])
    return [
        Notice(
            what=f"part {part.name} was converted unlike the images that the run was trained on, with {names}",
            n=n_samples,
            remedy="Convert it with the settings of the run's part.",
        )
    ]


def _rules_matter(part: Part) -> bool:
    """Return whether files may look different by the rules of version 0.1.0: where they say which bits count."""
    return any(", of which " in origin for origin in set(part.read_origins() or []))
