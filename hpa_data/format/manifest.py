"""The manifest of a part: what it holds, what produced it, and the statistics of its channels. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.format.options import ARRAY_SETTINGS
from hpa_data.format.statistics import ChannelStatistics
from hpa_data.format.understood import Understanding
from hpa_data.system.records import decode_record, encode_record

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What each sample of a part of augmented copies was made from."""

    parents: tuple[str, ...]
    """Of length N, as all: ids of the samples that were copied."""

    parts: tuple[str, ...]
    """The part of each parent."""

    checksums: tuple[int, ...]
    """CRC-32 of each parent's image when the copies were planned."""

    transforms: tuple[str, ...]
    """What was done to each, as JSON; see `augment.transform`."""


# Which array of a part holds which field of its provenance.
COPY_ARRAYS = {"parent": "parents", "parent_part": "parts", "parent_checksum": "checksums", "recipe": "transforms"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a part holds and what produced it: the attributes of its group.

    The names of the fields are keys in the store. A field that is added later needs ``metadata={"absent": value}``: the
    meaning of its absence in older stores, which keep their bytes; see `system.records`.
    """

    channels: tuple[str, ...]
    """Names, in the order of the arrays' axis."""

    classes: tuple[str, ...]
    """Names, in the order of the labels' axis."""

    settings: dict[str, Any]
    """What produced the part: JSON values, without paths and times."""

    fingerprint: str
    """SHA-256 of everything that decides what the part holds; see `fingerprint`."""

    statistics: ChannelStatistics | None = None
    """None until every sample is written."""

    understood: Understanding | None = field(default=None, metadata={"absent": None})
    """What the files and labels were taken for, once every sample is written; not part of the fingerprint."""

    @property
    def dataset(self) -> Dataset:
        """The data set of the part; InputError if its channels or classes are not those of the manifest."""
        size = self.settings["image_size"]
        height, width = size if isinstance(size, list) else (size, size)
        raw = self.settings.get("dataset")
        dataset = HPA_2018 if raw is None else Dataset.decode(raw, name="the data set of the part")
        if (self.channels, self.classes) != (dataset.channel_names, dataset.classes):
            raise InputError(
                f"Cannot read the manifest of the part: its channels or classes are not those of its data set "
                f"{dataset.name}. Convert its source again."
            )
        return dataset.resized(int(height), int(width))

    @property
    def import_settings(self) -> dict[str, Any] | None:
        """How the files of the part were read; see `sources.options.ImportOptions`. None for augmented copies."""
        if "source" not in self.settings:
            return None
        return {name: value for name, value in self.settings.items() if name not in ARRAY_SETTINGS}

    def encode(self) -> dict[str, Any]:
        """Return the manifest as JSON values; `decode` is the inverse."""
        return {"format_version": FORMAT_VERSION, **encode_record(self)}

    @staticmethod
    def decode(attributes: Mapping[str, Any]) -> "Manifest":
        """Read a manifest from a group's attributes; InputError if they are not those of this version's format."""
        version = attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"Cannot read the manifest of the part: it has format version {version!r}, and this version of hpa "
                f"reads {FORMAT_VERSION}. Install a newer version of hpa, or convert the source again."
            )
        rest = {key: value for key, value in attributes.items() if key != "format_version"}
        return decode_record(Manifest, rest, name="the manifest of the part")


def encode_array_settings(codec: str, shard_samples: int, dataset: Dataset) -> dict[str, Any]:
    """Return those settings of a part that describe its arrays; see `options.ARRAY_SETTINGS`.

    The data set is left out if it is `HPA_2018`, as in stores of version 0.1.0, and a square size is one number.
    """
    height, width = dataset.height, dataset.width
    settings: dict[str, Any] = {"codec": codec, "shard_samples": shard_samples}
    settings["image_size"] = height if height == width else [height, width]
    return settings if dataset == HPA_2018.resized(height, width) else settings | {"dataset": dataset.encode()}


def fingerprint(
    settings: Mapping[str, Any],
    ids: Sequence[str],
    labels: npt.NDArray[np.uint8] | None,
    copies: Provenance | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> str:
    """Hash what decides a part's content, in its order: settings, ids, labels, what copies were made from, columns.

    Parameters
    ----------
    settings : mapping of str to JSON values
    ids : sequence of str, length N
    labels : array of uint8, shape (N, K), or None
    copies : Provenance, optional
    columns : mapping of str to sequence of length N, optional
        The arrays that only some parts have.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    content: list[Any] = [dict(settings), list(ids), labels is not None]
    if copies is not None:
        # The names that version 0.1.0 hashed: other names would give another fingerprint.
        sources = {"parents": copies.parents, "parts": copies.parts, "checksums": copies.checksums}
        content.append(sources | {"recipes": copies.transforms})
    if columns:
        content.append({name: list(values) for name, values in columns.items()})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()
