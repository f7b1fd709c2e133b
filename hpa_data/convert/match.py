"""Which sample of a source belongs to which id of a label table."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hpa_data.convert.options import IdMatch
from hpa_data.sources.decode import EXTENSIONS

# Ids of a source that are looked at to find the one that is nearest to another.
_N_COMPARED = 2000
# Texts before and after an id that are tried; where there are more, none is certain.
_N_AFFIXES = 100
_EXTENSION = re.compile(rf"(\.ome)?({'|'.join(map(re.escape, sorted(EXTENSIONS)))})(\.gz)?$", re.IGNORECASE)
# What spreadsheets make of ids that look like numbers or dates to them.
_SPOILED = re.compile(
    r"[0-9](\.[0-9]+)?E[+-][0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+|[0-9]+/[0-9]+/[0-9]+", re.IGNORECASE
)


# Words, and what takes it away from an id.
Difference = tuple[str, Callable[[str], str]]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Which ids of a source the ids of a table mean."""

    by_id: Mapping[str, str]
    """By id of the table, the id of the source."""

    loose: Mapping[str, str]
    """Those of them that are not equal, by id of the table, with the words for what differs."""

    absent: tuple[str, ...]
    """Ids of the table that mean none, in order."""


def _drop_decimals(name: str) -> str:
    return re.sub(r"^([0-9]+)\.0+$", r"\1", name)


def _drop_zeros(name: str) -> str:
    return name.lstrip("0") or "0" if name.isascii() and name.isdigit() else name


def _list_differences(channels: Sequence[str]) -> list[Difference]:
    """List what may differ between two ids that mean the same, in the order in which it is taken away."""
    ends = re.compile(f"[_-]({'|'.join(map(re.escape, channels))})$", re.IGNORECASE)
    return [
        ("how letters with accents are encoded", lambda name: unicodedata.normalize("NFC", name)),
        ("spaces", lambda name: " ".join(name.split())),
        ("the folder", lambda name: name.replace("\\", "/").rstrip("/").rpartition("/")[2]),
        ("the extension", lambda name: _EXTENSION.sub("", name)),
        ("the channel", lambda name: ends.sub("", name)),
        ("decimals", _drop_decimals),
        ("leading zeros", _drop_zeros),
        ("case", str.casefold),
    ]


def _simplify(name: str, differences: Sequence[Difference]) -> str:
    for _, change in differences:
        name = change(name)
    return name


def _explain(one: str, other: str, differences: Sequence[Difference]) -> str:
    """Name what differs between two ids that are equal once all of it is taken away."""
    differing = []
    for words, change in differences:
        before, after = one, other
        one, other = change(one), change(other)
        lost = [set(before) - set(one), set(after) - set(other)]
        if (before == one) != (after == other) or lost[0] != lost[1]:  # what is taken away from both may be the same
            differing.append(words)
        if one == other:
            break
    return " and ".join(differing)


def match_ids(wanted: Sequence[str], found: Sequence[str], how: IdMatch, channels: Sequence[str] = ()) -> Matches:
    """Match the ids of a table with those of a source.

    Parameters
    ----------
    wanted : sequence of str
        Of the table, each once.
    found : sequence of str
        Of the source, each once.
    how : IdMatch
        ``exact``: equal ids. ``loose``: also ids that differ only in case, spaces, encoding, folder, extension,
        channel, decimals or leading zeros, or all by the same text before or after; only where one id of the table
        means one of the source and no other does.
    channels : sequence of str
        Names of channels.

    Returns
    -------
    Matches
    """
    have = set(found)
    by_id = {name: name for name in wanted if name in have}
    loose: dict[str, str] = {}
    if how == "loose" and len(by_id) < len(wanted):
        pairs = _match_simplified(wanted, found, by_id, _list_differences(channels or ("channel",)))
        taken = {*by_id, *(other for other, _ in pairs.values())}
        left = [name for name in wanted if name not in by_id and name not in pairs]
        pairs |= _match_affixes(left, [name for name in found if name not in taken])
        by_id |= {one: other for one, (other, _) in pairs.items()}
        loose = {one: words for one, (_, words) in pairs.items()}
    return Matches(by_id=by_id, loose=loose, absent=tuple(name for name in wanted if name not in by_id))


