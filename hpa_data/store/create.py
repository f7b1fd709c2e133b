"""Creating a part from its plan, with all its arrays at once, or finding the one that exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.format.arrays import ARRAYS, SEAL_KEY, create_array, encode_group
from hpa_data.format.codecs import get_codec
from hpa_data.format.layout import SHARD_SAMPLES, Layout
from hpa_data.format.manifest import COPY_ARRAYS, Manifest, Provenance, encode_array_settings, fingerprint
from hpa_data.format.options import DEFAULT_CODEC, CodecName
from hpa_data.store.part import Part
from hpa_data.store.seal import seal_created
from hpa_data.store.storage import Storage, open_storage
from hpa_data.store.store import open_store
from hpa_data.tables import first_duplicate

# File systems take names of 255 bytes; a letter may have 4, and the folder of a new part has 5 letters more.
MAX_NAME = 50


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """What a part will hold."""

    path: Path
    """The store's folder; need not exist."""

    name: str

    ids: tuple[str, ...]
    """Of length N, each once."""

    labels: npt.NDArray[np.uint8] | None
    """Multi-hot, shape (N, K)."""

    settings: dict[str, Any]
    """What else decides the images, as JSON values; kept in the manifest."""

    dataset: Dataset = HPA_2018
    """Channels, classes, and the size of the images."""

    absent: Mapping[str, Any] = field(default_factory=dict)
    """For settings that were added later: what it means where an older store lacks them. See `system.records`."""

    codec: CodecName = DEFAULT_CODEC

    shard_samples: int = SHARD_SAMPLES

    copies: Provenance | None = None
    """What the samples are copies of, if they are."""

    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """The columns that only some parts have, by array of `format.arrays`; each of length N."""

    def __post_init__(self) -> None:
        """Check what does not depend on the disk."""
        repeated = first_duplicate(self.ids)
        if repeated is not None:
            raise InputError(f"Cannot create part {self.name!r}: the id {repeated!r} appears twice. Remove one.")
        if not self.name.isidentifier() or len(self.name) > MAX_NAME:
            raise InputError(
                f"part must be up to {MAX_NAME} letters, digits and underscores, and not begin with a digit. Received: "
                f"part={self.name[:60]!r}. Use another name."
            )
        get_codec(self.codec)

    @property
    def storage(self) -> Storage:
        """Where the store is written."""
        return open_storage(self.path)

    @cached_property
    def layout(self) -> Layout:
        """Chunks and shards."""
        return Layout(n_samples=len(self.ids), image_shape=self.dataset.image_shape, shard_samples=self.shard_samples)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, without statistics yet."""
        arrays = encode_array_settings(self.codec, self.shard_samples, self.dataset)
        settings = self.settings | arrays
        return Manifest(
            channels=self.dataset.channel_names,
            classes=self.dataset.classes,
            settings=settings,
            fingerprint=fingerprint(settings, self.ids, self.labels, self.copies, self.columns),
        )

    def list_columns(self) -> dict[str, npt.NDArray[Any]]:
        """List the content of the arrays that are written when the part is created."""
        names = {"id": self.ids, "channel": self.manifest.channels, "class": self.manifest.classes}
        columns: dict[str, Any] = names | dict(self.columns)
        if self.labels is not None:
            columns["labels"] = self.labels
        if self.copies is not None:
            columns |= {name: getattr(self.copies, field) for name, field in COPY_ARRAYS.items()}
        dtypes = {spec.name: object if spec.dtype == "string" else spec.dtype for spec in ARRAYS}
        return {name: np.array(values, dtypes[name]) for name, values in columns.items()}


def find_existing(plan: PartPlan) -> Part | None:
    """Find the part that a plan describes, if it was created before; nothing is written.

    Raises
    ------
    InputError
        If there is a part of that name with other settings or samples, or something that is not a part or store.
    """
    storage = plan.storage
    storage.check_target(plan.name)
    if not storage.exists(plan.name):
        return None
    store = open_store(storage)
    if plan.name not in store.parts():
        raise InputError(
            f"Cannot write part {plan.name!r} of {storage.location}: an array or group has that name. Pass "
            "--overwrite to delete it, or another --part."
        )
    part = store.part(plan.name)
    part.require_native_layout()
    _check_compatible(part, plan)
    return part


def count_pending(plan: PartPlan, *, overwrite: bool = False) -> int:
    """Count the samples that are still to be written to make the part complete; errors as `find_existing`."""
    existing = None if overwrite else find_existing(plan)
    return len(plan.ids) if existing is None else existing.count_pending()


def create_part(plan: PartPlan, *, overwrite: bool = False) -> Part:
    """Create a part with nothing written in it yet, or find the same one, created before.

    The caller holds the store's lock.

    Parameters
    ----------
    plan : PartPlan
    overwrite : bool
        Delete a part of that name first.

    Returns
    -------
    Part
        With every sample pending, unless it existed.

    Raises
    ------
    InputError
        If the part exists with other settings or samples, or something else has its name.
    """
    if not overwrite and (existing := find_existing(plan)) is not None:
        return existing
    plan.storage.check_target(plan.name)
    plan.storage.remove_partial(plan.name)
    return create_new_part(plan)


def create_new_part(plan: PartPlan) -> Part:
    """Create a part with nothing written in it yet, in place of one of that name; see `create_part`.

    The caller has checked the target, and removed what a killed process left in the store, if there is one.
    """
    storage = plan.storage
    if storage.exists("zarr.json"):
        open_store(storage)
    else:
        storage.put("zarr.json", encode_group({}))
        storage.remove_partial(plan.name)
    storage.create_part(plan.name, _encode_part(plan))
    return open_store(storage).part(plan.name)


def _encode_part(plan: PartPlan) -> dict[str, bytes]:
    """Encode all objects of a part in which no sample is written, by their keys within it; the manifest is the last."""
    objects: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(objects))
    arrays = []
    columns, codec = plan.list_columns(), get_codec(plan.codec)
    for spec in ARRAYS:
        is_written_later = spec.per_shard and (spec.present == "always" or plan.copies is None)
        if is_written_later or spec.name in columns:
            array = create_array(group, spec, plan.layout, codec=codec, n_classes=len(plan.manifest.classes))
            arrays.append(array)
            if not spec.per_shard:
                array[:] = columns[spec.name]
    encoded = {key: bytes(content.to_bytes()) for key, content in objects.items()}
    del encoded["zarr.json"]
    encoded[SEAL_KEY] = seal_created(encoded, arrays).encode()
    return encoded | {"zarr.json": encode_group(plan.manifest.encode())}


def _check_compatible(part: Part, plan: PartPlan) -> None:
    """Refuse a part that exists unless it is to hold exactly the same."""
    where = f"part {part.name!r} of {part.path.parent}"
    if (part.copies is None) != (plan.copies is None):
        kind = "samples from files" if part.copies is None else "augmented copies"
        raise InputError(f"Cannot continue {where}: it holds {kind}. Use another name, or pass --overwrite.")
    created, asked = part.manifest.dataset, plan.dataset
    if created.resized(asked.height, asked.width) != asked:
        raise InputError(
            f"Cannot continue {where}: it was created for data set {created.name}, and this command has {asked.name}"
            f"{', which differs from it' * (created.name == asked.name)}. Pass the same --dataset and --classes, or "
            "--overwrite."
        )
    existing, wanted = ({**plan.absent, **manifest.settings} for manifest in (part.manifest, plan.manifest))
    unknown = sorted(existing.keys() - wanted.keys())
    if unknown:
        raise InputError(
            f"Cannot continue {where}: it was created with the setting {_abbreviate(unknown[0])}, which this version "
            "of hpa does not know. Install the newer version that wrote it, or pass --overwrite."
        )
    for key, value in wanted.items():
        if key not in existing or existing[key] != value:
            before = f"{key}={_abbreviate(existing[key])}" if key in existing else f"no {key}"
            raise InputError(
                f"Cannot continue {where}: it was created with {before}, and this command has {key}="
                f"{_abbreviate(value)}. Use the same settings, or pass --overwrite."
            )
    if part.manifest.fingerprint != plan.manifest.fingerprint:
        raise InputError(
            f"Cannot continue {where}: it was created with other samples or labels than this command has. Use the same "
            "files and labels, or pass --overwrite."
        )


def _abbreviate(value: Any) -> str:
    """Show a setting, which may be of any length in a store from elsewhere, within a line."""
    return repr(value)[:200]
