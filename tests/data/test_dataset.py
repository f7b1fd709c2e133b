import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.dataset import CLASSES, SYNONYMS, decode_labels, encode_labels
from hpa_data.errors import InputError
from hpa_data.format.manifest import Manifest, fingerprint
from hpa_data.format.statistics import ChannelStatistics, channel_statistics

multi_hot = hnp.arrays(np.uint8, st.tuples(st.integers(0, 20), st.just(28)), elements=st.integers(0, 1))


@given(multi_hot)
def test_labels_come_back_from_their_strings(labels: np.ndarray) -> None:
    assert (encode_labels(decode_labels(labels)) == labels).all()


@pytest.mark.parametrize("target", ["28", "-1", "x", "1.0", "1_0", "³", "9" * 5000])
def test_a_label_that_is_no_class_number_is_refused_with_its_row(target: str) -> None:
    with pytest.raises(InputError, match=r"from 0 to 27\. Received: .* in row 2"):
        encode_labels(["0", f"5 {target}"])


def test_class_names_and_their_synonyms_are_numbers() -> None:
    names = ["Nucleus; Cytosol", "midbody ring|cleavage  furrow", "Vesicles", "RODS & RINGS,Golgi apparatus", ";"]
    assert decode_labels(encode_labels(names)) == ["0 25", "16", "", "7 27", ""]
    assert decode_labels(encode_labels(CLASSES)) == [str(number) for number in range(28)]
    assert {name for name in SYNONYMS.values() if name} <= set(CLASSES)


def test_numbers_may_be_parted_as_in_later_tables() -> None:
    assert decode_labels(encode_labels(["14|0", "3, 5", "3 5;7"])) == ["0 14", "3 5", "3 5 7"]


def test_a_manifest_comes_back_from_its_attributes() -> None:
    statistics = ChannelStatistics(n_samples=3, mean=(0.1, 1 / 3, 5.0, 7.5), std=(1.0, 2.0, 3.0, 4.0))
    for told in (statistics, None):
        manifest = Manifest(settings={"codec": "raw"}, fingerprint="ab", statistics=told)
        assert Manifest.decode(json.loads(json.dumps(manifest.encode()))) == manifest


@pytest.mark.parametrize("attributes", [{}, {"format_version": 2}])
def test_a_manifest_of_another_version_is_refused(attributes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="format version 1"):
        Manifest.decode(attributes)


def test_a_manifest_with_a_hole_is_refused() -> None:
    attributes = Manifest(settings={}, fingerprint="ab").encode()
    del attributes["channels"]
    with pytest.raises(InputError, match="whole manifest.*channels"):
        Manifest.decode(attributes)


def test_the_fingerprint_knows_settings_ids_order_and_labels() -> None:
    labels = np.eye(2, 28, dtype=np.uint8)
    marks = [
        fingerprint({"codec": "raw"}, ["a", "b"], labels),
        fingerprint({"codec": "lz4"}, ["a", "b"], labels),
        fingerprint({"codec": "raw"}, ["b", "a"], labels),
        fingerprint({"codec": "raw"}, ["a", "b"], labels[::-1]),
        fingerprint({"codec": "raw"}, ["a", "b"], None),
    ]
    assert len(set(marks)) == 5
    assert marks[0] == fingerprint({"codec": "raw"}, ["a", "b"], labels.copy())


@given(hnp.arrays(np.uint8, (5, 3, 3, 2)), st.permutations(range(5)))
def test_statistics_are_those_of_numpy_and_do_not_depend_on_order(images: np.ndarray, order: list[int]) -> None:
    wide = images.astype(np.uint64).reshape(5, 9, 2)
    sums = np.stack([wide.sum(axis=1), (wide**2).sum(axis=1)], axis=2)
    told = channel_statistics(sums, pixels=9)
    assert told is not None
    assert told.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert told.std == pytest.approx(images.std(axis=(0, 1, 2)), abs=1e-9)
    assert channel_statistics(sums[order], pixels=9) == told


def test_there_are_28_different_classes() -> None:
    assert len(set(CLASSES)) == 28
