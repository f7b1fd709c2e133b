"""Choices that concern a conversion. Imports nothing heavy, so that the command line can offer them at once."""

from dataclasses import dataclass
from typing import Literal

IdMatch = Literal["exact", "loose"]
"""How the ids of a label table are matched with those of the files, see `match.match_ids`."""


@dataclass(frozen=True, kw_only=True)
class Joining:
    """How the rows of a label table are joined with the samples of a source."""

    id_match: IdMatch = "exact"

    allow_missing_files: bool = False
    """Leave out rows that the source has no files for; else they are an error."""
