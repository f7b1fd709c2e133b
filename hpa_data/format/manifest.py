"""The manifest of a part: what it holds, how it was made, the statistics of its channels. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import CHANNELS, CLASSES
from hpa_data.errors import InputError
from hpa_data.format.statistics import ChannelStatistics

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What each sample of a part of augmented copies was made of.

    Attributes
    ----------
    parents : tuple of str, length N
        Ids of the samples that were copied.
    parts : tuple of str, length N
        The part of each parent.
    checksums : tuple of int, length N
        CRC-32 of each parent's bytes when the copies were planned.
    transforms : tuple of str, length N
        What was done to each; see `augment.transform`.
    """

    parents: tuple[str, ...]
    parts: tuple[str, ...]
    checksums: tuple[int, ...]
    transforms: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a part holds and how it was made: the attributes of its group.

    Attributes
    ----------
    channels, classes : tuple of str
        Names, in the order of the arrays' axes.
    settings : dict
        The settings that produced the part, JSON values only; no path, no clock.
    fingerprint : str
        SHA-256 of everything that decides what the part should hold; see `fingerprint`.
    statistics : Statistics or None
        None until every sample is written.
    """

    channels: tuple[str, ...] = CHANNELS
    classes: tuple[str, ...] = CLASSES
    settings: dict[str, Any]
    fingerprint: str
    statistics: ChannelStatistics | None = None

    def encode(self) -> dict[str, Any]:
        """Return the manifest as JSON values; `decode` is the inverse."""
        return {"format_version": FORMAT_VERSION, **json.loads(json.dumps(asdict(self)))}

    @staticmethod
    def decode(attributes: Mapping[str, Any]) -> "Manifest":
        """Read a manifest from a group's attributes; InputError if they are none of this format's version."""
        version = attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"A part must have format version {FORMAT_VERSION}. Received: {version!r}. Convert the source again."
            )
        try:
            raw = attributes["statistics"]
            statistics = raw and ChannelStatistics(
                n_samples=int(raw["n_samples"]), mean=tuple(raw["mean"]), std=tuple(raw["std"])
            )
            names = [attributes["channels"], attributes["classes"]]
            if not all(isinstance(names_, list) and all(isinstance(n, str) for n in names_) for names_ in names):
                raise TypeError("channels or classes, which are no lists of names")
            return Manifest(
                channels=tuple(names[0]),
                classes=tuple(names[1]),
                settings=dict(attributes["settings"]),
                fingerprint=str(attributes["fingerprint"]),
                statistics=statistics,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"A part must have a whole manifest. Received: one with a fault at {error}. Convert the source again."
            ) from error


def fingerprint(
    settings: Mapping[str, Any],
    ids: Sequence[str],
    labels: npt.NDArray[np.uint8] | None,
    copies: Provenance | None = None,
) -> str:
    """Hash what decides a part's content: settings, ids, labels and what copies were made of, in their order.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    what: list[object] = [dict(settings), list(ids), labels is not None]
    if copies is not None:
        # The names that version 0.1.0 hashed: another name would be another fingerprint.
        sources = {"parents": copies.parents, "parts": copies.parts, "checksums": copies.checksums}
        what.append(sources | {"recipes": copies.transforms})
    told = json.dumps(what, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(told.encode())
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()
