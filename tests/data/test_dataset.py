import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.dataset import CLASSES, SYNONYMS, decode_labels, encode_labels
from hpa_data.errors import InputError

multi_hot = hnp.arrays(np.uint8, st.tuples(st.integers(0, 20), st.just(28)), elements=st.integers(0, 1))


@given(multi_hot)
def test_labels_come_back_from_their_strings(labels: np.ndarray) -> None:
    assert (encode_labels(decode_labels(labels)) == labels).all()


@pytest.mark.parametrize("target", ["28", "-1", "x", "1.0", "1_0", "³", "9" * 5000])
def test_a_label_that_is_not_a_class_number_is_refused_with_its_row(target: str) -> None:
    with pytest.raises(InputError, match=r"from 0 to 27\. Received: .* in row 2"):
        encode_labels(["0", f"5 {target}"])


def test_class_names_and_their_synonyms_are_numbers() -> None:
    names = ["Nucleus; Cytosol", "midbody ring|cleavage  furrow", "Vesicles", "RODS & RINGS,Golgi apparatus", ";"]
    assert decode_labels(encode_labels(names)) == ["0 25", "16", "", "7 27", ""]
    assert decode_labels(encode_labels(CLASSES)) == [str(number) for number in range(28)]
    assert {name for name in SYNONYMS.values() if name} <= set(CLASSES)


def test_numbers_may_be_separated_by_commas_semicolons_or_bars() -> None:
    assert decode_labels(encode_labels(["14|0", "3, 5", "3 5;7"])) == ["0 14", "3 5", "3 5 7"]


def test_there_are_28_different_classes() -> None:
    assert len(set(CLASSES)) == 28
