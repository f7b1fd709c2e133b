"""Naming patterns of the user's own, such as ``{plate}/{well}_ch{channel}.tif``.

A pattern is compared with the path of a file relative to its source, whatever the case. A field ``{name}`` stands for
one or more characters, ``*`` for any number of them, both within a folder and as few as fit; the same field twice
stands for the same text. All other characters stand for themselves. Without an extension, a pattern takes every known
one. All fields but ``{channel}`` form the id, joined by ``_``.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from hpa_data.errors import InputError
from hpa_data.sources.decode import EXTENSIONS

# Fields and ``*`` in a pattern: with more, comparing a name could take seconds.
MAX_FIELDS = 8

# The field of the channel. COLOR: in files that show each channel in its color.
CHANNEL, COLOR = "channel", "color"


@dataclass(frozen=True)
class Pattern:
    """A naming pattern."""

    text: str

    tokens: tuple[str, ...]
    """Its fields ``{name}``, ``*``, and the texts between them."""

    @property
    def is_nested(self) -> bool:
        """Whether it describes files in subfolders."""
        return "/" in self.text

    @property
    def channel_field(self) -> str | None:
        """``channel`` or ``color``; None if each file holds a whole sample."""
        return next((name for name in (CHANNEL, COLOR) if f"{{{name}}}" in self.tokens), None)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that form the id, in their order."""
        names = (token[1:-1] for token in self.tokens if token.startswith("{"))
        return tuple(dict.fromkeys(name for name in names if name not in {CHANNEL, COLOR}))

    @cached_property
    def loose(self) -> re.Pattern[str]:
        """Matches the names of all files that the pattern describes, whatever their channel."""
        return self.compile()

    def compile(self, channel: str = "[^/]+?") -> re.Pattern[str]:
        """Return what matches names of files. `channel` is the regular expression of what stands for the channel."""
        known = "|".join(re.escape(extension) for extension in sorted(EXTENSIONS))
        end = "" if self.text.lower().endswith(tuple(EXTENSIONS)) else rf"(?:\.ome)?(?:{known})"
        return re.compile(_to_regex(self.tokens, channel) + end, re.IGNORECASE)

    def explain(self, name: str) -> str:
        """Say up to where the pattern fits a name, and what it expects there."""
        for length in range(len(self.tokens), 0, -1):
            if matched := re.match(_to_regex(self.tokens[:length]), name, re.IGNORECASE):
                start = matched.group()
                if length < len(self.tokens):
                    return f"only up to {start!r}, where the pattern goes on with {self.tokens[length]!r}"
                return f"only up to {start!r}, where the pattern ends"
        return f"nowhere: it begins with {self.tokens[0]!r}"


def match_texts(texts: Iterable[str]) -> str:
    """Return a regular expression for any of some texts."""
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))


def _to_regex(tokens: Sequence[str], channel: str = "[^/]+?") -> str:
    pieces, seen = [], set()
    for token in tokens:
        if token == "*":
            pieces.append("[^/]*?")
        elif not token.startswith("{"):
            pieces.append(re.escape(token))
        elif token in seen:
            pieces.append(f"(?P={token[1:-1]})")
        else:
            seen.add(token)
            pieces.append(f"(?P<{token[1:-1]}>{channel if token[1:-1] in {CHANNEL, COLOR} else '[^/]+?'})")
    return "".join(pieces)


@lru_cache(maxsize=64)
def parse_pattern(text: str) -> Pattern:
    """Parse a naming pattern; InputError if it is not one, or does not form an id.

    Examples
    --------
    >>> parse_pattern("{plate}/{well}_ch{channel}.tif").fields
    ('plate', 'well')
    """
    # A file a_red.tif.gz is listed without its last extension.
    plain = text.strip().replace("\\", "/").removeprefix("./").removesuffix(".gz")
    tokens = tuple(token for token in re.split(r"(\{[^{}]*\}|\*)", plain) if token)
    pattern = Pattern(plain, tokens)
    for fault, remedy in _list_faults(pattern):
        raise InputError(
            f"pattern must be a path like {{plate}}/{{well}}_ch{{channel}}.tif. Received: {text!r}, {fault}. {remedy}"
        )
    return pattern


def _list_faults(pattern: Pattern) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a pattern, and what to do."""
    tokens = pattern.tokens
    for token in tokens:
        if token.startswith("{") and not re.fullmatch(r"\{[A-Za-z]\w*\}", token, re.ASCII):
            yield f"whose field {token} has no name of letters, digits and _", "Name the field."
        elif not token.startswith("{") and set(token) & set("{}"):
            yield "where a brace has no partner", "Write fields as {name}."
    variable = [token.startswith("{") or token == "*" for token in tokens]
    channel = {f"{{{CHANNEL}}}", f"{{{COLOR}}}"}
    for left, right, *both in zip(tokens, tokens[1:], variable, variable[1:], strict=False):
        if all(both) and channel.isdisjoint({left, right}):
            yield f"where nothing stands between {left} and {right}", "Write what separates them."
    if channel <= set(tokens):
        yield "which has both {channel} and {color}", "Write {color} only for files that show channels in color."
    if sum(variable) > MAX_FIELDS:
        yield f"which has more than {MAX_FIELDS} fields and *", "Write some of them as plain text."
    if not pattern.fields:
        yield "which has no field for the id", "Write {id} where the names of samples stand."
    if pattern.text.startswith("/"):
        yield "which is not relative to the source", "Leave the beginning out."
