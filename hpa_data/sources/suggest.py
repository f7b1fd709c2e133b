"""What to do about a source whose files have other names than expected: a folder, a scheme, or a naming pattern."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hpa_data.dataset import Dataset
from hpa_data.sources.decode import EXTENSIONS
from hpa_data.sources.files import Listing
from hpa_data.sources.members import ARCHIVE
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.patterns import match_texts, parse_pattern
from hpa_data.sources.schemes import split_extension, split_plane

# Names that are compared with patterns, to suggest one.
_MAX_NAMES = 2000

# What stands before the channel in names of microscopes' files, the longest first; then plain separators.
_MARKS = ("channel", "chan", "ch", "c", "w")
_SEPARATORS = "_- ."

_DESCRIBE = "describe their names by --pattern"


def describe_nothing(source: Path, listing: Listing, options: ImportOptions, dataset: Dataset) -> str:
    """Return the message for a source without samples, and what might help.

    Parameters
    ----------
    source : Path
    listing : Listing
        Of the source, with its subfolders.
    options : ImportOptions
    dataset : Dataset
    """
    images = [name for name in listing.names if split_extension(name)[1] in EXTENSIONS]
    if options.pattern is not None:
        return _describe_no_match(source, images, options, dataset)
    name = "<id>.tif" if options.source == "stack" else f"<id>_<{'|'.join(dataset.channel_names)}>.png"
    remedy = next(_list_remedies(source, listing, images, options, dataset))
    return f"source must hold files named {name} (or .tif, .jpg, …). Received: {source} without any. {remedy}"


def _list_remedies(
    source: Path, listing: Listing, images: Sequence[str], options: ImportOptions, dataset: Dataset
) -> Iterator[str]:
    """Yield what to do, the most helpful first."""
    planes = [split for name in images if (split := split_plane(name, dataset))]
    samples = {before for before, _ in planes}
    folders = sorted({before.rpartition("/")[0] for before in samples} - {""})
    is_hpav18 = any(folder.rpartition("/")[2].isdigit() for folder in folders)
    if options.source == "stack" and planes:
        yield f"Each file has one channel: pass --naming {'hpav18' if is_hpav18 else 'kaggle'}."
    if is_hpav18:
        yield "Pass --naming hpav18, whose folders are numbers of antibodies."
    if len(folders) == 1:
        yield f"Pass the folder that does: {source / folders[0]}."
    suggested = suggest_pattern(images, dataset)
    if len(folders) > 1 and len(samples) > len(folders):  # a folder a plate, or train and test: not a folder a sample
        listed = f"{', '.join(folders[:3])}{', …' if len(folders) > 3 else ''}"
        yield f"It has {len(folders)} folders of them, {listed}: convert each by itself, or {suggested or _DESCRIBE}."
    if suggested:
        yield f"{suggested[0].upper()}{suggested[1:]}."
    if images:
        yield f"Pass --naming stack for files that hold whole samples, or {_DESCRIBE}."
    if archives := [other.name for other in listing.passed_over if other.reason == ARCHIVE]:
        inside = f"It holds the archive {archives[0]}"
        yield f"{inside}: unpack {source} first." if listing.is_archive else f"{inside}: pass {source / archives[0]}."
    if listing.names:
        endings = Counter(split_extension(name)[1] or "without extension" for name in listing.names)
        listed = ", ".join(ending for ending, _ in endings.most_common(3))
        yield f"Its {len(listing.names)} files are of other formats ({listed}): export the images as TIFF or PNG."
    yield "Pass the folder that holds the files themselves."


def _describe_no_match(source: Path, images: Sequence[str], options: ImportOptions, dataset: Dataset) -> str:
    pattern = parse_pattern(options.pattern or "")
    start = f"pattern must describe files of the source. Received: {options.pattern!r}, which none of the "
    if not images:
        return f"{start}0 images in {source} matches. Pass the folder that holds the images."
    for matched in filter(None, map(pattern.loose.fullmatch, images)):
        known = ", ".join(str(key) for key in (options.channels or {}).values()) or "the names of the channels"
        text = matched.group(pattern.channel_field or 0)
        return (
            f"{start}{len(images)} images in {source} matches for the channels: {matched.string} has {text!r} where "
            f"{known} are looked for. Pass --channels with what stands in the names, for example "
            f"{dataset.channel_names[0]}={text}."
        )
    n_folders, n_other = pattern.text.count("/"), images[0].count("/")
    if n_folders != n_other:
        reason = f"it describes files in {n_folders} folders below it, but {images[0]} is in {n_other}"
    else:
        reason = f"it fits {images[0]} {pattern.explain(images[0])}"
    return (
        f"{start}{len(images)} images in {source} matches: {reason}. Correct the pattern; * stands for any text within "
        "a folder."
    )


def describe_two_files(channel: str, one: str, other: str, options: ImportOptions) -> str:
    """Say that a sample has two files for a channel, and what to do."""
    depth = other.count("/")
    where = one.rpartition("/")[0], other.rpartition("/")[0]
    if options.source == "pattern":
        remedy = "Write fields for all that tells samples apart, or remove one"
    elif where[0] != where[1] and one.count("/") == depth < 4:
        folders = "/".join("{folder}" if depth == 1 else f"{{folder{number + 1}}}" for number in range(depth))
        name = {"stack": "{id}", "hpav18": "{id}_{color}"}.get(options.source, "{id}_{channel}")
        remedy = f"Remove one, or tell samples apart by their folders, too: --pattern '{folders}/{name}'"
    else:
        remedy = "Remove one"
    return f"there are two files for {channel}, {one} and {other}. {remedy}"


def describe_unknown(channel: str, key: str | int, where: str, seen: Sequence[str]) -> str:
    """Say that no file has what a channel is mapped to, and what the files have.

    Parameters
    ----------
    channel : str
    key : str or int
        What it is mapped to.
    where : str
        Where that was looked for, such as ``file name``.
    seen : sequence of str
        What is there and belongs to no channel.
    """
    by_case = {text.casefold(): text for text in seen}
    near = difflib.get_close_matches(str(key).casefold(), by_case, n=1)
    has = f"which have {', '.join(seen[:8])}{', …' if len(seen) > 8 else ''}" if seen else "which have no others"
    remedy = f"Pass {channel}={by_case[near[0]]}" if near else "Correct the mapping"
    return (
        f"channels must map to what the files have. Received: {channel}={key}, which no {where} has; those looked at, "
        f"{has}. {remedy}, or leave {channel} out of --channels."
    )


def suggest_pattern(images: Iterable[str], dataset: Dataset) -> str:
    """Suggest a naming pattern that describes most of some names.

    Parameters
    ----------
    images : iterable of str
        Names of image files, relative to the source.
    dataset : Dataset

    Returns
    -------
    str
        The options to pass, as the rest of a sentence; empty if no pattern describes them.
    """
    depths: defaultdict[int, list[str]] = defaultdict(list)
    for name in list(images)[:_MAX_NAMES]:
        depths[name.count("/")].append(name)
    if not depths:
        return ""
    names = max(depths.values(), key=len)
    endings = {name[len(split_extension(name)[0]) :] for name in names}
    ending = endings.pop() if len(endings) == 1 else ""
    channels = [name.lower() for name in dataset.channel_names]
    for text in _list_candidates(names[0].count("/")):
        if _fits(f"{text}{ending}", names, channels):
            return f"pass --pattern '{text}{ending}'"
    for mark in [*(separator + mark for mark in _MARKS for separator in "_-. "), *_SEPARATORS]:
        for text in _list_folders(names[0].count("/"), f"{{id}}{mark}{{channel}}"):
            # One sample with plain separators is far more often a number of samples, such as cell-1 to cell-9.
            if found := _find_texts(text, names, n_least=2 if mark in _SEPARATORS else 1):
                pairs = ",".join(f"{name}={key}" for name, key in zip(dataset.channel_names, found, strict=False))
                return f"pass --pattern '{text}{ending}' --channels {pairs}, after checking which is which"
    return ""


def _list_candidates(depth: int) -> list[str]:
    """List patterns with the names of channels, from the simplest ids to the longest."""
    texts = []
    if depth:
        above = "*/" * (depth - 1)
        texts += [f"{above}{{id}}/{{id}}{separator}{{channel}}" for separator in _SEPARATORS]
        texts += [f"{above}{{id}}/{{channel}}", f"{above}{{channel}}/{{id}}"]
    for separator in _SEPARATORS:
        texts += _list_folders(depth, f"{{id}}{separator}{{channel}}")
        texts += _list_folders(depth, f"{{channel}}{separator}{{id}}")
    return texts


def _list_folders(depth: int, name: str) -> list[str]:
    """Put folders before the pattern of a name: any, then one that is part of the id."""
    return [name] if not depth else ["*/" * depth + name, "*/" * (depth - 1) + "{folder}/" + name]


def _fits(text: str, names: Sequence[str], channels: Sequence[str]) -> bool:
    """Return whether a pattern finds samples of all channels that it sees, in most of the names."""
    pattern = parse_pattern(text)
    regex = pattern.compile(match_texts(channels))
    found: defaultdict[tuple[str | None, ...], Counter[str]] = defaultdict(Counter)
    for matched in filter(None, map(regex.fullmatch, names)):
        found[tuple(matched.group(field) for field in pattern.fields)][matched.group("channel").lower()] += 1
    return _is_regular(list(found.values()), len(names))


def _find_texts(text: str, names: Sequence[str], *, n_least: int) -> list[str]:
    """Return what stands in the place of the channel in most names, if it makes `n_least` samples; else nothing."""
    pattern = parse_pattern(text)
    regex = pattern.compile("[^/_. -]+")  # the channel is one word
    found: defaultdict[tuple[str | None, ...], Counter[str]] = defaultdict(Counter)
    for matched in filter(None, map(regex.fullmatch, names)):
        found[tuple(matched.group(field) for field in pattern.fields)][matched.group("channel")] += 1
    is_regular = len(found) >= n_least and _is_regular(list(found.values()), len(names))
    return sorted(set().union(*found.values())) if is_regular else []


def _is_regular(samples: Sequence[Counter[str]], n_names: int) -> bool:
    """Return whether samples have each of 2 to 16 channels once, and most names are in one."""
    seen = set[str]().union(*samples)
    n_complete = sum(len(sample) == len(seen) and max(sample.values()) == 1 for sample in samples)
    return 2 <= len(seen) <= 16 and n_complete >= 0.8 * len(samples) and n_complete * len(seen) >= 0.8 * n_names