def _match_simplified(
    wanted: Sequence[str], found: Sequence[str], matched: Container[str], differences: Sequence[Difference]
) -> dict[str, tuple[str, str]]:
    """Match ids that are equal once what may differ is taken away, each with the words for that."""
    here, there = _group(wanted, differences), _group(found, differences)
    return {
        names[0]: (there[key][0], _explain(names[0], there[key][0], differences))
        for key, names in here.items()
        if names[0] not in matched and len(names) == 1 and len(there.get(key, ())) == 1
    }


def _group(names: Iterable[str], differences: Sequence[Difference]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_simplify(name, differences), []).append(name)
    return groups


def _match_affixes(wanted: Sequence[str], found: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Match ids that all have the same text around them in the source or in the table; empty if that is not certain."""
    if len(wanted) < 2 or not found:
        return {}
    longest = max(wanted, key=len)  # the one that is part of the fewest others
    added: set[tuple[str, str]] = set()
    removed: set[tuple[str, str]] = set()
    for other in filter(None, found):
        added.update(_list_around(longest, other))
        removed.update(_list_around(other, longest))
        if len(added) + len(removed) > _N_AFFIXES:
            return {}
    pool = set(found)
    fitting = []
    for before, after in added:
        pairs = {name: before + name + after for name in wanted}
        fitting.append((pairs, f"what is around it, '{before}…{after}' in the source"))
    for before, after in removed:
        pairs = {name: name.removeprefix(before).removesuffix(after) for name in wanted}
        if all(name == before + pairs[name] + after for name in wanted):
            fitting.append((pairs, f"what is around it, '{before}…{after}' in the table"))
    certain = [(pairs, words) for pairs, words in fitting if len(pool.intersection(pairs.values())) == len(wanted)]
    if len(certain) != 1:
        return {}
    pairs, words = certain[0]
    return {name: (other, words) for name, other in pairs.items()}


def _list_around(part: str, whole: str) -> list[tuple[str, str]]:
    """List the texts before and after each place where a text stands in another."""
    places = [place for place in range(len(whole) - len(part) + 1) if whole.startswith(part, place)]
    return [(whole[:place], whole[place + len(part) :]) for place in places]


def explain_absent(
    matches: Matches, wanted: Sequence[str], found: Sequence[str], channels: Sequence[str] = ()
) -> tuple[str, str]:
    """Say what is near to the ids of a table that are absent, and what helps: one sentence, or empty, and a remedy."""
    first = matches.absent[0]
    loosely = match_ids(wanted, found, "loose", channels)
    if loosely.loose:
        name = next(iter(loosely.loose))
        hint = f"It has {loosely.by_id[name]!r} for {name!r}, which differs in {loosely.loose[name]}."
        n_left = len(loosely.absent)
        left = f" and --allow-missing-files to go on without {n_left}" if n_left else ""
        return hint, f"Pass --id-match loose to match {len(loosely.loose)} ids so{left}"
    remedy = "Add the files, or pass --allow-missing-files to go on without them"
    differences = _list_differences(channels or ("channel",))
    key = _simplify(first, differences)
    alike = [name for name in wanted if name != first and _simplify(name, differences) == key]
    if alike and any(_simplify(name, differences) == key for name in found):
        return f"{first!r} and {alike[0]!r} may both be the same sample.", "Keep one row per sample, with its id"
    if any(_SPOILED.fullmatch(name) for name in matches.absent):
        name = next(name for name in matches.absent if _SPOILED.fullmatch(name))
        return f"{name!r} may be what a spreadsheet made of an id.", "Save the table with ids as text"
    near = difflib.get_close_matches(first, found[:_N_COMPARED], 1, 0.8) if len(first) < 200 else []
    if near:
        return f"The nearest id that it has is {near[0]!r}.", remedy
    if not matches.by_id and found:
        return (
            f"Its own ids are such as {found[0]!r}, and none is in the table.",
            "Pass the table of this source",
        )
    return "", remedy
