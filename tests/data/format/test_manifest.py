"""The manifest of a part, and how it ages."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.format.manifest import Manifest, Provenance, fingerprint
from hpa_data.format.statistics import ChannelStatistics
from hpa_data.system.records import decode_record, encode_record

MANIFEST = Manifest(channels=("red", "green"), classes=("Nucleoli",), settings={"codec": "raw"}, fingerprint="ab")


@pytest.mark.parametrize(
    "statistics", [None, ChannelStatistics(n_samples=3, mean=(0.1, 1 / 3), std=(1.0, 2.0))], ids=["none", "some"]
)
def test_a_manifest_comes_back_from_its_attributes(statistics: ChannelStatistics | None) -> None:
    manifest = Manifest(**{**vars(MANIFEST), "statistics": statistics})
    assert Manifest.decode(json.loads(json.dumps(manifest.encode()))) == manifest


def test_the_keys_of_a_manifest_are_those_of_version_0_1_0_in_their_order() -> None:
    expected = ["format_version", "channels", "classes", "settings", "fingerprint", "statistics"]
    assert list(MANIFEST.encode()) == expected


@pytest.mark.parametrize("attributes", [{}, {"format_version": 2}])
def test_a_manifest_of_another_format_version_is_refused(attributes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="has format version .*, and this version of hpa reads 1"):
        Manifest.decode(attributes)


@pytest.mark.parametrize("key", ["channels", "classes", "settings", "fingerprint"])
def test_a_manifest_without_one_of_its_keys_is_refused(key: str) -> None:
    attributes = MANIFEST.encode()
    del attributes[key]
    with pytest.raises(InputError, match=f"Cannot read the manifest of the part: .*{key}"):
        Manifest.decode(attributes)


@pytest.mark.parametrize(
    ("key", "value"),
    [("channels", "red"), ("classes", [1]), ("settings", []), ("statistics", {"n_samples": "3"}), ("fingerprint", 3)],
)
def test_a_value_of_another_type_is_refused(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"Cannot read the manifest of the part: .*{key}"):
        Manifest.decode(MANIFEST.encode() | {key: value})


def test_a_key_of_a_newer_version_is_refused() -> None:
    with pytest.raises(InputError, match="it has 'pixel_size', which this version does not know. .*newer version"):
        Manifest.decode(MANIFEST.encode() | {"pixel_size": 0.08})


def test_a_field_added_later_changes_no_manifest_that_does_not_use_it() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Later(Manifest):
        pixel_size: float = field(default=0.1, metadata={"absent": 0.08})

    def decode(attributes: dict[str, Any]) -> Later:
        return decode_record(Later, {key: attributes[key] for key in attributes if key != "format_version"}, name="it")

    assert decode(MANIFEST.encode()).pixel_size == 0.08
    assert encode_record(Later(**vars(MANIFEST), pixel_size=0.08)) == encode_record(MANIFEST)
    assert decode(Later(**vars(MANIFEST), pixel_size=0.2).encode()).pixel_size == 0.2


def test_the_fingerprint_depends_on_settings_ids_order_labels_and_columns() -> None:
    labels = np.eye(2, 28, dtype=np.uint8)
    copies = Provenance(parents=("a", "a"), parts=("train", "train"), checksums=(1, 2), transforms=("[]", "[]"))
    fingerprints = [
        fingerprint({"codec": "raw"}, ["a", "b"], labels),
        fingerprint({"codec": "lz4"}, ["a", "b"], labels),
        fingerprint({"codec": "raw"}, ["b", "a"], labels),
        fingerprint({"codec": "raw"}, ["a", "b"], labels[::-1]),
        fingerprint({"codec": "raw"}, ["a", "b"], None),
        fingerprint({"codec": "raw"}, ["a", "b"], labels, copies),
        fingerprint({"codec": "raw"}, ["a", "b"], labels, None, {"plate": ["1", "2"]}),
        fingerprint({"codec": "raw"}, ["a", "b"], labels, None, {"plate": ["2", "1"]}),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert fingerprints[0] == fingerprint({"codec": "raw"}, ["a", "b"], labels.copy(), None, {})
